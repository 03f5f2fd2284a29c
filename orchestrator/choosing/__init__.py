"""Who answers a request: what rules make of it, and what the router chooses where the choice is ours."""
