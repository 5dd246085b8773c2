"""Every command of `docs/papers.md` runs, on small stand-ins for the images and on random weights."""

import functools
import pickle
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")

# Checkpoints of theirs: file -> our network, and the style of its names.
CHECKPOINTS = {
    "resnet_56.pt": ("resnet56", "hrank-resnet"),
    "model_best.pth.tar": ("resnet56", "hrank-resnet"),
    "checkpoint.pth.tar": ("resnet20", "fpgm-resnet"),
    "resnet50-19c8e357.pth": ("resnet50", "torchvision"),
    "best.resnet18.pth.tar": ("resnet18", "torchvision"),
}
OUTPUTS = ("--out", "--plan-out")
TRAINING_COMMANDS = ("prune", "finetune", "train-base")
QUICK = ("resnet18",)  # of ImageNet's networks; the others take half a minute each to build and to follow
LARGE = ("resnet110",)  # of CIFAR's; what its rows alone type beside a recipe, tests/cli/test_recipes.py does
SMALL = ("", "resnet20", "resnet32", "resnet56", "src56", "vgg16", "densenet40")  # by the time they take


class Row(NamedTuple):
    """One line of a table of commands."""

    theirs: str
    arch: str
    commands: tuple[str, ...]

    @property
    def slow(self) -> bool:
        """Would it take more than seconds?"""
        if self.arch in LARGE:
            return True
        if "imagenet" not in " ".join(self.commands) and not self.arch.startswith("torchvision:"):
            return False
        return self.arch not in QUICK or any(" evaluate " in command for command in self.commands)

    @property
    def kind(self) -> frozenset[str]:
        """The commands, with a file or without, and options that it types, and whose recipes and images."""
        said = r"prune [a-z-]+ (?:\S+\.hdf5)?|--recipe (?:hrank|[a-z]+)|(?<= )--[a-z-]+|cifar10|imagenet"
        words = re.findall(said, " ".join(self.commands))
        return frozenset(re.sub(r"\S+\.hdf5", "FILE", word) for word in words) - {"--out", "--dataset"}


def _cells(columns: int) -> list[list[str]]:
    """The lines of the tables with so many columns, headings left out."""
    lines = [line.strip("|").split("|") for line in DOC.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) == columns]
    return [line for line in cells if line[-1] != "ours"]


