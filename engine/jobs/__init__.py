"""Whole jobs, from settings to a result: prune, train, finetune."""
