"""A run as a folder: its files, its log and its surroundings."""
