"""Filters that leave without training: all at once, or in steps towards a budget."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..allocations.budget import Budget
from ..devices import device_of
from ..events import Accuracy, Event, Note
from ..measure.facts import measured
from ..narrowing.outcome import Outcome, as_one, outcome_of
from ..network.network import Network
from .prepare import Prepared
from .steps import Course

# What is done with the network of a step, by its number; the next step begins with what it returns, a network
# that was loaded from a file.
Between = Callable[[Network, int], Generator[Event, None, Network]]


def prune_in_steps(
    ready: Prepared, before: Mapping[str, Accuracy], between: Between | None = None
) -> Generator[Event, None, Outcome]:
    """Narrow a network in as many steps as the job says, each chosen anew from the network of the one before.

    Args:
        ready: a job that prunes at once.
        before: accuracies that were measured of its network.
        between: what is done with the network of every step but the last.

    Raises:
        AllocationError: what is to leave cannot.
        ProofError: the narrow network of a step would compute something else.
    """
    course = course_of(ready)
    if course is None:
        return (yield from prune_at_once(ready, before))
    outcomes: list[Outcome] = []
    for number in range(1, course.steps + 1):
        now = ready.chooser.before
        allocation = course.budget_from(now.macs, now.params, course.steps - number + 1)
        yield Note(course.in_words(number, allocation))
        ready = ready.choosing(allocation=allocation, known=ready.chooser.traced)
        outcome = yield from prune_at_once(ready, before, {"step": number, "steps": course.steps})
        if number < course.steps:
            network = outcome.network
            if between is not None:
                network = yield from between(network, number)
                network.model.to(device_of(ready.network.model))
                ready = replace(ready, job=replace(ready.job, start=Path(network.origin)))
            outcome = replace(outcome, network=network)
            ready = replace(ready.choosing(network=network, known=None), network=network)
        outcomes.append(outcome)
    return as_one(outcomes)


def course_of(ready: Prepared) -> Course | None:
    """The way to the budget of a job that goes there in several steps."""
    if ready.job.steps == 1:
        return None
    chooser = ready.chooser
    assert isinstance(chooser.allocation, Budget)
    whole = {group.name: len(group.channels) for group in chooser.seen.traced.map.groups}
    return Course(chooser.allocation, ready.job.steps, chooser.before, whole)


def prune_at_once(
    ready: Prepared, before: Mapping[str, Accuracy], said: Mapping[str, Any] = {}
) -> Generator[Event, None, Outcome]:
    """Score, cut and prove; re-estimate batch norms, or compensate; the history says `said` besides."""
    job, data, model = ready.job, ready.data, ready.network.model
    chooser, transfer = ready.chooser, job.parts.transfer
    scores = yield from chooser.score(model)
    if job.max_drop is not None:
        from .search import narrowest  # few ask for it

        chooser = yield from narrowest(ready, scores, job.max_drop)
    marked = ready.network.after(job.command, {**job.said(chooser.wanted), **said}, accuracy=None)
    choice = chooser.choice(model, scores)
    thin = transfer.narrow(ready.network, chooser.seen, choice)
    notes = (*chooser.notes, *thin.notes)
    if transfer.needs_statistics and (data is None or not job.recalibration):
        why = "there are no images" if data is None else "`recalibrate` is 0"
        notes += (f"batch norms behind sketched filters are not re-estimated ({why}): finetune before use",)
    for note in notes:
        yield Note(note)
    accuracies = dict(before)
    if ready.measures:
        accuracies["pruned"] = yield from ready.test(thin.model)
    found = len(thin.notes)
    thin, mended = yield from ready.mend(thin)
    for note in thin.notes[found:]:
        yield Note(note)
    if ready.measures and mended is not None:
        accuracies[mended] = yield from ready.test(thin.model)
    network = marked.holding(thin.model)
    if ready.measures:
        network = measured(network, accuracies[mended or "pruned"], ready.images.info)
    residual = chooser.wanted.residual
    outcome = outcome_of(network, thin, choice.selection, residual, chooser.before, notes)
    return replace(outcome, accuracies=accuracies)
