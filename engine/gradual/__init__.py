"""Filters that leave while the network trains: layer by layer, or masked again and again."""
