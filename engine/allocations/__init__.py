"""How many channels leave each layer: a file per way of saying so."""
