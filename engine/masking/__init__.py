"""Masked channels in a network that trains: which rows they are, and the rule that picks them."""
