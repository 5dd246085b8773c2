"""ResRep from a base file to a folded one: what it leaves behind, resuming, and what it refuses."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prune.engine.errors import AllocationError, TrainingError
from prune.engine.events import EpochDone, Event, MasksSet
from prune.engine.graph.cost import count
from prune.engine.graph.trace import trace
from prune.engine.jobs.job import Job
from prune.engine.jobs.prepare import prepare
from prune.engine.jobs.run import run_pruning
from prune.engine.masking.resetting import active_rows
from prune.engine.measure.evaluation import evaluate
from prune.engine.modules.guests import COMPACTORS
from prune.engine.narrowing.outcome import Outcome
from prune.engine.network.files import load_network
from prune.engine.runs.runs import Run
from prune.engine.schedules.gradient_resetting import GradientResetting, published
from prune.engine.training import optimizer
from prune.engine.training.checkpoint import read_checkpoint

MakeJob = Callable[..., Job]
TIMES = {"seconds", "images_per_s", "finished_at", "folder"}


def begin(job: Job, folder: Path) -> Iterator[Event]:
    ready = prepare(job)
    return run_pruning(ready, Run.create(folder, job.settings(ready.network, ready.images)))


def go_on(folder: Path) -> Iterator[Event]:
    run = Run.open(folder)
    return run_pruning(prepare(Job.of_run(run)), run, resume=True)


def see_through(events: Iterator[Event]) -> tuple[Outcome, list[Event]]:
    seen: list[Event] = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return end.value, seen


def test_rows_die_and_the_folded_network_is_the_trained_one(
    tmp_path: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
):
    # What ResRep's momentum swings to rest in 24 epochs takes a lesser one and a stronger pull 6.
    monkeypatch.setattr(optimizer, "COMPACTOR_MOMENTUM", 0.9)
    job = make_job(epochs=6, batch_size=16, lr=0.04, lasso=0.02, mask_interval=5)
    outcome, events = see_through(begin(job, tmp_path / "run"))
    target = 0.4 * outcome.before.macs
    assert outcome.facts["target"] == target
    assert 0.8 * target < outcome.after.macs <= target
    assert (outcome.facts["masked"], outcome.facts["lingering_rows"]) == (outcome.after.macs, 0)
    before, trained, folded = (outcome.accuracies[name] for name in ("before", "trained", "folded"))
    assert trained.top1 == folded.top1 > 90 > before.top1
    assert trained.loss == pytest.approx(folded.loss, rel=1e-4)

    course = [event for event in events if isinstance(event, MasksSet)]
    assert [event.masked for event in course[:3]] == [2, 4, 6]
    assert course[-1].macs == outcome.facts["masked"]
    assert course[-1].macs_share <= 0.4

    deployed = load_network(tmp_path / "run" / "deploy.hdf5", "resrep_user:net")
    assert not any("compactor" in name or "running" in name for name in deployed.model.state_dict())
    assert count(trace(deployed.model, (3, 16, 16)).map).macs == outcome.after.macs
    assert (
        evaluate(deployed.model, job.images.open(deployed)).top1 == folded.top1 == deployed.accuracy["top1"]
    )
    assert deployed.history[-1]["options"]["lasso"] == 0.02
    training_form = load_network(tmp_path / "run" / "final.hdf5", "resrep_user:net")
    compactors = list(COMPACTORS.placed(training_form.model).values())
    assert (active_rows(compactors) == 0).sum() == course[-1].masked

    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["macs"] == {
        "before": outcome.before.macs,
        "after": outcome.after.macs,
        "target": round(target),
        "masked": outcome.facts["masked"],
    }
    assert report["accuracy"]["folded"]["top1"] == report["accuracy"]["trained"]["top1"] == folded.top1
    narrowed = {
        layer.name: [full, layer.out] for layer, full in zip(outcome.after.layers, (8, 12), strict=False)
    }
    assert report["widths"] == {name: widths for name, widths in narrowed.items() if widths[0] > widths[1]}
    assert report["lingering_rows"] == 0


def test_rows_that_are_not_gone_stay_and_are_counted(tmp_path: Path, make_job: MakeJob):
    outcome, _ = see_through(begin(make_job(epochs=2), tmp_path / "run"))
    facts = outcome.facts
    assert facts["masked"] <= facts["target"] < outcome.after.macs == outcome.before.macs
    training_form = load_network(tmp_path / "run" / "final.hdf5", "resrep_user:net")
    compactors = list(COMPACTORS.placed(training_form.model).values())
    assert facts["lingering_rows"] == (active_rows(compactors) == 0).sum() > 0
    assert outcome.accuracies["trained"].top1 == outcome.accuracies["folded"].top1


def without_times(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {key: without_times(value) for key, value in facts.items() if key not in TIMES}
    return [without_times(fact) for fact in facts] if isinstance(facts, list) else facts


def course_of(folder: Path) -> Any:
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return without_times([log, json.loads((folder / "report.json").read_text())])


def assert_same_end(left: Path, right: Path) -> None:
    one, other = read_checkpoint(left / "checkpoint.pt"), read_checkpoint(right / "checkpoint.pt")
    for name, tensor in one.model.items():
        assert torch.equal(tensor, other.model[name]), name
    assert any(name.endswith("compactor.mask") and (t == 0).any() for name, t in one.model.items())
    for index, state in one.optimizer["state"].items():
        assert torch.equal(state["momentum_buffer"], other.optimizer["state"][index]["momentum_buffer"])
    assert course_of(left) == course_of(right)


@pytest.mark.usefixtures("few_digits")
def test_resuming_ends_where_an_uninterrupted_run_does(tmp_path: Path, make_job: MakeJob):
    job = make_job(epochs=4, mask_interval=3)
    see_through(begin(job, tmp_path / "whole"))
    for kind, epoch in ((MasksSet, 3), (EpochDone, 4)):  # amid masks, and before the report
        folder = tmp_path / f"cut after {kind.__name__}"
        events = begin(job, folder)
        for event in events:
            if isinstance(event, kind) and event.epoch == epoch:
                break
        events.close()  # pyright: ignore[reportAttributeAccessIssue]
        assert not (folder / "report.json").exists()
        logged = (folder / "log.jsonl").read_text().splitlines()
        assert json.loads(logged[-1])["event"] == kind.__name__
        see_through(go_on(folder))
        assert_same_end(tmp_path / "whole", folder)


def test_the_folder_describes_the_job(tmp_path: Path, make_job: MakeJob):
    job = make_job(flops=0.5, skip=("0",))
    begin(job, tmp_path / "run")
    assert Job.of_run(Run.open(tmp_path / "run")) == replace(job, num_classes=10)


def test_a_folder_that_describes_no_run_is_refused(tmp_path: Path):
    with pytest.raises(TrainingError, match="describes no run of prune: 'images'"):
        Job.of_run(Run(tmp_path, {"command": "prune", "method": "resrep", "specification": {"flops": 0.5}}))


def test_folders_of_older_runs_are_read(tmp_path: Path, make_job: MakeJob):
    """Target and strength were one `penalty` once, and there was no specification."""
    job = make_job(flops=0.5, skip=("0",))
    network = load_network(job.start, "resrep_user:net")
    known = job.settings(network, job.images.open(network))
    masks = {name: known.pop(name) for name in ("lasso", "mask_after", "mask_interval", "granularity")}
    for name in ("schedule", "specification", "criterion", "scores", "limit", "like", "teacher"):
        del known[name]
    del known["recalibration"], known["num_classes"]
    older = {**known, "residual": "internal", "skip": ["0"], "penalty": {"flops_target": 0.5, **masks}}
    assert replace(Job.of_run(Run(tmp_path, older)), num_classes=10) == Job.of_run(
        Run(tmp_path, job.settings(network, job.images.open(network)))
    )


def test_a_target_out_of_reach_is_refused_before_training(make_job: MakeJob):
    with pytest.raises(
        AllocationError, match=r"out of reach: .* 2 compactors .* still has ([\d,]+) MACs"
    ) as error:
        prepare(make_job(flops=0.001))
    least = 8 * 8 * 27 + 8 * 8 * 9 + 4 * 10  # one filter each, 8x8 pixels; pooled to 2x2
    assert f"still has {least:,} MACs" in str(error.value)


def test_nothing_to_put_compactors_on_is_refused(make_job: MakeJob):
    with pytest.raises(AllocationError, match="no layer can carry a compactor"):
        prepare(make_job(skip=("*",)))


def test_a_file_with_compactors_is_refused(tmp_path: Path, make_job: MakeJob):
    see_through(begin(make_job(epochs=1), tmp_path / "run"))
    with pytest.raises(TrainingError, match="carries compactors already; fold them first"):
        prepare(replace(make_job(), start=tmp_path / "run" / "final.hdf5"))


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(tmp_path: Path, make_job: MakeJob):
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match="the checkpoint of epoch 0 stays in"):
        see_through(begin(make_job(lr=1e12), folder))
    saved = read_checkpoint(folder / "checkpoint.pt")
    assert all(bool(tensor.isfinite().all()) for tensor in saved.model.values())
    assert not any((folder / name).exists() for name in ("final.hdf5", "deploy.hdf5", "report.json"))


def test_published_settings():
    config, flops = published((3, 32, 32))
    assert (config.epochs, config.lr, config.batch_size, config.lr_schedule) == (480, 0.01, 64, "cosine")
    assert (config.weight_decay, config.momentum, config.decay_rule) == (1e-4, 0.9, "resrep")
    schedule = GradientResetting()
    assert (flops, schedule.lasso, schedule.granularity) == (0.471, 1e-4, 4)
    assert (schedule.mask_after, schedule.mask_interval) == (5, 200)
    config, flops = published((3, 224, 224))
    assert (config.epochs, config.batch_size, flops) == (180, 256, 0.455)


def test_mask_counts_come_from_the_network_without_compactors(make_job: MakeJob):
    """Compactors fold away; counting them would move the target."""
    ready = prepare(make_job())
    rule, sites, chooser = ready.schedule.rule, ready.schedule.sites, ready.schedule.chooser
    bare = load_network(ready.job.start, "resrep_user:net")
    assert rule.whole == chooser.before.macs == count(trace(bare.model, (3, 16, 16)).map).macs
    everything = np.ones(sum(len(site.row_ids) for site in sites), dtype=bool)
    assert rule.macs_of(everything) == rule.whole
