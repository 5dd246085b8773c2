"""From a choice of channels to a proven narrow network; what cannot be narrowed is pinned: choose again."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ProofError, TraceError
from ..graph.channels import ChannelMap
from ..graph.places import Reason
from ..graph.trace import BATCH, Trace, blank_images, trace
from ..graph.untraceable import what_stopped
from ..modules.fit import fit, load
from .checks import TOLERANCE, Misfit, structure_misfit, value_difference
from .surgery import mask, narrow

SMALLEST_SIDE = 48  # of the images that values are proven on: five halvings leave more than one pixel

Choose = Callable[[ChannelMap], Iterable[int]]

# Per trace, what has left when the structure was last proven: the same cut has the same structure.
_proven: WeakKeyDictionary[Trace, frozenset[int]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Cut:
    """A narrow network whose structure is proven.

    Attributes:
        model: the narrow network, in evaluation mode.
        map: the full network's channel map, with everything pinned that turned out to be unremovable.
        removed: the channel ids that left.
        misfits: what had to be pinned on the way, in words.
    """

    model: nn.Module
    map: ChannelMap
    removed: frozenset[int]
    misfits: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Proven(Cut):
    """A narrow network whose values are proven too.

    Attributes:
        difference: largest relative difference between the masked and the narrow network, float64.
    """

    difference: float


def left_alone(misfits: Iterable[str]) -> tuple[str, ...]:
    """What had to be pinned on the way, as notes for the user."""
    return tuple(f"left alone: {reason}" for reason in misfits)


def narrow_as_planned(model: nn.Module, traced: Trace, input_size: tuple[int, ...], choose: Choose) -> Cut:
    """Cut what `choose` picks out of a copy of `model`, and prove the structure of the result, no values.

    Args:
        model: the full network; it is left as it is.
        traced: its trace for images of `input_size`.
        choose: from a channel map to the ids that leave; asked again whenever something had to be pinned.
    Raises:
        ProofError: a copy of the network is another network, whatever leaves.
    """
    channel_map, misfits = traced.map, []
    while True:
        removed = frozenset(int(i) for i in choose(channel_map)) - channel_map.pinned.keys()
        thin = _cut(model, channel_map, removed)
        if isinstance(thin, nn.Module) and _proven.get(traced) == removed:
            return Cut(thin, channel_map, removed, tuple(misfits))
        found = _misfits(model, thin, traced, channel_map, input_size, removed)
        if isinstance(thin, nn.Module) and not found:
            _proven[traced] = removed
            return Cut(thin, channel_map, removed, tuple(misfits))
        if not removed:
            raise _not_itself(found[0].reason)
        for misfit in found:
            misfits.append(misfit.reason)
            channel_map = channel_map.pin(misfit.ids, misfit.reason)


def narrow_proven(
    model: nn.Module,
    traced: Trace,
    input_size: tuple[int, ...],
    choose: Choose,
    *,
    reference: nn.Module | None = None,
    finish: Callable[[nn.Module], nn.Module] | None = None,
) -> Proven:
    """Cut what `choose` picks out of a copy of `model`, and prove the result twice.

    Args:
        model: the full network; it is left as it is.
        traced: its trace for images of `input_size`.
        choose: from a channel map to the ids that leave; asked again whenever something had to be pinned.
        reference: what the narrow network must equal; by default `model` with the removed channels masked.
        finish: a last change to the narrow network, before its values are compared.
    Raises:
        ProofError: the narrow network computes something else than the masked one.
    """
    cut = narrow_as_planned(model, traced, input_size, choose)
    thin = cut.model if finish is None else finish(cut.model)
    wide = _masked(model, cut.map, cut.removed) if reference is None else reference
    difference = proven_difference(wide, thin, traced, cut.removed, input_size)
    return Proven(thin, cut.map, cut.removed, cut.misfits, difference)


def _cut(model: nn.Module, channel_map: ChannelMap, removed: Iterable[int]) -> nn.Module | str:
    """The narrow network, or one line on what is raised instead."""
    try:
        return fit(copy.deepcopy(model), narrow(model.state_dict(), channel_map, removed)).eval()
    except Exception as error:  # whatever the network's own code raises
        return what_stopped(error, model)


def _masked(model: nn.Module, channel_map: ChannelMap, removed: Iterable[int]) -> nn.Module:
    masked = copy.deepcopy(model)
    load(masked, mask(model.state_dict(), channel_map, removed))
    return masked


def _in_float64(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).cpu().double().eval()


def _misfits(
    model: nn.Module,
    thin: nn.Module | str,
    traced: Trace,
    channel_map: ChannelMap,
    input_size: tuple[int, ...],
    removed: frozenset[int],
) -> list[Misfit]:
    """What must be pinned before this choice can be made; empty when the narrow network is as planned."""
    everything = np.array(sorted(removed))
    try:
        if isinstance(thin, str):
            raise TraceError(thin)
        misfit = structure_misfit(traced, trace(thin, input_size), removed)
    except TraceError as error:
        return _crashing_groups(model, channel_map, input_size, removed) or [
            Misfit(everything, Reason(str(error)))
        ]
    if misfit is None:
        return []
    if not np.isin(misfit.ids, everything).any():  # the ids there are not to blame: whatever left is
        return [Misfit(everything, misfit.reason)]
    return [misfit]


def _crashing_groups(
    model: nn.Module, channel_map: ChannelMap, input_size: tuple[int, ...], removed: frozenset[int]
) -> list[Misfit]:
    """The groups without which the narrow network runs, found by bisection over the forward order."""
    touched = [group for group in channel_map.groups if not removed.isdisjoint(group.channels.tolist())]
    parts = [removed.intersection(group.channels.tolist()) for group in touched]
    crashes: list[Misfit] = []
    accepted: frozenset[int] = frozenset()
    start = 0
    while (error := _crash(model, channel_map, input_size, accepted.union(*parts[start:]))) is not None:
        if start == len(parts):
            raise _not_itself(error)
        low, high = start, len(parts) - 1  # the first group whose removal, after all before it, crashes
        while low < high:
            middle = (low + high) // 2
            reason = _crash(model, channel_map, input_size, accepted.union(*parts[start : middle + 1]))
            low, high, error = (middle + 1, high, error) if reason is None else (low, middle, reason)
        crashes.append(
            Misfit(
                touched[low].channels,
                Reason(f"without channels of {touched[low].name} the network fails: {error}"),
            )
        )
        accepted, start = accepted.union(*parts[start:low]), low + 1
    return crashes


def _not_itself(reason: str) -> ProofError:
    """Nothing has left, and still it is another network: some of it was not copied."""
    return ProofError(
        f"a copy of the network is not the same network: {reason}; does its code hold on to one object, as a "
        "lambda does that names `self`? Write it as a method"
    )


def _crash(
    model: nn.Module, channel_map: ChannelMap, input_size: tuple[int, ...], removed: frozenset[int]
) -> str | None:
    """One line on what the narrow network raises, or None when it runs."""
    thin = _cut(model, channel_map, removed)
    if isinstance(thin, str):
        return thin
    try:
        with torch.no_grad():
            thin(blank_images(thin, input_size))
    except Exception as error:  # whatever the network's own code raises
        return what_stopped(error, thin)
    return None


def proven_difference(
    wide: nn.Module,
    thin: nn.Module,
    traced: Trace,
    removed: frozenset[int],
    input_size: tuple[int, ...],
    what: str = "the masked one",
) -> float:
    """How far the narrow network is from what it must equal, relative, float64.

    Both see small images where they can: the same operations on the same channels, in a fraction of the time.

    Args:
        wide: what it must equal, `what` in words.
        thin: the narrow network.
        traced: the trace of `wide`.
        removed: the channel ids that `thin` lacks.
    Raises:
        ProofError: it is further off than rounding explains.
    """
    wide, thin = _in_float64(wide), _in_float64(thin)
    try:
        difference = value_difference(wide, thin, traced, removed, _noise(_smaller(input_size)))
    except ProofError:
        raise
    except Exception:  # whatever the network's own code raises: some take images of one size only
        difference = value_difference(wide, thin, traced, removed, _noise(input_size))
    if not difference <= TOLERANCE:
        raise ProofError(
            f"the narrow network differs from {what} by {difference:.1e} (allowed {TOLERANCE:.0e}); "
            "nothing was written. Please report this network."
        )
    return difference


def _noise(input_size: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, *input_size, generator=generator, dtype=torch.float64)


def _smaller(input_size: tuple[int, ...]) -> tuple[int, ...]:
    """The size halved as long as both sides stay large enough for kernels to reach around their middle."""
    channels, height, width = input_size
    while min(height, width) // 2 >= SMALLEST_SIDE:
        height, width = height // 2, width // 2
    return channels, height, width
