"""What every schedule and every transfer must do, tested the moment its file is there."""

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
import torch
from prune.engine import schedules, transfers
from prune.engine.allocations.budget import Budget
from prune.engine.allocations.rate import Rate
from prune.engine.errors import AllocationError, EngineError, TrainingError
from prune.engine.events import unwatched
from prune.engine.graph.cost import count
from prune.engine.graph.residual import view
from prune.engine.graph.trace import trace
from prune.engine.jobs.job import Job, Pruning
from prune.engine.jobs.prepare import prepare
from prune.engine.narrowing.pruning import choice_of
from prune.engine.network.files import load_network
from prune.engine.network.fresh import new_network
from prune.engine.parts import name_of
from prune.engine.schedules import Schedule
from prune.engine.selection.selection import equal_scores
from prune.engine.transfers import Transfer

MakeJob = Callable[..., Job]
IN_TRAINING = [name for name in schedules.names() if schedules.get(name).trains]


@pytest.mark.parametrize(
    "part",
    [*map(schedules.get, schedules.names()), *map(transfers.get, transfers.names())],
    ids=lambda part: part.__name__,
)
def test_a_part_is_a_frozen_dataclass_with_defaults_called_as_its_file(part: type[Schedule] | type[Transfer]):
    made = part()
    room = schedules if isinstance(made, Schedule) else transfers
    assert room.get(name_of(made)) is part
    for field in fields(part):
        with pytest.raises(FrozenInstanceError):
            setattr(made, field.name, None)


@pytest.mark.parametrize("schedule", schedules.names())
@pytest.mark.parametrize("transfer", transfers.names())
def test_a_method_survives_the_run_folder(schedule: str, transfer: str):
    method = Pruning(
        allocation=Budget(flops=0.5), schedule=schedules.get(schedule)(), transfer=transfers.get(transfer)()
    )
    assert Pruning.of_settings(json.loads(json.dumps(method.settings()))) == method


@pytest.mark.parametrize("schedule", IN_TRAINING)
def test_what_a_schedule_ends_in_is_as_good_as_what_it_trained(
    tmp_path: Path, make_job: MakeJob, run, schedule: str
):
    wanted = {"rate": 0.5} if schedules.get(schedule).scores_filters else {"flops": 0.6}
    job = make_job(schedule, epochs=1, **wanted)
    outcome, _ = run(job, tmp_path / "run")
    transfer = job.pruning.transfer
    full, thin = (outcome.accuracies[stage] for stage in (transfer.full, transfer.thin))
    assert full.top1 == thin.top1
    assert outcome.path == tmp_path / "run" / f"{transfer.file}.hdf5"
    stored = load_network(outcome.path, job.arch)
    for name, tensor in outcome.model.state_dict().items():
        assert torch.equal(stored.model.state_dict()[name], tensor), name
    assert stored.history[-1]["options"].items() >= {"schedule": schedule, "epochs": 1}.items()


@pytest.mark.parametrize("schedule", IN_TRAINING)
def test_a_schedule_says_beforehand_what_it_will_do(make_job: MakeJob, schedule: str):
    wanted = {"rate": 0.5} if schedules.get(schedule).scores_filters else {"flops": 0.6}
    ready = prepare(make_job(schedule, **wanted)).schedule
    assert ready.config.epochs >= 2
    if ready.after is None:
        assert ready.aim["target"] < ready.chooser.before.macs
    else:
        assert ready.after.macs < ready.chooser.before.macs
        assert all(kept < full for kept, full in ready.counts.values())


@pytest.mark.parametrize("transfer", transfers.names())
def test_where_nothing_leaves_the_network_computes_the_same(transfer: str, randomise):
    network = new_network("small_networks:resnet8", num_classes=10, input_size=16)
    randomise(network.model)
    traced = trace(network.model, network.input_size)
    seen = view(network.model, traced, network.input_size, "internal")
    choice = choice_of(network, Rate(rate=0.0), equal_scores(traced.map), traced.map)
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    thin = transfers.get(transfer)().narrow(network, seen, choice)
    images_NCHW = torch.randn(4, *network.input_size)
    with torch.no_grad():
        expected_NK = network.model.eval()(images_NCHW)
        torch.testing.assert_close(thin.model(images_NCHW), expected_NK, rtol=1e-4, atol=1e-4)
    assert thin.after.macs == count(traced.map).macs
    assert thin.difference < 1e-5
    for name, tensor in network.model.state_dict().items():
        assert torch.equal(tensor, before[name]), "the original has changed"


@pytest.mark.parametrize("transfer", transfers.names())
def test_where_nothing_left_there_is_nothing_to_mend(transfer: str, randomise):
    network = new_network("small_networks:resnet8", num_classes=10, input_size=16)
    randomise(network.model)
    traced = trace(network.model, network.input_size)
    seen = view(network.model, traced, network.input_size, "internal")
    choice = choice_of(network, Rate(rate=0.0), equal_scores(traced.map), traced.map)
    part = transfers.get(transfer)()
    thin = part.narrow(network, seen, choice)
    before = {name: tensor.clone() for name, tensor in thin.model.state_dict().items()}
    mended = unwatched(part.mend(network, thin, [torch.randn(8, *network.input_size)]))
    for name, tensor in mended.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-6, atol=1e-6)


def test_no_schedule_and_no_transfer_of_that_name():
    with pytest.raises(TrainingError, match="no schedule 'sofd'; did you mean 'soft'"):
        schedules.get("sofd")
    with pytest.raises(EngineError, match="no transfer 'slize'; did you mean 'slice'"):
        transfers.get("slize")


def test_compactors_are_emptied_by_a_budget_alone(make_job: MakeJob):
    job = make_job("soft")
    resetting = schedules.get("gradient-resetting")()
    with pytest.raises(AllocationError, match="masks rows until `flops` is met"):
        replace(job, pruning=replace(job.pruning, schedule=resetting))
