"""Layer by layer: whose turn comes when, and what each turn leaves behind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from prune.engine.errors import AllocationError, TrainingError
from prune.engine.events import ConvMasked, EpochDone, Note
from prune.engine.graph.trace import trace
from prune.engine.jobs.job import Job
from prune.engine.jobs.prepare import prepare
from prune.engine.masking.turns import LayersInTurn, turns
from prune.engine.narrowing.surgery import mask
from prune.engine.network.files import load_network
from prune.engine.scores.scoring import Scoring
from prune.engine.selection.selection import Selection
from prune.engine.training.checkpoint import read_checkpoint
from prune.engine.training.optimizer import build_sgd, set_rate

MakeJob = Callable[..., Job]
INTERNAL = ("block0.conv1.conv", "block1.conv1.conv")
COUPLED = ("stem.conv", "block0.conv1.conv", "block1.conv1.conv", "block1.conv2.conv")
SCATTER = ("stem.conv", "block0.conv1.conv", "block0.conv2.conv", "block1.conv1.conv", "block1.conv2.conv")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"residual": "internal"}, [(1, 2), (2, 2)]),
        ({"residual": "coupled"}, [(1, 4), (2, 4), (3, 4), (4, 4)]),
        ({"residual": "coupled", "start_conv": "3"}, [(3, 4), (4, 4)]),
        ({"residual": "coupled", "start_conv": "block0.conv2.conv"}, [(1, 4), (2, 4), (3, 4), (4, 4)]),
        ({"residual": "scatter", "start_conv": "block0.conv2.conv"}, [(3, 5), (4, 5), (5, 5)]),
        ({"rate": None, "layer_rates": ("block1.*1.conv=0.5",)}, [(2, 2)]),
        ({"skip": ("block0*",)}, [(1, 1)]),
    ],
)
def test_turns_come_in_forward_order(make_job: MakeJob, settings, expected):
    ready = prepare(make_job("layer-by-layer", **{"rate": 0.5, **settings})).schedule
    assert [(turn.number, turn.convs) for turn in ready.turns] == expected
    assert ready.config.epochs == 2 * len(expected)
    assert ready.config.cycle_epochs == 2


@pytest.mark.parametrize(
    ("start_conv", "message"),
    [
        (
            "block1.conv3.conv",
            "no conv 'block1.conv3.conv' may lose filters; did you mean 'block1.conv1.conv'",
        ),
        (
            "3",
            "`start_conv` 3: 2 convs of this network may lose filters; give a number from 1 to 2, or a name",
        ),
        ("0", "give a number from 1 to 2"),
        ("-1", "give a number from 1 to 2"),
    ],
)
def test_an_unknown_start_is_refused(make_job: MakeJob, start_conv: str, message: str):
    with pytest.raises(AllocationError, match=message):
        prepare(make_job("layer-by-layer", start_conv=start_conv))


def test_nothing_to_do_is_refused(make_job: MakeJob):
    with pytest.raises(AllocationError, match="no filter leaves; say more"):
        prepare(make_job("soft", rate=0.01))
    with pytest.raises(AllocationError, match="no filter leaves; say more"):
        prepare(make_job("layer-by-layer", rate=0.01))
    with pytest.raises(AllocationError, match="no filter leaves from `start_conv` 2 on"):
        prepare(make_job("layer-by-layer", layer_rates=("block0*=0.5",), start_conv="2"))


def test_start_conv_and_a_budget_contradict(make_job: MakeJob):
    with pytest.raises(TrainingError, match="`start_conv` has no effect with a budget"):
        make_job("layer-by-layer", flops=0.5, start_conv="2")


@pytest.mark.parametrize(
    ("residual", "names"), [("internal", INTERNAL), ("coupled", COUPLED), ("scatter", SCATTER)]
)
def test_what_was_masked_stays_masked(
    tmp_path: Path, make_job: MakeJob, run_with_copies, residual: str, names: tuple[str, ...]
):
    job = make_job("layer-by-layer", rate=0.5, residual=residual, epochs=1, momentum=0.95)
    ready = prepare(job).schedule
    channel_map = ready.chooser.forecast.map
    groups = {group.name: group.channels for group in channel_map.groups}
    base = load_network(job.start, "gradual_user:Net").model.state_dict()
    _, copies = run_with_copies(job, tmp_path / "run")
    assert len(copies) == len(names) + 1
    for begun, folder in enumerate(copies[1:], 1):
        state = read_checkpoint(folder / "checkpoint.pt").model
        leaving = read_checkpoint(folder / "checkpoint.pt").hooks["leaving"].numpy()
        masked = [c for name in names[:begun] for c in np.intersect1d(groups[name], leaving).tolist()]
        assert len(masked) == sum(len(groups[name]) // 2 for name in names[:begun])
        for name, tensor in mask(state, channel_map, masked).items():
            assert torch.equal(tensor, state[name]), name
        for name in names[begun:]:  # the others learn on
            weight = state[f"{name}.weight"]
            assert weight.flatten(1).abs().amax(1).min() > 0
            assert not torch.equal(weight, base[f"{name}.weight"])


def test_events_name_the_conv_and_the_rate_begins_anew(tmp_path: Path, make_job: MakeJob, run):
    job = make_job("layer-by-layer", epochs=3, lr_schedule="multistep", milestones=(1, 2), gamma=0.5)
    outcome, events = run(job, tmp_path / "run")
    begun = [event for event in events if isinstance(event, ConvMasked)]
    assert [(e.epoch, e.number, e.convs, e.name, e.masked, e.filters) for e in begun] == [
        (1, 1, 2, "block0.conv1.conv", 4, 8),
        (4, 2, 2, "block1.conv1.conv", 6, 12),
    ]
    assert begun[0].macs_share > begun[1].macs_share == outcome.after.macs / outcome.before.macs
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [event.lr for event in epochs] == pytest.approx([0.05, 0.025, 0.0125] * 2)
    log = [json.loads(line)["event"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log == ["RunStarted", *(["ConvMasked"] + ["EpochDone"] * 3) * 2, "Finished"]
    assert [event.best for event in epochs[:3]] == [False] * 3
    assert any(event.best for event in epochs[3:])


def test_the_optimizer_starts_anew_with_every_turn(make_job: MakeJob):
    network = load_network(make_job("layer-by-layer").start, "gradual_user:Net")
    model = network.model.train()
    channel_map = trace(model, network.input_size).map
    groups = {group.name: group for group in channel_map.groups}
    leaving = [int(groups[name].channels[0]) for name in INTERNAL]
    selection = Selection(frozenset(leaving), dict.fromkeys(INTERNAL, (1, 2)))
    hooks = LayersInTurn(model, channel_map, turns(channel_map, selection), leaving, lambda _: 1, epochs=2)
    optimizer = build_sgd(model, rule="all", momentum=0.9, weight_decay=0)
    set_rate(optimizer, 0.1)
    remembered = []
    for epoch in range(1, 5):
        hooks.before_epoch(epoch, optimizer)
        remembered.append(bool(optimizer.state))
        model(torch.randn(4, 3, 16, 16)).square().mean().backward()
        hooks.after_backward(epoch - 1)
        optimizer.step()
    assert remembered == [False, True, False, True]
    assert hooks.masked == frozenset(leaving)


def test_the_choice_is_kept_when_the_scores_are_gone(
    tmp_path: Path, make_job: MakeJob, run, interrupt, resume
):
    job = make_job("layer-by-layer", criterion="random", epochs=1)
    interrupt(job, tmp_path / "run", 1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["criterion"] = "l1"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    resumed, _ = resume(tmp_path / "run")
    straight, _ = run(job, tmp_path / "straight")
    by_l1 = replace(job, pruning=replace(job.pruning, scoring=Scoring(criterion="l1")))
    other, _ = run(by_l1, tmp_path / "other")
    assert resumed.kept == straight.kept != other.kept


def test_a_layer_that_a_folder_of_ranks_does_not_know_gets_no_turn(tmp_path: Path, make_job: MakeJob, run):
    known, unknown = INTERNAL
    folder = tmp_path / "ranks"
    folder.mkdir()
    for number in (1, 2):  # the stem and the first of the two
        np.save(folder / f"rank_conv{number}.npy", np.arange(8.0))
    outcome, events = run(make_job("layer-by-layer", epochs=1, scores=folder), tmp_path / "run")
    assert [event.name for event in events if isinstance(event, ConvMasked)] == [known]
    assert outcome.kept[known] == [4, 5, 6, 7]
    assert len(outcome.kept[unknown]) == 12
    assert any(isinstance(e, Note) and "no scores for them" in e.text and unknown in e.text for e in events)
