"""`prune prune`, typed out: every way of saying what leaves, plans, and what is said."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from costs_in_json import COST_KEYS, check_costs
from prune.weights import store

SMALL_MACS, SMALL_PARAMS = 3_060_352, 75_290  # of ResNet-8
INNER, STREAM = "stage2.block0.conv1.conv", "stage2.block0.conv2.conv"

WAYS = {  # options -> filters kept of the inner and of the stream convolutions of stage 2
    "--rate 0.5": (16, 32),
    "--rate 0.5 --residual coupled": (16, 16),
    "--rate 0.5 --min-channels 20": (20, 32),
    "--rate 0.5 --skip stage2.*": (32, 32),
    "--layer-rate stage2.block0.*=0.25 --layer-rate stage3.*=0.7": (24, 32),
    "--compress-rate [0.1]+[0.75]*6": (8, 32),
    "--compress-rate [0.5]*3": (16, 32),
    "--keep-rate [0.75]*7": (24, 32),
    "--rate-norm 1.0 --rate-dist 0.5": (16, 32),
    "--rate-dist 0.25 --residual coupled": (24, 24),
}


@pytest.mark.parametrize("words", WAYS)
def test_every_way_of_saying_what_leaves(words: str, facts, unmeasured: Path):
    result = facts("prune", unmeasured, *words.split())
    kept = {name: len(filters) for name, filters in result["kept"].items()}
    assert (kept[INNER], kept[STREAM]) == WAYS[words]
    widths = {layer["name"]: layer["out"] for layer in result["layers"] if layer["kernel"]}
    assert widths == kept
    assert result["residual"] == ("coupled" if "coupled" in words else "internal")
    assert result["baseline"] == {"macs": SMALL_MACS, "params": SMALL_PARAMS}
    tensors = store.read(result["path"]).tensors
    assert tensors[f"{INNER}.weight"].shape[0] == kept[INNER]
    parameters = [array for name, array in tensors.items() if name.endswith((".weight", ".bias"))]
    assert sum(array.size for array in parameters) == result["params"]
    counted = facts("flops", unmeasured, *words.split())  # the same without weights
    assert (counted["macs"], counted["params"]) == (result["macs"], result["params"])
    assert counted["ignored"] == result["ignored"]


@pytest.mark.parametrize(
    ("words", "key", "least", "most"),
    [
        ("", "macs", 0.48, 0.5),
        ("--flops 0.5", "macs", 0.48, 0.5),
        ("--flops 40%", "macs", 0.38, 0.4),
        ("--flops 2M", "macs", 0.63, 2e6 / SMALL_MACS),
        ("--params 0.5", "params", 0.48, 0.5),
        ("--flops 0.5 --ranking global --criterion random", "macs", 0.48, 0.5),
        ("--flops 0.5 --residual coupled --max-rate 0.6", "macs", 0.48, 0.5),
        ("--flops 0.6 --round-to 8", "macs", 0.4, 0.6),
    ],
)
def test_budgets_are_met_from_below(words: str, key: str, least: float, most: float, facts, unmeasured: Path):
    result = facts("prune", unmeasured, *words.split())
    assert least <= result[key] / result["baseline"][key] <= most
    if "--round-to 8" in words:
        assert {len(kept) % 8 for kept in result["kept"].values()} == {0}


def test_what_prune_says(prune, file: Path):
    words = "--rate 0.5 --recalibrate 2 --out narrow.hdf5 --plan-out plan.json"
    code, out, err = prune("prune", file, *words.split())
    assert code == 0
    lines = out.splitlines()
    assert lines[:4] == [
        "resnet20, residual internal",
        "layer                     channels  kept  removed",
        "─────────────────────────────────────────────────",
        "stage1.block0.conv1.conv        16     8    50.0%",
    ]
    heading, _, before, pruned, again = lines[13:18]
    assert heading.split() == ["MACs", "ΔMACs", "params", "Δparams", "top-1"]
    assert before.split()[:5] == ["before", "10.14M", "-", "269,722", "-"]
    assert pruned.split()[:5] == ["pruned", "5.12M", "-49.5%", "135,754", "-49.7%"]
    assert again.split()[:2] == ["BN", "re-estimated"]
    weights, images, proof, *saved = err.splitlines()
    assert weights == f"weights: {file}"
    assert images == "images: digits, 1,437 to train on and 360 to test on, 3x16x16"
    assert re.fullmatch(r"proven: narrow equals masked within \d\.\de[-+]\d\d \(relative, float64\)", proof)
    assert [line.split(" (")[0] for line in saved] == ["saved narrow.hdf5", "saved plan.json"]


@pytest.mark.usefixtures("few_digits")
def test_prune_json_has_its_stable_keys(facts, file: Path):
    result = facts("prune", file, "--scores", _scores(facts, file), "--residual", "coupled")
    check_costs(result)
    assert result.keys() - COST_KEYS == {
        "path",
        "kept",
        "residual",
        "pinned",
        "ignored",
        "difference",
        "accuracy",
    }
    assert result["difference"] < 1e-6
    assert set(result["accuracy"]) == {"before", "pruned", "recalibrated"}
    assert result["path"] == "base-pruned.hdf5"


def _scores(facts: Callable[..., dict[str, Any]], file: Path) -> str:
    return facts("rank", file, "--criterion", "l2", "--out", "scores.hdf5")["path"]


def test_a_plan_can_be_written_edited_and_applied(facts, unmeasured: Path):
    words = ["--rate", "0.5", "--residual", "coupled", "--plan-out", "plan.json", "--out", "first.hdf5"]
    first = facts("prune", unmeasured, *words)
    again = facts("prune", unmeasured, "--plan", "plan.json", "--out", "again.hdf5")
    assert {key: again[key] for key in ("kept", "macs", "residual")} == {
        key: first[key] for key in ("kept", "macs", "residual")
    }
    tensors = store.read("first.hdf5").tensors
    for name, array in store.read("again.hdf5").tensors.items():
        np.testing.assert_array_equal(array, tensors[name])

    plan = json.loads(Path("plan.json").read_text())
    plan["groups"][INNER] = [3, 5, 8]
    Path("plan.json").write_text(json.dumps(plan))
    edited = facts("prune", unmeasured, "--plan", "plan.json", "--out", "edited.hdf5")
    assert edited["kept"] == first["kept"] | {INNER: [3, 5, 8]}
    assert facts("flops", unmeasured, "--plan", "plan.json")["macs"] == edited["macs"]


def test_prune_again_what_was_pruned(facts, unmeasured: Path):
    first = facts("prune", unmeasured, "--flops", "0.7", "--out", "first.hdf5")
    second = facts("prune", "first.hdf5", "--flops", "0.7", "--out", "second.hdf5")
    assert second["baseline"]["macs"] == first["macs"]
    history = store.read("second.hdf5").meta["history"]
    assert [step["command"] for step in history] == ["train-base", "prune", "prune"]
    assert history[2]["parent"] == store.sha256("first.hdf5")
