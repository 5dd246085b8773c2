"""Commands that need no network answer at once: processor time of a whole child process, best of five."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prune.weights import store

TENSORS = 400  # as many as a ResNet-56 has


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("startup") / "network.hdf5"
    array = np.linspace(-1, 1, 32 * 32 * 9, dtype=np.float32).reshape(32, 32, 3, 3)
    store.write(path, store.WeightFile({f"layer{i}.conv.weight": array for i in range(TENSORS)}))
    return path


def cpu_seconds(*args: str) -> float:
    """User and system time of `prune` with these words; threads are left to the libraries, as for a user."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    child = os.posix_spawn(
        sys.executable, [sys.executable, "-m", "prune", *args], environment, file_actions=[nowhere]
    )
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime


def test_help_takes_under_0_3_seconds():
    assert any(cpu_seconds("--help") < 0.3 for _ in range(5))


def test_inspect_takes_under_0_6_seconds(weight_file: Path):
    assert any(cpu_seconds("inspect", str(weight_file)) < 0.6 for _ in range(5))


def test_neither_imports_torch(weight_file: Path):
    code = (
        "import sys; from prune.cli.main import main\n"
        "assert main(['--help']) == main(['inspect', '--help']) == main(['inspect', sys.argv[1]]) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code, weight_file], stdout=subprocess.DEVNULL)
    assert child.returncode == 0
