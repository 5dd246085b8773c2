"""Scores of filters: made by criteria on images, read from files and published folders, and written."""
