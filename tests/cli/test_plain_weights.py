"""Networks whose layers compute their weights, in commands: made plain, and remembered by the file."""

import importlib
from pathlib import Path

import pytest
import torch
from prune.cli.main import main
from prune.weights import store

NETWORK = """
import torch.nn.functional as F
from torch import nn

class StdConv2d(nn.Conv2d):
    def forward(self, x):
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, centred / centred.flatten(1).std(1)[:, None, None, None], self.bias)

class Net(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self.stem, self.conv = StdConv2d(3, 8, 3), StdConv2d(8, 8, 3)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.conv(self.stem(x).relu()).relu().mean((2, 3)))
"""
ARCH = ("--arch", "standardised:Net")


@pytest.fixture(autouse=True)
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "standardised.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    torch.save(importlib.import_module("standardised").Net().state_dict(), "raw.pth")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join("".join(capsys.readouterr()).split())


def test_from_a_file_to_a_narrow_one(capsys: pytest.CaptureFixture[str]):
    assert main(["convert", "raw.pth", *ARCH, "--image-size", "12"]) == 0
    assert "made plain 2 weights that its code computes" in said(capsys)
    assert main(["inspect", "raw.hdf5"]) == 0
    assert "plain stem conv" in said(capsys)
    assert main(["flops", "raw.pth", *ARCH, "--image-size", "12"]) == 0
    assert "stem.weight and 1 other weight are plain now" in said(capsys)
    assert main(["prune", "raw.hdf5", *ARCH, "--flops", "0.5", "--criterion", "l1"]) == 0
    assert store.read("raw-pruned.hdf5").meta["plain"] == ["stem", "conv"]


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "raw.pth", "plain.pth", *ARCH, "--image-size", "12"],
        [
            "prune",
            "raw.pth",
            "--out",
            "thin.pth",
            "--rate",
            "0.5",
            "--criterion",
            "l1",
            *ARCH,
            "--image-size",
            "12",
        ],
    ],
)
def test_no_file_is_written_that_would_be_misread(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    assert "cannot say that the weight of 'stem'" in said(capsys)
    assert {path.name for path in Path().iterdir() if path.suffix in (".pth", ".hdf5")} == {"raw.pth"}
