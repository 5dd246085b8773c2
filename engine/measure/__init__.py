"""What a network does: accuracy, latency, and batch norms estimated anew."""
