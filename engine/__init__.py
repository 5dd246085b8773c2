"""Tracing, ranking, pruning, training, counting and proving; prints nothing."""
