"""Networks as plain modules, and their registry."""
