"""How far each of several steps goes towards a budget."""

from pathlib import Path

import pytest
from prune.engine.allocations.budget import Budget
from prune.engine.allocations.rate import Rate
from prune.engine.errors import EngineError
from prune.engine.graph.cost import Cost
from prune.engine.jobs.job import Job, Pruning
from prune.engine.jobs.steps import Course
from prune.engine.network.sources import Images
from prune.engine.schedules.hard import Hard
from prune.engine.training.config import TrainConfig

BEFORE = Cost(macs=1_000_000, params=40_000, layers=())


def test_every_step_leaves_the_same_share():
    macs = [step.flops for step in Course(Budget(flops=0.4), 4, BEFORE).forecast()]
    assert macs[-1] == 400_000
    shares = [after / before for before, after in zip([1_000_000, *macs[:-1]], macs, strict=True)]
    assert shares == pytest.approx([0.4**0.25] * 4, rel=1e-5)


def test_whoever_goes_on_from_a_step_comes_by_the_same_budgets():
    course = Course(Budget(flops=0.3, params=0.5), 3, BEFORE)
    first, *rest = course.forecast()
    half_way = Cost(macs=int(first.flops or 0), params=int(first.params or 0), layers=())
    left = course.still_to_do(1)
    assert left == {"flops": 300_000, "params": 20_000, "steps": 2}
    onwards = Course(Budget(flops=left["flops"], params=left["params"]), left["steps"], half_way)
    assert list(onwards.forecast()) == rest


def test_what_is_met_already_stays_the_limit():
    steps = Course(Budget(flops=0.5, params=80_000), 2, BEFORE).forecast()
    assert [step.params for step in steps] == [80_000, 80_000]


def test_limits_come_along_and_widths_of_the_start_are_no_history():
    course = Course(Budget(flops=0.5, max_rate=0.6, skip=("a",)), 2, BEFORE, {"b": 10})
    step = course.budget_from(1_000_000, 40_000, 2)
    assert (step.limits().max_rate, step.limits().whole) == (0.6, {"b": 10})
    assert step.given() == {"flops": 707_106.0, "skip": ("a",), "max_rate": 0.6}


@pytest.mark.parametrize(
    ("steps", "pruning", "message"),
    [
        (0, Pruning(allocation=Budget(flops=0.5)), "`steps` is 0; it must be at least 1"),
        (2, Pruning(allocation=Rate(rate=0.5)), "`steps` go towards a budget, and `rate` is none"),
        (2, Pruning(allocation=Budget(flops=0.5), schedule=Hard()), "schedule 'hard' says itself when"),
    ],
)
def test_what_they_do_not_go_with(steps: int, pruning: Pruning, message: str):
    base, config = Path("base.hdf5"), TrainConfig(epochs=1, lr=0.1)
    with pytest.raises(EngineError, match=message):
        Job(command="prune", images=Images(), config=config, start=base, steps=steps, pruning=pruning)