def _first_of_their_kinds(rows: list[Row]) -> list[Row]:
    """Of rows that differ by a name, a rate or the network alone, one: that of the smallest network."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: SMALL.index(row.arch) if row.arch in SMALL else len(SMALL)):
        if not row.slow and not any(row.kind <= other.kind for other in found):
            found.append(row)
    return found


ROWS = [Row(theirs, arch, tuple(re.findall(r"`(prune [^`]+)`", ours))) for theirs, arch, ours in _cells(3)]
KEPT = _first_of_their_kinds(ROWS)  # the others are for `make soak`


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a network with random weights, by its arch; made when it is first asked for."""
    folder = tmp_path_factory.mktemp("networks")

    @functools.cache
    def of(arch: str) -> Path:
        from prune.engine.network.files import save_network
        from prune.engine.network.fresh import new_network

        path = folder / f"{arch.replace(':', '-')}.hdf5"
        save_network(path, new_network(arch))
        return path

    return of


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CIFAR-10 in `data` and ImageNet in `imagenet`, as they lie on disk, but small."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    cifar = folder / "data" / "cifar-10-batches-py"
    cifar.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 3072), dtype=np.uint8)
    for rows, name in zip(pixels, [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], strict=True):
        (cifar / name).write_bytes(pickle.dumps({"data": rows, "labels": list(range(10))}))
    names = [f"class {i}" for i in range(10)]
    (cifar / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    for split in ("train", "val"):
        for number in range(1000):
            there = folder / "imagenet" / split / f"n{number:08}"
            there.mkdir(parents=True)
            Image.new("RGB", (96, 96) if number == 0 else (1, 1)).save(there / "image.JPEG")
    return folder


@pytest.fixture
def folder(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working folder with the images and the published ranks, one thread, no network."""
    for name in ("data", "imagenet"):
        (tmp_path / name).symlink_to(images / name)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{number}-{row.arch}", marks=[] if row in KEPT else [pytest.mark.soak])
        for number, row in enumerate(ROWS)
    ],
)
def test_the_commands_of_a_row_run(row: Row, folder: Path, network, capsys: pytest.CaptureFixture[str]):
    from prune.cli.main import main

    for command in row.commands:
        words = _safe_words(command)
        _provide_inputs(words, row.arch, folder, network)
        before = _files(folder)
        capsys.readouterr()
        code = main(words[1:])
        out, err = capsys.readouterr()
        assert code == 0, f"{command}: {err}"
        assert out + err
        if "--dry-run" in words:
            assert _files(folder) == before
            assert "dry run: nothing was written" in err


def test_every_option_and_recipe_that_is_named_exists():
    import importlib

    import typer
    from prune.cli.main import COMMANDS
    from prune.engine import recipes

    known: set[str] = set()
    for name in COMMANDS:
        module = importlib.import_module(f"prune.cli.{name.replace('-', '_')}")
        single = typer.Typer(add_completion=False)
        single.command(name)(module.command)
        known |= {text for parameter in typer.main.get_command(single).params for text in parameter.opts}
    ours = [line[-1] for columns in (2, 3) for line in _cells(columns)]
    named = {option for cell in ours for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*(?![\w-])", cell)}
    assert named <= known
    assert len(named) > 40
    mentioned = set(re.findall(r"\b(?:hrank|fpgm|resrep|filtersketch)/[a-z0-9.-]+(?<!\.)", " ".join(ours)))
    assert mentioned <= set(recipes.names())


def test_every_command_line_of_the_four_readmes_is_there():
    theirs = " ".join(row.theirs for row in ROWS)
    for program in (
        *("rank_generation.py", "main.py", "cal_flops_params.py", "evaluate.py"),
        *("pruning_imagenet.py", "original_train.py", "inference_pruned.sh", "pruning_cifar10.sh"),
        *("ablation_pruning_cifar10.sh", "PFEC_train_prune.sh", "pruning_vgg_my_method.sh"),
        *("transform_torchvision.py", "exp_resrep.py -a sres50", "exp_resrep.py -a src56"),
        *("display_hdf5.py", "train_base_model.py -a src56"),
        *("sketch_cifar.py", "sketch_imagenet.py", "test.py", "get_flops_params.py"),
    ):
        assert program in theirs
    for arch in ("vgg_16_bn", "resnet_56", "resnet_110", "densenet_40", "googlenet", "resnet_50"):
        assert f"--arch {arch}" in theirs
    for depth in (152, 101, 50, 34, 18):
        assert f"-a resnet{depth}" in theirs


def _safe_words(command: str) -> list[str]:
    """The words of a command that stays in this process, and trains nothing."""
    words = shlex.split(command)
    if "--nproc" in words:
        place = words.index("--nproc")
        del words[place : place + 2]
    return [*words, "--dry-run"] if words[1] in TRAINING_COMMANDS else words


def _provide_inputs(words: list[str], arch: str, folder: Path, network: Callable[[str], Path]) -> None:
    """Make the files that a command reads, where no command before it did."""
    outputs = {words[place + 1] for place, word in enumerate(words) if word in OUTPUTS}
    if words[1] == "convert":
        outputs |= set(words[3:4])
    for word in words[2:]:
        path = folder / word
        if path.exists() or word in outputs:
            continue
        if word in CHECKPOINTS:
            _make_checkpoint(path, *CHECKPOINTS[word], network)
        elif word.startswith("torchvision:"):
            _make_official(word, folder)
        elif word.startswith("rank_conv/"):
            _make_ranks(path, network(arch))
        elif word.endswith(".hdf5"):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(network(arch), path)


def _make_checkpoint(path: Path, arch: str, style: str, network: Callable[[str], Path]) -> None:
    """A checkpoint as the authors' programs write them: their names, from several GPUs, in a wrapper."""
    from prune.weights import names, store

    theirs = names.from_ours(store.read(network(arch)).tensors, style)
    torch.save({"state_dict": {f"module.{name}": torch.as_tensor(t) for name, t in theirs.items()}}, path)


def _make_official(word: str, folder: Path) -> None:
    """Random weights in the place where torch keeps what it has downloaded."""
    from torchvision import models

    name = word.removeprefix("torchvision:")
    cache = folder / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    url = next(iter(models.get_model_weights(name))).url
    torch.save(models.get_model(name, weights=None).state_dict(), cache / Path(url).name)


def _make_ranks(path: Path, base: Path) -> None:
    from prune.weights import store

    path.mkdir(parents=True)
    convs = [array for array in store.read(base).tensors.values() if array.ndim == 4]
    for number, weight_FCHW in enumerate(convs, 1):
        ranks_F = np.random.default_rng(number).random(len(weight_FCHW))
        np.save(path / f"rank_conv{number}.npy", ranks_F.astype(np.float32))


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_symlink()}
