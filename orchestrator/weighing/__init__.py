"""What there is to know before a model is chosen: who is on offer, what a question means, what budgets have left."""
