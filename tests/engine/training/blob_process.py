"""A training in a process of its own, that stands still in the middle of epoch 3 until something ends it."""

import sys
import time
from pathlib import Path

import torch
from conftest import Blobs, blob_training, tiny_net
from prune.engine.training.loop import Interrupted


class StandingStill(Blobs):
    def batches(self, split, batch_size, *, epoch=0, **options):
        for step, batch in enumerate(super().batches(split, batch_size, epoch=epoch, **options), 1):
            yield batch
            if split == "train" and (epoch, step) == (2, 3):
                print("standing still", flush=True)
                time.sleep(600)


torch.set_num_threads(1)
try:
    for _ in blob_training(Path(sys.argv[1]), tiny_net(), data=StandingStill()):
        pass
except Interrupted as stop:
    print(f"{stop.folder} {stop.epoch}", flush=True)
    sys.exit(130)
