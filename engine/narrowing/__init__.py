"""From channels that leave to a proven narrow network."""
