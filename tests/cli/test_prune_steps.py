"""`prune prune --steps N`: towards a budget step by step, each step with what the one before made."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import warm
from prune.cli import progress
from prune.engine.events import EpochDone
from prune.engine.network.files import save_network
from prune.engine.network.fresh import new_network
from prune.weights import store

pytestmark = pytest.mark.usefixtures("few_digits")

TINY = """
from torch import nn

def tiny(num_classes):
    layers = [nn.Conv2d(3, 12, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(12), nn.ReLU()]
    layers += [nn.Conv2d(12, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, num_classes))
"""
TOKENS = """
import torch
from torch import nn

class Tokens(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.norms = nn.Conv2d(3, 16, 4, 4), nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(16)])
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.up, self.down, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, num_classes)

    def forward(self, images):
        stream = self.stem(images).flatten(2).transpose(1, 2)
        first = self.norms[0](stream)
        stream = stream + self.attention(first, first, first, need_weights=False)[0]
        return self.head((stream + self.down(torch.relu(self.up(self.norms[1](stream))))).mean(1))
"""
OURS = ("--arch", "steps_tiny:tiny", "--dataset", "digits", "--threads", 1)
FEW = ("--limit", 1, "--calibration", 128, "--fit-blocks", 4)


@pytest.fixture
def tiny(prune, tmp_path: Path) -> Path:
    """A small network in a file, random weights, its code beside it."""
    Path("steps_tiny.py").write_text(TINY)
    save_network("tiny.hdf5", new_network("steps_tiny:tiny", num_classes=10, input_size=(3, 16, 16)))
    return tmp_path / "tiny.hdf5"


def facts(ended: Any) -> dict[str, Any]:
    """What a command told machines."""
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def history(path: str | Path) -> list[dict[str, Any]]:
    """What a file says of how it came about."""
    return store.read(path).meta["history"]


def pruned(path: str) -> list[dict[str, Any]]:
    """The options of every pruning that a file's history knows of."""
    return [step["options"] for step in history(path) if step["command"] == "prune"]


def same_tensors(one: str, two: str) -> bool:
    """Do two files hold the same tensors, bit by bit?"""
    tensors = [store.read(path).tensors for path in (one, two)]
    return tensors[0].keys() == tensors[1].keys() and all(
        array.tobytes() == tensors[1][name].tobytes() for name, array in tensors[0].items()
    )


def test_two_steps_are_two_commands(prune, tiny: Path):
    words = ("--criterion", "l1", "--compensate", "--calibration", 64, "--fit-blocks", 4, *OURS, "--json")
    found = facts(prune("prune", tiny, "--flops", 0.5, "--steps", 2, *words, "--out", "narrow.hdf5"))
    half = 0.5 * found["baseline"]["macs"]
    assert 0.9 * half < found["macs"] <= half
    steps = pruned("narrow.hdf5")
    assert [(step["step"], step["steps"]) for step in steps] == [(1, 2), (2, 2)]
    assert steps[0]["flops"] == pytest.approx(half * 2**0.5, abs=1)
    assert steps[1]["flops"] == int(half)

    one = facts(prune("prune", tiny, "--flops", steps[0]["flops"], *words, "--out", "one.hdf5"))
    two = facts(prune("prune", "one.hdf5", "--flops", steps[1]["flops"], *words, "--out", "two.hdf5"))
    assert same_tensors("narrow.hdf5", "two.hdf5")
    assert [step["macs"] for step in found["steps"]] == [one["macs"], two["macs"]]
    tops = [one["accuracy"]["compensated"]["top1"], two["accuracy"]["compensated"]["top1"]]
    assert [step["accuracy"]["top1"] for step in found["steps"]] == tops
    assert found["accuracy"]["before"]["top1"] == one["accuracy"]["before"]["top1"]
    assert found["accuracy"]["compensated"]["top1"] == tops[1]
    verified = facts(prune("inspect", "narrow.hdf5", "--verify", "--json"))
    assert [step["verdict"] for step in verified["parents"][-2:]] == ["as it was written"] * 2


