"""A network and images of the user's own: each command goes on from what another wrote."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ARCH = ("--arch", "own_net:build")
MODULE = """
from torch import nn

class Net(nn.Module):  # a pair at its own top level, and a number that its code holds on to
    def __init__(self, num_classes, width=12):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.two, self.three = nn.Conv2d(width, 8, 3, stride=4), nn.Conv2d(8, 6, 1)
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x):
        x = self.two(self.bn(self.conv(x)).relu()).relu()
        return self.fc(self.three(x.view(-1, 8, 4, 4)).relu().mean((2, 3)))

def build(num_classes=3):
    return Net(num_classes)

def wide(num_classes=3):
    return Net(num_classes, width=20)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a module, images of three classes, and a run of one epoch for each of two networks."""
    from prune.cli.main import main

    folder = tmp_path_factory.mktemp("own")
    (folder / "own_net.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("ant", "bee", "cow"):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / split / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        for name in ("build", "wide"):
            words = (
                f"train-base --arch own_net:{name} --data-dir photos --epochs 1 --threads 1 --precision fp32"
            )
            assert main([*words.split(), "--batch-size", "6", "--quiet", "--out", f"runs/{name}"]) == 0
        yield folder
    sys.modules.pop("own_net", None)


@pytest.fixture
def there(made: Path, prune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, and the two networks in it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("build", "wide"):
        shutil.copy(tmp_path / "runs" / name / "best.hdf5", tmp_path / f"{name}.hdf5")
    return tmp_path


def test_without_a_file_the_newest_base_of_the_arch_is_taken(prune, there):
    done = prune("prune", *ARCH, "--rate", "0.5", "--data-dir", "photos", "--out", "narrow.hdf5")
    assert done.code == 0, done.err
    assert "runs/build/best.hdf5, the newest base of own_net:build" in done.err
    assert prune("evaluate", "narrow.hdf5", *ARCH).code == 0


@pytest.mark.parametrize("suffix", [".hdf5", ".pth", ".safetensors"])
def test_a_teacher_of_the_same_factory_is_loaded(prune, there, suffix: str):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    if suffix != ".hdf5":
        assert prune("convert", "build.hdf5", f"teacher{suffix}", *ARCH).code == 0
    teacher = "build.hdf5" if suffix == ".hdf5" else f"teacher{suffix}"
    words = ["finetune", "build.hdf5", *ARCH, "--distill", teacher, "--epochs", "1", "--batch-size", "6"]
    done = prune(*words, "--out", "taught")
    assert done.code == 0, done.err
    assert json.loads((there / "taught" / "config.json").read_text())["teacher"].endswith(teacher)


def test_a_teacher_of_another_factory_is_named(prune, there):
    words = ["finetune", "build.hdf5", *ARCH, "--distill", "wide.hdf5", "--epochs", "1", "--batch-size", "6"]
    done = prune(*words, "--out", "taught")
    assert done.code == 2
    assert "made by 'own_net:wide', which is not imported unasked" in done.err
    assert "--teacher-arch own_net:wide" in done.err
    done = prune(*words, "--teacher-arch", "own_net:wide", "--out", "taught")
    assert done.code == 0, done.err


def test_images_are_remembered_and_never_required(prune, there, made):
    again = prune("prune", "build.hdf5", *ARCH, "--rate", "0.5", "--out", "there.hdf5", "--json")
    assert again.code == 0, again.err
    assert set(json.loads(again.out)["accuracy"]) >= {"before", "pruned"}
    (made / "photos").rename(made / "elsewhere")
    try:
        _do_without(prune, made / "photos")
    finally:
        (made / "elsewhere").rename(made / "photos")


def _do_without(prune, photos: Path) -> None:
    away = prune("prune", "build.hdf5", *ARCH, "--rate", "0.5", "--out", "away.hdf5")
    assert away.code == 0, away.err
    assert "nothing is measured and no batch norm re-estimated: " in away.err
    assert f"was last measured in '{photos}', which is not there" in away.err
    timed = prune("evaluate", "build.hdf5", "away.hdf5", *ARCH, "--latency", "--json")
    assert timed.code == 0, timed.err
    assert "accuracies are not measured: " in timed.err
    result = json.loads(timed.out)
    assert result["dataset"] is None
    assert [network["accuracy"] for network in result["networks"]] == [None, None]
    assert len(result["networks"][0]["latency"]) == 2
    assert prune("evaluate", "build.hdf5", "away.hdf5", *ARCH, "--latency").code == 0
    asked = prune("evaluate", "build.hdf5", *ARCH)
    assert asked.code == 2
    assert "--data-dir" in asked.err
    named = prune("prune", "build.hdf5", *ARCH, "--rate", "0.5", "--data-dir", "away", "--out", "x.hdf5")
    assert named.code == 2, "what was asked for is not skipped"


def test_a_bare_file_takes_the_size_of_the_images(prune, there):
    assert prune("convert", "build.hdf5", "bare.pth", *ARCH).code == 0
    for words in (("evaluate",), ("prune", "--rate", "0.5", "--out", "narrow.hdf5")):
        done = prune(words[0], "bare.pth", *words[1:], *ARCH, "--data-dir", "photos")
        assert done.code == 0, done.err
    assert "--image-size" in prune("evaluate", "bare.pth", *ARCH).err


def test_flops_and_prune_say_the_same(prune, there):
    forecast = json.loads(prune("flops", "build.hdf5", *ARCH, "--rate", "0.5", "--json").out)
    done = prune("prune", "build.hdf5", *ARCH, "--rate", "0.5", "--out", "narrow.hdf5", "--json")
    assert json.loads(done.out)["macs"] == forecast["macs"]
    shown = prune("flops", "build.hdf5", *ARCH, "--rate", "0.5")
    assert "left alone: without channels of two the network fails" in shown.err
