"""The narrow network: cut and proven, where the user has it, and with the optimizer that trains it."""

from dataclasses import replace
from pathlib import Path

from ..allocations.plan import Planned
from ..narrowing import carrying
from ..narrowing.outcome import Outcome
from ..narrowing.pruning import prune_network
from ..network.network import Network
from ..selection.plan import Plan
from .networks import network_of

carry_over = carrying.carry_over


def prune(network: Network | Outcome, plan: Plan | str | Path, *, in_place: bool = False) -> Outcome:
    """Make a narrow network, proven to equal the full one with the same filters masked.

    Args:
        network: left as it is, unless `in_place`.
        plan: which filters stay, or a file of it.
        in_place: once all is proven, the network's own module becomes the narrow one, with the same modules,
            hooks and parameter objects in it, for whoever else holds them: a trainer, an optimizer.

    Returns:
        The narrow network: `.model` is a module, `.network` can be saved, `.before` and `.after` say what an
        image costs, `.difference` how exactly it was proven. Its batch norms are those of the full one; see
        `recalibrate`. An optimizer of the full network is brought along by `carry_over`; one that is not
        warns when it steps.

    Raises:
        AllocationError: the plan is for another network.
        ProofError: the narrow network would compute something else.
    """
    network = network_of(network)
    planned = Planned(plan=plan if isinstance(plan, Plan) else Path(plan))
    outcome = prune_network(network, planned, {})
    outcome = replace(outcome, parameters=dict(network.model.named_parameters()))
    if in_place:
        outcome = carrying.moved_into(network.model, outcome)
    carrying.warn_when_left_behind(outcome)
    return outcome
