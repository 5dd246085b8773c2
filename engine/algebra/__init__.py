"""Linear algebra that criteria and transfers rest on; knows nothing of networks."""
