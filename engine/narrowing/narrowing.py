"""From a choice of channels to a proven narrow network; what cannot be narrowed is pinned: choose again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from ..errors import ProofError, TraceError
from ..freed import collect, give_back
from ..graph.channels import ChannelMap
from ..graph.places import Reason
from ..graph.trace import Trace, trace
from ..modules.copies import computing_in
from ..modules.eval_mode import eval_mode
from ..modules.fit import load
from ..modules.inputs import Inputs, Takes, inputs_of
from ..modules.numbers import numbers_of
from .crashes import crashing_groups, cut_out, fill, from_small, not_itself
from .stand_ins import StandIns
from .structure import Misfit, structure_misfit
from .surgery import mask_in_place
from .values import TOLERANCE, TOLERANCE_FLOAT32, value_difference

LARGE = 2**27  # bytes of parameters, from which on it is worth the time to give memory back

Choose = Callable[[ChannelMap], Iterable[int]]

# Per trace, what has left when the structure was last proven, and whether numbers of heads followed: the same
# cut has the same structure.
_proven: WeakKeyDictionary[Trace, tuple[frozenset[int], bool]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Cut:
    """A narrow network whose structure is proven.

    Attributes:
        map: the full network's channel map, with everything pinned that turned out to be unremovable.
        removed: the channel ids that left.
        misfits: what had to be pinned on the way, in words.
        make: gives the narrow network the values of its parameters; whoever plans needs none.
    """

    map: ChannelMap
    removed: frozenset[int]
    misfits: tuple[str, ...]
    make: Callable[[], nn.Module]

    @cached_property
    def model(self) -> nn.Module:
        """The narrow network, in evaluation mode; made when it is first asked for."""
        return self.make()


@dataclass(frozen=True, eq=False)
class Proven:
    """A narrow network whose structure and values are proven.

    Attributes:
        model: the narrow network, in evaluation mode.
        map, removed, misfits: see `Cut`.
        difference: largest relative difference between the masked and the narrow network, float64.
    """

    model: nn.Module
    map: ChannelMap
    removed: frozenset[int]
    misfits: tuple[str, ...]
    difference: float


def left_alone(misfits: Iterable[str]) -> tuple[str, ...]:
    """What had to be pinned on the way, as notes for the user."""
    return tuple(f"left alone: {reason}" for reason in misfits)


def narrow_as_planned(model: nn.Module, traced: Trace, takes: Takes, choose: Choose) -> Cut:
    """Cut what `choose` picks out of a copy of `model`, and prove the structure of the result, no values.

    Args:
        model: the full network; it is left as it is.
        traced: its trace for what it takes.
        choose: from a channel map to the ids that leave; asked again whenever something had to be pinned.
    Raises:
        ProofError: a copy of the network is another network, whatever leaves.
    """
    channel_map, misfits = traced.map, []
    while True:
        removed = frozenset(int(i) for i in choose(channel_map)) - channel_map.pinned.keys()
        thin = _of_the_structure(model, traced, channel_map, takes, removed)
        if isinstance(thin, nn.Module):
            return Cut(channel_map, removed, tuple(misfits), partial(fill, thin, model, channel_map, removed))
        if not removed:
            raise not_itself(thin[0].reason)
        for misfit in thin:
            misfits.append(misfit.reason)
            channel_map = channel_map.pin(misfit.ids, misfit.reason)


def narrow_proven(
    model: nn.Module,
    traced: Trace,
    takes: Takes,
    choose: Choose,
    *,
    reference: nn.Module | None = None,
    finish: Callable[[nn.Module], nn.Module] | None = None,
) -> Proven:
    """Cut what `choose` picks out of a copy of `model`, and prove the result twice.

    Args:
        model: the full network; it is left as it is.
        traced: its trace for what it takes.
        choose: from a channel map to the ids that leave; asked again whenever something had to be pinned.
        reference: what the narrow network must equal; by default `model` with the removed channels masked.
        finish: a last change to the narrow network, before its values are compared.
    Raises:
        ProofError: the narrow network computes something else than the masked one.
    """
    cut = narrow_as_planned(model, traced, takes, choose)
    large = sum(parameter.nbytes for parameter in model.parameters()) > LARGE
    if large:
        collect()
    thin = cut.model if finish is None else finish(cut.model)
    if large:
        give_back()
    masks = cut.map if reference is None else None
    difference = proven_difference(reference or model, thin, traced, cut.removed, takes, masks=masks)
    return Proven(thin, cut.map, cut.removed, cut.misfits, difference)


def _masked(model: nn.Module, channel_map: ChannelMap, removed: Iterable[int]) -> nn.Module:
    """In float64: it is of use for the proof alone."""
    masked = computing_in(torch.float64, model)
    state = masked.state_dict()
    mask_in_place(state, channel_map, removed)
    load(masked, state)
    return masked


@contextmanager
def _default(kind: torch.dtype) -> Iterator[None]:
    """Floats that code makes without naming a type are of this one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _of_the_structure(
    model: nn.Module, traced: Trace, channel_map: ChannelMap, takes: Takes, removed: frozenset[int]
) -> nn.Module | list[Misfit]:
    """The narrow network, yet to be filled, structured as planned; or what must be pinned."""
    found: list[Misfit] = []
    left, adapted = _proven.get(traced, (None, True))
    for adapt in (adapted,) if left == removed else (True, False):
        thin = cut_out(model, channel_map, removed, adapt=adapt)
        if left == removed and isinstance(thin, nn.Module):
            return thin
        if traced.opaque and isinstance(thin, nn.Module):  # their code runs when a network is traced
            fill(thin, model, channel_map, removed)
        misfits = _misfits(model, thin, traced, channel_map, takes, removed)
        if isinstance(thin, nn.Module) and not misfits:
            _proven[traced] = (removed, adapt)
            return thin
        found = found or misfits
        if isinstance(thin, str) or numbers_of(thin) == numbers_of(model):
            break
    return found


