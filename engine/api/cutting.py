"""The narrow network: cut and proven, where the user has it, and with the optimizer that trains it."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from ..allocations.plan import Planned
from ..errors import FitError
from ..events import Event, Working
from ..graph.known import known_trace
from ..graph.trace import Trace
from ..narrowing import carrying
from ..narrowing.frozen import in_question, try_without
from ..narrowing.narrowing import left_alone
from ..narrowing.outcome import Outcome, pinned_layers
from ..narrowing.pruning import prune_network
from ..network.network import IN_MEMORY, Network
from ..selection import plan as plans
from ..selection.plan import Plan
from .keywords import named
from .networks import network_of
from .progress import seen_through

carry_over = carrying.carry_over


@named
def prune(
    network: Network | Outcome,
    plan: Plan | str | Path,
    *,
    in_place: bool = False,
    progress: bool = False,
) -> Outcome:
    """Make a narrow network, proven to equal the full one with the same filters masked.

    Args:
        network: left as it is, unless `in_place`.
        plan: which filters stay, or a file of it.
        in_place: once all is proven, the network's own module becomes the narrow one, with the same modules,
            hooks and parameter objects in it, for whoever else holds them: a trainer, an optimizer.
        progress: show how far it is.

    Returns:
        The narrow network: `.model` is a module, `.network` can be saved, `.before` and `.after` say what an
        image costs, `.difference` how exactly it was proven. Its batch norms are those of the full one; see
        `recalibrate`. An optimizer of the full network is brought along by `carry_over`; one that is not
        warns when it steps.

    Raises:
        AllocationError: the plan is for another network.
        ProofError: the narrow network would compute something else.
        FitError: `in_place`, and `network` is a copy of what was wrapped; see `wrap`.
    """
    return seen_through(_prune(network_of(network), plan, in_place), progress)


def _prune(network: Network, plan: Plan | str | Path, in_place: bool) -> Generator[Event, None, Outcome]:
    if in_place and network.made_plain and network.origin == IN_MEMORY:
        raise FitError(
            f"its {network.made_plain[0]} is computed from other weights, so `wrap` copied it and made that "
            "plain: make it plain yourself first (remove_parametrizations), or prune without `in_place`"
        )
    yield Working(0, 3, "tracing")
    traced = known_trace(network.model, network.takes)
    kept = plans.given(Path(plan) if isinstance(plan, str) else plan)
    yield Working(1, 3, "cutting and proving")
    outcome = prune_network(network, Planned(plan=kept), {}, traced=traced)
    if not network.is_built_in:
        yield Working(2, 3, "looking at what stays whole")
        outcome = _knowing_why(outcome, network, kept, traced)
    outcome = replace(outcome, parameters=dict(network.complete.named_parameters()))
    if in_place:
        outcome = carrying.moved_into(network, outcome)
    carrying.warn_when_left_behind(outcome)
    return outcome


def _knowing_why(outcome: Outcome, network: Network, plan: Plan, traced: Trace) -> Outcome:
    """With the reasons why groups that a plan leaves whole could not do without a channel, if that is so."""
    whole = [
        group
        for group in in_question(traced.map)
        if len(plan.groups.get(group.name, group.channels)) == len(group.channels)
        and (not group.stream or plan.residual == "coupled")
    ]
    if not whole:
        return outcome
    tried = try_without(network.model, traced, network.takes, whole)
    return replace(
        outcome,
        pinned={**pinned_layers(tried.map), **outcome.pinned},
        notes=(*outcome.notes, *left_alone(tried.misfits)),
    )
