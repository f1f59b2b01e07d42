"""How many requests each host gets, and how fast: decisions apart from waiting."""
