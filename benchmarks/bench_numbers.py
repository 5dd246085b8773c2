"""How far two trainings come apart that differ in nothing but how they are computed.

    python benchmarks/bench_numbers.py

ResNet-20 on digits from random weights, batches of 128, learning rate 0.1: 1, 10 and 100 steps of each way,
held against one thread, float32, the plain layout, no process beside it. Distances are of all weights as one
vector, relative to its length. For comparison, the same weights trained with another order of images.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from prune.engine.data import open_data
from prune.engine.events import EpochDone
from prune.engine.network.fresh import new_network
from prune.engine.processes import distributed
from prune.engine.runs.runs import Run
from prune.engine.training.config import TrainConfig
from prune.engine.training.hooks import Hooks
from prune.engine.training.loop import train
from torch import Tensor, nn

STEPS = (1, 10, 100)
EPOCHS = 10  # of 12 steps
SETTINGS = {"epochs": EPOCHS, "lr": 0.1, "precision": "fp32", "channels_last": False, "device": "cpu"}
WAYS = {
    "the same again": {},
    "2 threads": {"threads": 2},
    "channels last": {"channels_last": True},
    "--nproc 2 --sync-bn": {"sync_bn": True, "processes": 2},
    "--nproc 2": {"processes": 2},
    "bfloat16, channels last": {"precision": "bf16", "channels_last": True},
    "another order of images": {"seed": 1},
}


class Watching(Hooks):
    """Keeps all weights as one vector after some of the steps."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.kept = model, {}

    def after_step(self, step: int) -> None:
        if step + 1 in STEPS:
            self.kept[step + 1] = torch.cat([p.detach().flatten() for p in self.model.parameters()])


def main() -> None:
    if len(sys.argv) > 1:
        _train(Path(sys.argv[1]), eval(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        base = _run(Path(folder) / "base", {})
        print(f"{'':>26} {'weights apart after 1':>22} {'10':>9} {'100 steps':>10} {'top-1':>8}")
        print(f"{'one thread, float32':>26} {'':>43} {base['top1']:>7.2f}%")
        for number, (name, way) in enumerate(WAYS.items()):
            found = _run(Path(folder) / str(number), dict(way))
            apart = [_apart(found[step], base[step]) for step in STEPS]
            print(f"{name:>26} {apart[0]:>22.1e} {apart[1]:>9.1e} {apart[2]:>10.1e} {found['top1']:>7.2f}%")


def _apart(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


def _run(folder: Path, way: dict) -> dict:
    """Train in new processes, as torchrun would start them; returns what the first of them kept."""
    count = way.pop("processes", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for number in range(count):
        place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in place.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": str(way.get("threads", 1))}
        command = [sys.executable, __file__, str(folder), repr(way)]
        started.append(subprocess.Popen(command, env=environment))
    assert not any(process.wait() for process in started)
    return torch.load(folder / "kept.pt")


def _train(folder: Path, way: dict) -> None:
    torch.set_num_threads(way.pop("threads", 1))
    distributed.join("cpu")
    data = open_data("digits")
    model = new_network("resnet20", num_classes=10, input_size=data.info.input_size).model
    config, watching = TrainConfig(**(SETTINGS | way)), Watching(model)
    distributed.from_first(lambda: bool(Run.create(folder, {})))
    run = Run(folder, {})
    events = list(train(model, data, config, run, lambda *_: None, hooks=watching))
    top1 = next(event.test.top1 for event in reversed(events) if isinstance(event, EpochDone))
    if distributed.is_first():
        torch.save(watching.kept | {"top1": top1}, folder / "kept.pt")
    distributed.leave()


if __name__ == "__main__":
    main()
