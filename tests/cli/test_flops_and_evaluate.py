"""`prune flops` and `prune evaluate`, typed out: what networks cost, and how good they are."""

import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from costs_in_json import COST_KEYS, check_costs
from prune.weights import store

MACS, PARAMS = 10_138_240, 269_722  # of ResNet-20 on images of 16x16


@pytest.fixture(scope="module")
def half(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base network with half of its multiply-accumulates."""
    from prune.cli.main import main

    path = tmp_path_factory.mktemp("half") / "narrow.hdf5"
    words = "--criterion l1 --flops 0.5 --recalibrate 0 --threads 1 --quiet --out"
    assert main(["prune", f"{base}/best.hdf5", *words.split(), str(path)]) == 0
    return path


@pytest.fixture
def narrow(half: Path, tmp_path: Path) -> Path:
    """A copy of it in the working folder."""
    return Path(shutil.copy(half, tmp_path / "narrow.hdf5"))


RESNET20 = """\
resnet20, images 3x32x32
layer                     in  out  kernel  stride  output   MACs  params
────────────────────────────────────────────────────────────────────────
stage1.conv1.conv          3   16     3x3     1x1   32x32  0.44M     432
stage1.block0.conv1.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block0.conv2.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block1.conv1.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block1.conv2.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block2.conv1.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block2.conv2.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage2.block0.conv1.conv  16   32     3x3     2x2   16x16  1.18M   4,608
stage2.block0.conv2.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block1.conv1.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block1.conv2.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block2.conv1.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block2.conv2.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage3.block0.conv1.conv  32   64     3x3     2x2     8x8  1.18M  18,432
stage3.block0.conv2.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block1.conv1.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block1.conv2.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block2.conv1.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block2.conv2.conv  64   64     3x3     1x1     8x8  2.36M  36,864
linear                    64   10       -       -       -    640     650

MACs    40,551,040 (40.55M)
params  269,722

"""


def test_flops_of_an_arch(prune):
    assert prune("flops", "--arch", "resnet20") == (0, RESNET20, "")


def test_flops_of_a_specification(prune, facts):
    rates = "[0.1]+[0.60]*18"
    code, out, err = prune("flops", "--arch", "resnet20", "--compress-rate", rates)
    assert code == 0
    assert re.search(r"^MACs    (\S+) \(\S+M\)   -\d+\.\d% of 40,551,040\s*$", out, re.M)
    assert re.fullmatch(r"rates of 10 convs have no effect, they are left alone: .*\n", err)
    result = facts("flops", "--arch", "resnet20", "--compress-rate", rates)
    check_costs(result)
    assert result["baseline"] == {"macs": 40_551_040, "params": PARAMS}
    assert len(result["ignored"]) == 10


@pytest.mark.usefixtures("file", "narrow")
def test_evaluate_several_files(prune, monkeypatch: pytest.MonkeyPatch):
    from prune.engine.measure import comparison

    monkeypatch.setattr(comparison, "measure", partial(comparison.measure, repeats=5))
    code, out, err = prune("evaluate", "base.hdf5", "narrow.hdf5", "--latency")
    assert code == 0
    assert err == ("images: digits, 360 to test on, 3x16x16\ntiming forward passes of 1 and 128 images\n")
    title, heading, _, base_row, narrow_row, _, against, changes, _, change_row, *_ = out.splitlines()
    assert (title, against) == ("on digits, ms per batch", "against base.hdf5")
    assert heading.split() == ["file", "top-1", "top-5", "MACs", "params", "size", "ms/1", "ms/128"]
    assert changes.split() == ["file", "top-1", "MACs", "params", "size", "speed-up/1", "speed-up/128"]
    assert base_row.split()[:1] + base_row.split()[3:7] == ["base.hdf5", "10.14M", "0.27M", "1.1", "MB"]
    assert re.match(r"narrow.hdf5 +[+-]\d+\.\d\d  -\d\d\.\d%  -\d\d\.\d%  -\d\d\.\d% ", change_row)
    assert max(map(len, out.splitlines())) <= 80
    assert narrow_row.startswith("narrow.hdf5 ")


@pytest.mark.usefixtures("narrow")
def test_evaluate_json(facts, file: Path):
    result = facts("evaluate", file, "narrow.hdf5")
    assert result.keys() == {"dataset", "networks"}
    assert result["dataset"] == "digits"
    for network, path in zip(result["networks"], (str(file), "narrow.hdf5"), strict=True):
        check_costs(network)
        assert network.keys() - COST_KEYS == {"path", "bytes", "accuracy", "latency"}
        assert network["path"] == path
        assert network["baseline"] == {"macs": MACS, "params": PARAMS}
        stored = store.read(path).meta["accuracy"]
        assert network["accuracy"]["top1"] == pytest.approx(stored["top1"])


@pytest.mark.usefixtures("few_digits")
def test_evaluate_opens_the_images_once_per_normalisation(facts, file: Path, monkeypatch: pytest.MonkeyPatch):
    from prune.engine.network import sources

    opened: list[object] = []
    open_data = sources.open_data

    def counting(*args: Any, **options: Any) -> Any:
        opened.append(options["mean"])
        return open_data(*args, **options)

    monkeypatch.setattr(sources, "open_data", counting)
    whole = store.read(file)
    store.write("copy.hdf5", whole)
    other = {"mean": [0.5] * 3, "std": [0.5] * 3}
    store.write("other.hdf5", store.WeightFile(whole.tensors, {**whole.meta, "normalization": other}))
    result = facts("evaluate", file, "other.hdf5", "copy.hdf5")
    assert opened == [whole.meta["normalization"]["mean"], other["mean"]]
    first, second, third = (network["accuracy"]["loss"] for network in result["networks"])
    assert first == third != second
