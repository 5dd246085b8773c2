"""The Python examples of the README run as they stand."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from small_for_commands import make_known

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)

MODULE = """
from torch import nn


def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for the digits, in the file that the examples name; it has the layers that they name."""
    import prune
    from prune.engine.network.fresh import new_network

    path = tmp_path_factory.mktemp("readme") / "base.hdf5"
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch)
        prune.save(path, new_network("resnet8", input_size=(3, 16, 16)))
    return path


@pytest.fixture
def folder(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working folder with the files and the module that the examples use."""
    for name in ("base.hdf5", "narrow.hdf5", "runs/narrow/final.hdf5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base, tmp_path / name)
    (tmp_path / "mynets").mkdir()
    (tmp_path / "mynets" / "small.py").write_text(MODULE)
    make_known(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("mynets", "mynets.small"):
        sys.modules.pop(name, None)


def test_there_are_examples():
    assert sum("prune.plan(" in example for example in EXAMPLES) == 7


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_it_runs(example: str, folder: Path):
    import torch

    exec(compile(example, "README.md", "exec"), {"images_NCHW": torch.randn(2, 3, 16, 16)})
