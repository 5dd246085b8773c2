"""Small networks, and ways to run commands in this process."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from prune.weights import store
from small_for_commands import make_known


class Ended(NamedTuple):
    """A command that ended: its exit code and everything it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def weight_file(tmp_path: Path) -> str:
    """Where a file of one tensor lies."""
    path = tmp_path / "network.hdf5"
    store.write(path, store.WeightFile({"conv.weight": np.ones((2, 3, 1, 1), np.float32)}))
    return str(path)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a module of the user's own into an empty working folder, which is given back."""

    def write(name: str, source: str) -> Path:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop(name, None)
        return tmp_path

    return write


@pytest.fixture
def prune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command line in this process, on one thread, in an empty working folder."""
    import torch
    from prune.cli.main import main

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*words: Any) -> Ended:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Ended(code, *capsys.readouterr())

    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished `train-base` run: ResNet-20 on digits, one epoch."""
    from prune.cli.main import main

    folder = tmp_path_factory.mktemp("runs") / "base"
    words = "train-base --arch resnet20 --epochs 1 --batch-size 64 --precision fp32 --threads 1 --quiet --out"
    assert main([*words.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-8 with half of its channels, trained: for commands that take a tenth of the time on it."""
    from prune.cli.main import main
    from prune.engine.network.files import save_network
    from prune.engine.network.fresh import new_network

    folder = tmp_path_factory.mktemp("thin")
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch)
        save_network(folder / "full.hdf5", new_network("resnet8", input_size=16))
        half = f"--rate 0.5 --residual coupled --threads 1 --quiet --out {folder}/half.hdf5"
        assert main(["prune", f"{folder}/full.hdf5", *half.split()]) == 0
        words = f"--epochs 4 --batch-size 64 --precision fp32 --threads 1 --quiet --out {folder}/run"
        assert main(["train-base", "--like", f"{folder}/half.hdf5", *words.split()]) == 0
    return folder / "run" / "best.hdf5"


@pytest.fixture
def resnet8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands know the network of `thin` by name."""
    make_known(monkeypatch)


@pytest.fixture
def file(base: Path, tmp_path: Path) -> Path:
    """A copy of the base network in the working folder, for commands that might harm it."""
    copy = tmp_path / "base.hdf5"
    copy.write_bytes((base / "best.hdf5").read_bytes())
    return copy


NOTES = (
    "no --criterion: ",  # what commands say before they look closer
    "weights: ",
    "images: ",
    "nothing says how much is to leave",
    "warning: no base run of",
)


@pytest.fixture
def refused(prune, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused, with and without --json; its one line."""

    def run(*words: object) -> str:
        lines = []
        for more in ([], ["--json"]):
            before = contents(tmp_path)
            code, out, err = prune(*words, *more)
            *notes, line = err.splitlines()
            assert (code, out) == (2, ""), err
            assert line.startswith("error: ")
            assert all(note.startswith(NOTES) for note in notes), err
            assert contents(tmp_path) == before
            lines.append(line)
        assert lines[0] == lines[1]
        return lines[0]

    return run


@pytest.fixture
def small(resnet8: None) -> Path:
    """A network that is pruned sooner, and without images."""
    from prune.engine.network.files import save_network
    from prune.engine.network.fresh import new_network

    save_network("small.hdf5", new_network("resnet8", input_size=16))
    return Path("small.hdf5")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, and what is in it."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


Facts = dict[str, Any]


@pytest.fixture
def facts(prune) -> Callable[..., Facts]:
    """Run a command with --json; its one object."""

    def run(*words: object) -> Facts:
        silent = words[0] in ("inspect", "flops")  # they say nothing beside their results
        quiet = [] if silent else ["--quiet"]
        ended = prune(*words, "--json", *quiet)
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    return run


@pytest.fixture
def unmeasured(resnet8: None, tmp_path: Path) -> Path:
    """A small network in a file that names no images, so that pruning it looks at none."""
    from prune.engine.network.files import save_network
    from prune.engine.network.fresh import new_network

    path = tmp_path / "base.hdf5"
    save_network(path, new_network("resnet8", input_size=16).after("train-base", {}))
    return path
