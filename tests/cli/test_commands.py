"""Training, ranking, finetuning, converting and inspecting, typed out on a small network and the digits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from prune.weights import formats, store

INNER = "stage2.block0.conv1.conv"


def test_train_base_leaves_a_run_that_explains_itself(base: Path):
    assert {path.name for path in base.iterdir()} == {
        "best.hdf5",
        "checkpoint.pt",
        "config.json",
        "environment.json",
        "final.hdf5",
        "log.jsonl",
        "report.json",
    }
    meta = store.read(base / "best.hdf5").meta
    assert (meta["arch"], meta["num_classes"], meta["input_size"]) == ("resnet20", 10, [3, 16, 16])
    assert meta["accuracy"]["dataset"] == "digits"
    assert meta["accuracy"]["top1"] > 20
    assert [step["command"] for step in meta["history"]] == ["train-base"]


def test_train_base_on_a_terminal_of_words(prune, resnet8: None):
    words = "train-base --arch resnet8 --epochs 1 --batch-size 128 --precision fp32 --seed 3"
    code, out, err = prune(*words.split())
    assert code == 0
    folder = "runs/train-base-resnet8-digits-001"
    assert err.splitlines()[0] == f"training in {folder}: 1 epochs of 12 steps on cpu, fp32" + (
        ", channels last" if "channels last" in err else ""
    )
    assert re.match(r"epoch 1/1  loss \d\.\d{3}  train \d+\.\d\d%  test \d+\.\d\d%  lr ", err.splitlines()[1])
    heading, _, best, final, *_ = out.splitlines()
    assert heading.split() == ["file", "epoch", "top-1", "top-5", "loss"]
    assert best.split()[:3] == ["best", f"{folder}/best.hdf5", "1"]
    assert final.split()[:3] == ["final", f"{folder}/final.hdf5", "1"]


@pytest.mark.usefixtures("few_digits")
def test_rank_an_arch_as_typed_without_a_base(prune):
    code, out, err = prune("rank", "--arch", "resnet20")
    assert code == 0
    said = [line for line in err.splitlines() if not line.startswith("scoring: ")]  # where it takes its time
    assert said == [
        "warning: no base run of resnet20 on digits in runs/: using random weights, seed 0; "
        "train one with `prune train-base`, or name a file",
        "images: digits, 240 to train on and 60 to test on, 3x16x16",
        "saved runs/rank-resnet20-hrank-001/scores.hdf5 (17.8 kB)",
    ]
    title, heading, _, *rows = out.rstrip().splitlines()
    assert (title, heading.split()) == (
        "hrank scores of resnet20",
        ["layer", "filters", "lowest", "mean", "highest"],
    )
    assert len(rows) == 19


def test_rank_an_arch_takes_the_newest_base(facts, base: Path):
    words = ["rank", "--arch", "resnet_20", "--criterion", "l1"]
    for name, finished in (("older", "2024-01-01"), ("newer", "2025-01-01"), ("oldest", "2023-01-01")):
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        for file in base.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        report = json.loads((base / "report.json").read_text())
        (folder / "report.json").write_text(json.dumps(report | {"finished_at": finished}))
    assert facts(*words)["weights_source"] == ("runs/newer/best.hdf5, the newest base of resnet20 on digits")
    assert facts(*words, "--num-classes", "10")["path"] == "runs/rank-resnet20-l1-002/scores.hdf5"


def test_rank_a_file(facts, file: Path):
    result = facts("rank", file, "--limit", "1", "--batch-size", "32", "--out", "scores.hdf5")
    assert result.keys() == {"arch", "criterion", "weights_source", "path", "scores"}
    assert (result["arch"], result["criterion"], result["weights_source"]) == ("resnet20", "hrank", str(file))
    assert len(result["scores"]) == 19
    assert all(0 <= score <= 16 for score in result["scores"]["stage1.conv1.conv"])
    saved = store.read("scores.hdf5").tensors
    assert {name: len(scores) for name, scores in result["scores"].items()} == {
        name: len(array) for name, array in saved.items()
    }


@pytest.mark.usefixtures("resnet8")
def test_finetune_learns_from_the_base_and_can_be_resumed(facts, prune, thin: Path):
    facts("prune", thin, "--criterion", "l1", "--flops", "0.5", "--out", "narrow.hdf5")
    words = "--epochs 2 --precision fp32 --recalibrate 2 --out tuned"
    whole = facts("finetune", "narrow.hdf5", "--distill", thin, *words.split())
    assert (whole["epochs"], whole["folder"]) == (2, "tuned")
    assert whole["best"]["top1"] > store.read("narrow.hdf5").meta["accuracy"]["top1"]
    history = store.read("tuned/best.hdf5").meta["history"]
    assert [step["command"] for step in history] == ["train-base", "prune", "finetune"]
    assert history[-1]["options"]["distill_alpha"] == 0.5

    for name in ("report.json", "final.hdf5"):  # as if it had been killed while it wrote the last file
        Path("tuned", name).unlink()
    resumed = facts("finetune", "--resume", "tuned")
    assert resumed["final"]["top1"] == whole["final"]["top1"]
    assert "is finished" in prune("finetune", "--resume", "tuned").err


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("style", [None, "akamaster"])
def test_convert_there_and_back(suffix: str, style: str | None, facts, file: Path):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    names = ["--names", style] if style else []
    there = facts("convert", file, f"there.{suffix}", *names)
    assert there["path"] == f"there.{suffix}"
    keys = list(formats.read_any(there["path"]).tensors)
    assert keys[0] == ("conv1.weight" if style else "stage1.conv1.conv.weight")
    back = facts("convert", f"there.{suffix}", "back.hdf5")
    assert back["meta"]["arch"] == "resnet20"
    old, new = store.read(file).tensors, store.read("back.hdf5").tensors
    assert list(old) == list(new)
    assert all(np.array_equal(old[name], new[name]) for name in old)


def test_convert_and_inspect_as_typed(prune, file: Path):
    code, out, err = prune("convert", "base.hdf5")
    assert (code, out) == (0, "")
    assert re.fullmatch(r"\S.*\nsaved base.pth \(1.1 MB\)\n", err)
    code, out, err = prune("inspect", "base.hdf5")
    assert (code, err) == (0, "")
    assert re.match(r"file +base.hdf5 *\nsize +1.1 MB *\nsha256 +[0-9a-f]{64} *\nform +plain *\n", out)
    assert "116 tensors" in out


def test_inspect_tells_two_files_apart(facts, unmeasured: Path):
    facts("prune", unmeasured, "--rate", "0.5", "--out", "narrow.hdf5")
    result = facts("inspect", unmeasured, "--diff", "narrow.hdf5")
    assert not result["identical"]
    assert {"name": f"{INNER}.weight", "a": [32, 16, 3, 3], "b": [16, 16, 3, 3]} in result["shapes"]
    assert facts("inspect", unmeasured, "--diff", unmeasured)["identical"]
