"""Narrow networks mended in closed form, and what it costs to narrow each part of a network."""
