"""How many channels leave each layer, and which: rates, budgets, plans."""
