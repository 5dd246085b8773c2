"""Gradual pruning from end to end: what a run leaves behind, resuming at every epoch, and what it refuses."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from prune.engine.allocations import required
from prune.engine.errors import CriterionError, DataError, EngineError, TrainingError
from prune.engine.events import EpochDone, MasksSet
from prune.engine.graph.cost import count
from prune.engine.graph.trace import trace
from prune.engine.jobs.job import Job
from prune.engine.jobs.prepare import prepare
from prune.engine.measure.evaluation import evaluate
from prune.engine.narrowing.outcome import Outcome
from prune.engine.network.files import load_network
from prune.engine.runs.runs import Run
from prune.engine.selection import plan as plans
from prune.weights.store import sha256

MakeJob = Callable[..., Job]
Finished = tuple[Path, Outcome, list[Path]]  # a run, what came of it, and copies of it as it was on the way
ARCH = "gradual_user:Net"
UNEQUAL = {"layer_rates": ("stem.conv=0.25", "block0.conv?.conv=0.5")}  # its first shortcut crops the stream
WAYS: dict[str, dict[str, Any]] = {
    "soft": {"schedule": "soft", "rate_norm": 0.9, "rate_dist": 0.4, "epochs": 2},
    "soft every second": {"schedule": "soft", "rate": 0.5, "prune_every": 2, "epochs": 3},
    "hard": {"schedule": "hard", "rate_dist": 0.4, "distance": "cosine", "epochs": 2},
    "layer by layer": {
        "schedule": "layer-by-layer",
        "rate": 0.5,
        "criterion": "hrank",
        "limit": 1,
        "epochs": 2,
    },
    "soft, unequal": {"schedule": "soft", **UNEQUAL, "epochs": 2},
    "hard, unequal": {"schedule": "hard", **UNEQUAL, "epochs": 2},
    "layer by layer, unequal": {"schedule": "layer-by-layer", **UNEQUAL, "epochs": 1},
    "soft on images": {
        "schedule": "soft",
        "rate": 0.5,
        "criterion": "hrank",
        "limit": 1,
        "epochs": 2,
        "precision": "bf16",
        "channels_last": True,
    },
}
# Every way, and every residual mode with some of them.
CASES = [
    ("soft", "internal"),
    ("soft every second", "coupled"),
    ("hard", "scatter"),
    ("layer by layer", "internal"),
    ("soft, unequal", "coupled"),
    ("layer by layer, unequal", "coupled"),
]
# The same ways in other residual modes, which training does not know of.
OTHERS = [
    pytest.param(way, residual, marks=pytest.mark.soak)
    for way, residuals in (
        ("soft", ("coupled", "scatter")),
        ("soft every second", ("scatter",)),
        ("hard", ("coupled",)),
        ("layer by layer", ("coupled", "scatter")),
    )
    for residual in residuals
]


@pytest.fixture(scope="module")
def finished() -> dict[tuple[str, str], Finished]:
    """Runs that were seen through."""
    return {}


@pytest.fixture
def straight(
    finished: dict[tuple[str, str], Finished],
    tmp_path_factory: pytest.TempPathFactory,
    make_job: MakeJob,
    run_with_copies,
) -> Callable[[str, str], Finished]:
    """The run of a way in a residual mode, begun at most once."""

    def straight(way: str, residual: str) -> Finished:
        if (way, residual) not in finished:
            folder = tmp_path_factory.mktemp("straight") / "run"
            job = make_job(**WAYS[way], residual=residual)
            finished[way, residual] = (folder, *run_with_copies(job, folder))
        return finished[way, residual]

    return straight


@pytest.mark.parametrize(("way", "residual"), [*CASES, ("hard, unequal", "coupled"), *OTHERS])
def test_the_narrow_network_is_exactly_as_good_as_the_masked_one(
    make_job: MakeJob, straight, way: str, residual: str
):
    folder, outcome, _ = straight(way, residual)
    before, masked, narrow = (outcome.accuracies[name] for name in ("before", "masked", "narrow"))
    assert masked.top1 == narrow.top1
    assert masked.loss != before.loss
    assert masked.loss == pytest.approx(narrow.loss, rel=1e-4)
    assert outcome.difference < 1e-6
    assert outcome.after.macs < 0.9 * outcome.before.macs

    full, thin = (load_network(folder / f"{name}.hdf5", ARCH) for name in ("final", "narrow"))
    data = make_job("soft").images.open(thin)
    assert evaluate(full.model, data).top1 == evaluate(thin.model, data).top1 == narrow.top1
    images_NCHW = torch.randn(8, 3, 16, 16)
    torch.testing.assert_close(thin.model(images_NCHW), full.model(images_NCHW), rtol=1e-3, atol=1e-4)
    assert count(trace(thin.model, (3, 16, 16)).map).macs == outcome.after.macs
    for name, kept in outcome.kept.items():
        assert len(thin.model.get_parameter(f"{name}.weight")) == len(kept)
    assert thin.accuracy is not None
    assert thin.accuracy["top1"] == narrow.top1
    assert thin.history[-1]["options"]["schedule"] == WAYS[way]["schedule"]


def test_a_run_says_what_it_did(tmp_path: Path, make_job: MakeJob, run):
    job = make_job("soft", rate_dist=0.4, residual="coupled", epochs=2)
    outcome, events = run(job, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        *("config.json", "environment.json", "log.jsonl", "report.json", "checkpoint.pt"),
        *("best.hdf5", "final.hdf5", "narrow.hdf5"),
    }
    set_at = [(e.epoch, e.step, e.steps) for e in events if isinstance(e, MasksSet)]
    assert set_at == [(1, 0, 4), (1, 4, 4), (2, 4, 4)]
    assert {event.macs for event in events if isinstance(event, MasksSet)} == {outcome.after.macs}
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["accuracy"] == {stage: asdict(found) for stage, found in outcome.accuracies.items()}
    assert set(report["accuracy"]) == {"before", "live", "masked", "narrow"}
    assert report["macs"] == {"before": outcome.before.macs, "after": outcome.after.macs}
    assert report["kept"] == outcome.kept
    last = [event for event in events if isinstance(event, EpochDone)][-1]
    assert last.test == outcome.accuracies["masked"]
    assert outcome.counts["stem.conv"] == (5, 8)
    assert Job.of_run(Run.open(tmp_path / "run")).pruning == job.pruning


def test_bn_that_is_still_alive_makes_a_difference(tmp_path: Path, make_job: MakeJob, run):
    outcome, _ = run(make_job("hard", rate=0.6, residual="coupled", epochs=1), tmp_path / "run")
    assert outcome.accuracies["live"].loss != pytest.approx(outcome.accuracies["masked"].loss, rel=1e-3)


def ends(folder: Path) -> list[str]:
    return [sha256(folder / f"{name}.hdf5") for name in ("best", "final", "narrow")]


@pytest.mark.parametrize(("way", "residual"), [*CASES, ("soft on images", "scatter"), *OTHERS])
def test_resuming_after_any_epoch_ends_the_same(straight, resume, way: str, residual: str):
    folder, outcome, copies = straight(way, residual)
    epochs = sum(event == "EpochDone" for event, *_ in _course(folder))
    assert len(copies) == epochs + 1
    for copy in copies:
        resumed, _ = resume(copy)
        assert ends(copy) == ends(folder), copy.name
        assert {stage: found.loss for stage, found in resumed.accuracies.items()} == {
            stage: found.loss for stage, found in outcome.accuracies.items()
        }
        assert _course(copy) == _course(folder)


def _course(folder: Path) -> list[Any]:
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(record["event"], record.get("epoch"), record.get("train_loss")) for record in log]


def test_from_scratch(tmp_path: Path, make_job: MakeJob, run, interrupt, resume):
    job = make_job("soft", start=None, rate=0.4, epochs=2)
    outcome, _ = run(job, tmp_path / "run")
    assert set(outcome.accuracies) == {"live", "masked", "narrow"}
    interrupt(job, tmp_path / "stopped", 1)
    resume(tmp_path / "stopped")
    assert ends(tmp_path / "stopped") == ends(tmp_path / "run")
    assert load_network(tmp_path / "run" / "narrow.hdf5", ARCH).history[-1]["command"] == "prune"


@pytest.mark.parametrize("criterion", ["fpgm", "taylor", "bn-scale", "random"])
def test_any_criterion_goes_with_any_schedule(tmp_path: Path, make_job: MakeJob, run, criterion: str):
    outcome, _ = run(make_job("soft", criterion=criterion, flops=0.6, limit=1, epochs=1), tmp_path / "run")
    assert outcome.after.macs <= 0.6 * outcome.before.macs
    assert outcome.accuracies["masked"].top1 == outcome.accuracies["narrow"].top1


def test_bfloat16_and_channels_last(tmp_path: Path, make_job: MakeJob, run):
    for schedule in ("hard", "layer-by-layer"):
        job = make_job(schedule, rate=0.5, residual="coupled", precision="bf16", channels_last=True, epochs=1)
        outcome, _ = run(job, tmp_path / schedule)
        assert outcome.accuracies["masked"].top1 == outcome.accuracies["narrow"].top1


def test_a_plan_may_vanish_once_the_run_has_begun(tmp_path: Path, make_job: MakeJob, interrupt, resume):
    ready = prepare(make_job("hard", rate=0.5)).schedule
    plan = plans.plan_of(ready.chooser.forecast.map, ready.leaving, arch=ARCH, residual="internal")
    plans.write(tmp_path / "plan.json", plan)
    interrupt(make_job("hard", plan=tmp_path / "plan.json", epochs=1), tmp_path / "run", 0)
    (tmp_path / "plan.json").unlink()
    outcome, _ = resume(tmp_path / "run")
    assert len(outcome.kept["block0.conv1.conv"]) == 4


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"schedule": "gentle"},
            TrainingError,
            "no schedule 'gentle'; choose one of gradient-resetting, hard, layer-by-layer, one-shot, soft",
        ),
        (
            {"schedule": "soft", "prune_every": 3},
            TrainingError,
            "`prune_every` 3 is more than the 2 epochs there are; give 1 to 2",
        ),
        (
            {"schedule": "hard", "scores": Path("scores.hdf5")},
            TrainingError,
            "`scores` has no effect with `schedule` hard",
        ),
        (
            {"schedule": "layer-by-layer", "start": None},
            TrainingError,
            "`schedule` layer-by-layer starts from a trained network; name its file",
        ),
        ({"schedule": "soft", "criterion": "l3"}, CriterionError, "no criterion 'l3'; did you mean"),
        (
            {"schedule": "soft", "start": None, "num_classes": 7},
            DataError,
            "`num_classes` 7, but 'digits' has 10",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    make_job: MakeJob, settings, error: type[EngineError], message: str
):
    with pytest.raises(error, match=message):
        prepare(make_job(**settings))


def test_a_folder_that_describes_no_run_is_refused(tmp_path: Path):
    Run.create(tmp_path / "torn", {"command": "prune", "method": "select", "schedule": "soft"})
    with pytest.raises(TrainingError, match=r"config\.json describes no run of prune: 'images'"):
        Job.of_run(Run.open(tmp_path / "torn"))


def test_every_field_of_an_allocation_survives_the_run_folder(tmp_path: Path, make_job: MakeJob):
    wanted: list[dict[str, Any]] = [
        {"compress_rate": "[0.5]*5", "residual": "scatter", "skip": ("stem*",)},
        {"layer_rates": ("block0*=0.5", "block1*=0.25"), "residual": "coupled", "min_channels": 2},
        {"deps": (8, 4, 8, 6, 12)},
        {"flops": 0.5, "params": 0.6, "ranking": "global", "round_to": 2, "max_rate": 0.8},
    ]
    for number, settings in enumerate(wanted):
        job = make_job("soft", **settings)
        assert job.pruning.allocation == required(settings)
        network = load_network(job.start, ARCH)
        Run.create(tmp_path / f"{number}", job.settings(network, job.images.open(network)))
        assert Job.of_run(Run.open(tmp_path / f"{number}")).pruning == job.pruning
