"""How likely a model's answer to a question is good: shipped priors, corrected by what was seen."""
