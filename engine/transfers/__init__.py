"""What the weights that stay become: a file per transfer."""
