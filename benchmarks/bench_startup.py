"""Processor time of the commands that need no network, best of ten; the interpreter alone beside them."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from prune.weights import store

TENSORS = 400  # as many as a ResNet-56 has
ROUNDS = 10


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of one Python process."""
    nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    child = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=[nowhere])
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.hdf5"
        weight_FCHW = np.linspace(-1, 1, 32 * 32 * 9, dtype=np.float32).reshape(32, 32, 3, 3)
        tensors = {f"layer{i}.conv.weight": weight_FCHW for i in range(TENSORS)}
        store.write(file, store.WeightFile(tensors))
        commands = {
            "python -c pass": ["-c", "pass"],
            "prune --help": ["-m", "prune", "--help"],
            "prune prune --help": ["-m", "prune", "prune", "--help"],
            f"prune inspect, {TENSORS} tensors": ["-m", "prune", "inspect", str(file)],
        }
        print(f"processor time, best of {ROUNDS}")
        for name, arguments in commands.items():
            print(f"{name:28}  {min(cpu_seconds(arguments) for _ in range(ROUNDS)):5.2f} s")


main()