def test_a_budget_and_images_alone_in_steps(prune, tiny: Path):
    done = prune("prune", tiny, "--flops", 0.5, "--steps", 2, *FEW, *OURS, "--out", "narrow.hdf5")
    assert done.code == 0, done.err
    assert "compensated on 128, in each of 2 steps: about " in done.err
    assert "step 1 of 2: to 70.7% of the MACs\n" in done.err
    assert "step 2 of 2: to 50.0% of the MACs\n" in done.err
    method = {"criterion": "obs-measured", "ranking": "loss", "transfer": "compensate"}
    assert all(step.items() >= method.items() for step in pruned("narrow.hdf5"))
    assert len(pruned("narrow.hdf5")) == 2
    rows = [line.split("  ")[0] for line in done.out.splitlines()]
    assert [row for row in rows if row in ("before", "step 1 of 2", "pruned", "compensated")] == [
        *("before", "step 1 of 2", "pruned", "compensated")
    ]


def test_one_step_is_what_it_is_without_a_word(prune, tiny: Path):
    for name, words in {"one": ("--steps", 1), "none": ()}.items():
        assert prune("prune", tiny, "--params", 0.5, *words, *FEW, *OURS, "--out", f"{name}.hdf5").code == 0
    assert Path("one.hdf5").read_bytes() == Path("none.hdf5").read_bytes()


@pytest.mark.parametrize("residual", ["internal", "coupled", "scatter"])
def test_what_stays_is_told_of_the_first_network(prune, resnet8: None, residual: str):
    save_network("base.hdf5", new_network("resnet8", input_size=16))
    words = ("--recalibrate", 0, "--threads", 1, "--json")
    budget = ("--criterion", "l1", "--residual", residual, "--flops", 0.4, "--steps", 3)
    budget += ("--plan-out", "plan.json")
    found = facts(prune("prune", "base.hdf5", *budget, *words, "--out", "narrow.hdf5"))
    again = facts(prune("prune", "base.hdf5", "--plan", "plan.json", *words, "--out", "again.hdf5"))
    assert found["kept"] == again["kept"]
    assert (found["macs"], found["params"]) == (again["macs"], again["params"])
    assert same_tensors("narrow.hdf5", "again.hdf5")  # nothing was solved or trained
    assert len(found["steps"]) == 3


def test_heads_and_units_leave_in_steps_too(prune):
    Path("steps_tokens.py").write_text(TOKENS)
    save_network("base.hdf5", new_network("steps_tokens:Tokens", num_classes=10, input_size=(3, 16, 16)))
    words = ("base.hdf5", "--arch", "steps_tokens:Tokens", "--threads", 1, "--json")
    budget = ("--criterion", "l1", "--flops", 0.5, "--steps", 2, "--plan-out", "plan.json")
    found = facts(prune("prune", *words, *budget, "--out", "narrow.hdf5"))
    again = facts(prune("prune", *words, "--plan", "plan.json", "--out", "again.hdf5"))
    assert found["kept"] == again["kept"]
    assert same_tensors("narrow.hdf5", "again.hdf5")
    shown = prune("prune", *words[:-1], "--plan", "plan.json", "--out", "third.hdf5")
    assert (shown.code, "attention" in shown.out) == (0, True)


def test_no_layer_loses_more_in_all_than_it_may_at_once(prune, tiny: Path):
    whole = store.read(tiny)
    whole.tensors["0.weight"][:9] *= 0.01  # all of these would go first
    store.write(tiny, whole, force=True)
    words = ("--criterion", "l1", "--ranking", "global", "--max-rate", 0.5, *OURS, "--json")
    found = facts(prune("prune", tiny, "--flops", 0.36, "--steps", 3, *words, "--out", "narrow.hdf5"))
    assert len(found["kept"]["0"]) == 6


