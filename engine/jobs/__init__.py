"""Whole jobs, from settings to a result: what `train-base`, `prune` and `finetune` do."""
