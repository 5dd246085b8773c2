"""When filters leave: a file per schedule."""