def test_each_step_is_trained_where_that_is_asked_for(prune, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    words = ("--criterion", "l1", "--flops", 0.5, "--steps", 2, "--finetune", 1, "--compensate")
    words = ("prune", tiny, *words, *FEW[2:], *OURS, "--batch-size", 256, "--precision", "fp32")
    done = prune(*words, "--out", "narrow.hdf5")
    assert done.code == 0, done.err
    assert "step 1 of 2, trained" in done.out
    runs = [Path(f"runs/finetune-steps_tiny-tiny-digits-00{number}") for number in (1, 2)]
    configs = [json.loads((run / "config.json").read_text()) for run in runs]
    assert [config["start"] for config in configs] == [
        str(Path(name).resolve()) for name in ("narrow-step1.hdf5", "narrow.hdf5")
    ]
    assert [config["teacher"] for config in configs] == [str(tiny)] * 2
    steps = history(runs[1] / "final.hdf5")
    assert [step["command"] for step in steps] == ["prune", "finetune", "prune", "finetune"]
    assert steps[2]["parent"] == store.sha256(runs[0] / "final.hdf5")
    Path("other-step1.hdf5").write_text("mine")
    refused = prune(*words, "--out", "other.hdf5")
    assert (refused.code, "'other-step1.hdf5' exists" in refused.err) == (2, True)

    def interrupted(event: Any) -> str:
        if isinstance(event, EpochDone):
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(progress, "describe", interrupted)
    cut = prune(*words, "--out", "third.hdf5")
    assert cut.code == 130
    run, target = "runs/finetune-steps_tiny-tiny-digits-003", int(pruned("narrow.hdf5")[1]["flops"])
    assert f"go on with: prune finetune --resume {run}; then: prune prune {run}/final.hdf5 " in cut.err
    assert f" --flops {target} --steps 1 --finetune 1" in cut.err
    assert sorted(path.name for path in Path().glob("third*")) == ["third-step1.hdf5"]


def test_whoever_is_killed_half_way_leaves_nothing(tiny: Path):
    words = ("--flops", 0.5, "--steps", 2, *FEW[:4], *OURS, "--out", "narrow.hdf5")
    before = sorted(path.name for path in Path().iterdir())
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    with warm.Process(["-m", "prune", "prune", tiny, *words], environment=env) as work:
        said = next((line for line in work.stderr if "step 2 of 2" in line), "")
        work.send_signal(signal.SIGKILL)
    assert said
    assert work.returncode == -signal.SIGKILL
    assert sorted(path.name for path in Path().iterdir()) == before


def test_a_dry_run_says_the_steps(prune, tiny: Path):
    words = ("prune", tiny, "--criterion", "l1", "--flops", 0.25, "--params", 0.9, "--steps", 2, "--dry-run")
    told = facts(prune(*words, *OURS, "--json"))
    whole = told["baseline"]
    assert told["steps"] == [
        {"macs": int(0.5 * whole["macs"]), "params": int(0.9**0.5 * whole["params"])},
        {"macs": int(0.25 * whole["macs"]), "params": int(0.9 * whole["params"])},
    ]
    shown = prune(*words, *OURS).out.splitlines()
    assert [line.split()[:4] for line in shown if line.startswith("step ")] == [
        ["step", "1", "of", "2"],
        ["step", "2", "of", "2"],
    ]
    assert not Path("tiny-pruned.hdf5").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rate", 0.5), "--steps go towards a budget, and --rate is none; give --flops or --params"),
        (("--plan", "plan.json"), "--steps go towards a budget, and --plan is none"),
        (("--layer-rate", "0=0.5"), "--steps go towards a budget, and --layer-rate is none"),
        (("--max-drop", 1), "--max-drop finds a budget by trying, --steps go towards one"),
        (
            ("--flops", 0.5, "--scores", "scores.hdf5"),
            "every step scores what is there by then; give --criterion",
        ),
        (("--recipe", "hrank/resnet56"), "recipe 'hrank/resnet56' is done at once, as published"),
        (("--schedule", "soft"), "--steps has no effect with --schedule soft; leave it out"),
        (("--method", "resrep"), "--steps has no effect with --method resrep; leave it out"),
        (("--flops", 0.5, "--steps", 0), "Input should be greater than or equal to 1"),
    ],
)
def test_what_steps_do_not_go_with(prune, tiny: Path, words, message: str):
    if "plan.json" in words:
        plan = ("--rate", 0.5, "--plan-out", "plan.json", "--out", "x.hdf5")
        assert prune("prune", tiny, *OURS, *plan).code == 0
    if "scores.hdf5" in words:
        assert prune("rank", tiny, *OURS, "--criterion", "l1", "--out", "scores.hdf5").code == 0
    start = () if "--recipe" in words else (tiny, *OURS)
    ended = prune("prune", *start, "--steps", 2, *words, "--out", "narrow.hdf5")
    assert ended.code == 2
    assert message in " ".join(ended.err.split())
    assert not Path("narrow.hdf5").exists()
