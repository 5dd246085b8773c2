"""Where compactors can go in a network, and how they are folded away again."""
