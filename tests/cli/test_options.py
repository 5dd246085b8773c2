"""Shared options say what the engine does: choices and defaults are held against it."""

import re
from typing import Any, get_args

import pytest
import typer
from prune.cli import options, parse
from prune.engine.training.config import TrainConfig
from prune.engine.training.optimizer import DECAY_RULES, LR_SCHEDULES
from prune.engine.training.precision import PRECISIONS

ENGINE_DEFAULTS = TrainConfig(epochs=2, lr=0.1)


def help_of(option: Any) -> str:
    return get_args(option)[1].help


@pytest.mark.parametrize(
    ("option", "choices"),
    [(options.DecayRule, DECAY_RULES), (options.LrSchedule, LR_SCHEDULES), (options.Precision, PRECISIONS)],
)
def test_choices_are_the_engines(option: Any, choices: tuple[str, ...]):
    literal = get_args(get_args(option)[0])[0]
    assert get_args(literal) == choices


@pytest.mark.parametrize(
    ("option", "field"),
    [
        (options.BatchSize, "batch_size"),
        (options.EvalBatchSize, "eval_batch_size"),
        (options.Momentum, "momentum"),
        (options.WeightDecay, "weight_decay"),
        (options.DecayRule, "decay_rule"),
        (options.LrSchedule, "lr_schedule"),
        (options.Gamma, "gamma"),
        (options.WarmupEpochs, "warmup_epochs"),
        (options.LabelSmoothing, "label_smoothing"),
        (options.Precision, "precision"),
    ],
)
def test_the_help_names_the_engines_default(option: Any, field: str):
    named = re.search(r"Default: (\S+)\.$", help_of(option))
    assert named
    default = getattr(ENGINE_DEFAULTS, field)
    assert type(default)(named[1]) == default


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.5", 0.5), ("50%", 0.5), ("60M", 60e6), ("1.2G", 1.2e9), ("900k", 9e5), ("7", 7.0)],
)
def test_budgets(text: str, expected: float):
    assert parse.amount(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "half", "1.2.3", "inf", "nan", "5 0"])
def test_budgets_that_are_none(text: str):
    with pytest.raises(typer.BadParameter, match=r"write a share like 0\.5 or an amount like 60M"):
        parse.amount(text)


def test_lists_of_epochs():
    assert parse.epochs("80") == (80,)
    assert parse.epochs("80, 120") == (80, 120)


@pytest.mark.parametrize("text", ["", "80,", "a", "0,5", "-1", "1.5"])
def test_lists_of_epochs_that_are_none(text: str):
    with pytest.raises(typer.BadParameter, match="write them like 80,120"):
        parse.epochs(text)
