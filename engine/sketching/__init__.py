"""Which convolutions a sketch can replace."""