def _misfits(
    model: nn.Module,
    thin: nn.Module | str,
    traced: Trace,
    channel_map: ChannelMap,
    takes: Takes,
    removed: frozenset[int],
) -> list[Misfit]:
    """What must be pinned before this choice can be made; empty when the narrow network is as planned."""
    everything = np.array(sorted(removed))
    try:
        if isinstance(thin, str):
            raise TraceError(thin)
        misfit = structure_misfit(traced, trace(thin, takes), removed)
    except TraceError as error:
        for inputs in from_small(model, takes):
            crashes = crashing_groups(model, channel_map, inputs, removed)
            if crashes:
                return crashes
        return [Misfit(everything, Reason(str(error)))]
    if misfit is None:
        return []
    if not np.isin(misfit.ids, everything).any():  # the ids there are not to blame: whatever left is
        return [Misfit(everything, misfit.reason)]
    return [misfit]


def proven_difference(
    wide: nn.Module,
    thin: nn.Module,
    traced: Trace,
    removed: frozenset[int],
    takes: Takes,
    what: str = "the masked one",
    *,
    masks: ChannelMap | None = None,
) -> float:
    """How far the narrow network is from what it must equal, relative, float64.

    Both see small images where they can: the same operations on the same channels, in a fraction of the time.

    Args:
        wide: what it must equal, `what` in words.
        thin: the narrow network.
        traced: the trace of `wide`.
        removed: the channel ids that `thin` lacks.
        masks: where `wide` is the full network, what masks those channels in it.
    Raises:
        ProofError: it is further off than rounding explains.
    """
    inputs = inputs_of(takes)
    difference = _difference_in_place(wide, thin, traced, removed, inputs, masks)
    if difference is not None and difference <= TOLERANCE:
        return difference
    ways = [
        (torch.float64, inputs.smaller(), TOLERANCE),
        (torch.float64, inputs, TOLERANCE),  # some take images of one size only
        (torch.float32, inputs, TOLERANCE_FLOAT32),  # some write this type into their code
    ]
    masked = wide if masks is None else _masked(wide, masks, removed)
    for number, (kind, some, tolerance) in enumerate(ways, 1):
        both = (computing_in(kind, masked, share=True), computing_in(kind, thin, share=True))
        given = some.make(torch.zeros((), dtype=kind), seed=0)
        try:
            with _default(kind):
                difference = value_difference(*both, traced, removed, given)
        except ProofError:
            raise
        except Exception:  # whatever the network's own code raises
            if number == len(ways):
                raise
            continue
        if difference <= tolerance:
            return difference
        raise ProofError(
            f"the narrow network differs from {what} by {difference:.1e} (allowed {tolerance:.0e}); "
            "nothing was written. Please report this network."
        )
    raise AssertionError("the last way either returns or raises")


def _difference_in_place(
    wide: nn.Module,
    thin: nn.Module,
    traced: Trace,
    removed: frozenset[int],
    inputs: Inputs,
    masks: ChannelMap | None,
) -> float | None:
    """As `proven_difference`, of the networks where they are in memory; None where that cannot be done.

    What code does with the type or the place of its weights, beside computing, it does with those it has:
    then this goes wrong, and copies must be made.
    """
    stand_ins = (StandIns(wide, masks, removed), StandIns(thin))
    for some in (inputs.smaller().single(), inputs.single(), inputs):
        given = some.make(torch.zeros((), dtype=torch.float64), seed=0)
        try:
            with eval_mode(wide), eval_mode(thin), _default(torch.float64):
                return value_difference(wide, thin, traced, removed, given, stand_ins)
        except Exception:  # whatever the network's own code raises
            continue
    return None
