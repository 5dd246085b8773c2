"""The narrow network itself, and without which channels the code of a network fails."""

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ..devices import first_weight
from ..errors import ProofError
from ..graph.channels import ChannelMap
from ..graph.places import Reason
from ..graph.untraceable import what_stopped
from ..modules.copies import unfilled
from ..modules.eval_mode import eval_mode
from ..modules.fit import load, take_shapes
from ..modules.inputs import Inputs, Takes, answer, inputs_of
from ..modules.numbers import set_numbers
from .heads import numbers_without
from .structure import Misfit
from .surgery import narrow, narrow_shapes

RUNS_FOR_ALIKE = 16  # of the network, for groups that are called alike
PORTION = 2**26  # bytes of a network that are cut at once


def cut_out(
    model: nn.Module, channel_map: ChannelMap, removed: Iterable[int], *, adapt: bool = True
) -> nn.Module | str:
    """The narrow network, numbers of heads adapted or not, or one line on what is raised instead.

    Its parameters have their shapes, and take no memory: see `fill`.
    """
    try:
        thin = unfilled(model)
        learned = dict(model.named_parameters(remove_duplicate=False))
        state = take_shapes(thin, narrow_shapes(model.state_dict(), learned, channel_map, removed))
        load(thin, {name: tensor for name, tensor in state.items() if not tensor.is_meta})
        if adapt:
            set_numbers(thin, numbers_without(model, channel_map, frozenset(removed)))
        return thin.eval()
    except Exception as error:  # whatever the network's own code raises
        return what_stopped(error, model)


@torch.no_grad()
def fill(thin: nn.Module, model: nn.Module, channel_map: ChannelMap, removed: Iterable[int]) -> nn.Module:
    """Give the parameters of a narrow network, as `cut_out` makes it, what is left of the full one's."""
    parameters = dict(thin.named_parameters(remove_duplicate=False))
    for some in _portions(model.state_dict()):
        for name, tensor in narrow(some, channel_map, removed).items():
            if name in parameters:
                parameters[name].copy_(tensor)
    return thin


def _portions(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """A state dict in parts that take little memory."""
    some, room = dict[str, Tensor](), PORTION
    for name, tensor in state.items():
        if tensor.nbytes > room and some:
            yield some
            some, room = {}, PORTION
        some[name], room = tensor, room - tensor.nbytes
    yield some


def from_small(model: nn.Module, takes: Takes) -> Iterator[Inputs]:
    """What a network takes, small images before large ones if it runs on them: crashes cost many runs."""
    inputs = inputs_of(takes)
    small = inputs.smaller()
    if small != inputs and _failure(model, small) is None:
        yield small
    yield inputs


def crashing_groups(
    model: nn.Module, channel_map: ChannelMap, takes: Inputs, removed: frozenset[int]
) -> list[Misfit]:
    """The groups without which the narrow network runs, found by bisection over the forward order.

    Groups that are called alike but for numbers run the same code: once one of them crashes, the others are
    set aside, and tried together at the end, in halves where they crash; what takes too long is pinned.
    """
    touched = [group for group in channel_map.groups if not removed.isdisjoint(group.channels.tolist())]
    parts = [removed.intersection(group.channels.tolist()) for group in touched]
    crashes: list[Misfit] = []
    aside: dict[int, Reason] = {}
    accepted: frozenset[int] = frozenset()
    start = 0

    def error_without(stop: int) -> str | None:
        going = (parts[i] for i in range(start, stop) if i not in aside)
        return _crash(model, channel_map, takes, accepted.union(*going))

    while (error := error_without(len(parts))) is not None:
        if start == len(parts):
            raise not_itself(error)
        low, high = start, len(parts) - 1  # the first group whose removal, after all before it, crashes
        while low < high:
            middle = (low + high) // 2
            reason = error_without(middle + 1)
            low, high, error = (middle + 1, high, error) if reason is None else (low, middle, reason)
        fails = Reason(f"without channels of {touched[low].name} the network fails: {error}")
        crashes.append(Misfit(touched[low].channels, fails))
        accepted = accepted.union(*(parts[i] for i in range(start, low) if i not in aside))
        start = low + 1
        kind = _without_numbers(touched[low].name)
        aside |= {i: fails for i in range(start, len(parts)) if _without_numbers(touched[i].name) == kind}
    accepted = accepted.union(*(parts[i] for i in range(start, len(parts)) if i not in aside))
    for fails in dict.fromkeys(aside.values()):
        waiting, runs = [[i for i, why in aside.items() if why == fails]], 0
        while waiting:
            alike = waiting.pop(0)
            with_them, runs = accepted.union(*(parts[i] for i in alike)), runs + 1
            if runs <= RUNS_FOR_ALIKE and _crash(model, channel_map, takes, with_them) is None:
                accepted = with_them
            elif runs > RUNS_FOR_ALIKE or len(alike) == 1:
                crashes += [Misfit(touched[i].channels, fails) for i in alike]
            else:
                waiting += [alike[: len(alike) // 2], alike[len(alike) // 2 :]]
    return crashes


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def not_itself(reason: str) -> ProofError:
    """Nothing has left, and still it is another network: some of it was not copied."""
    return ProofError(
        f"a copy of the network is not the same network: {reason}; does its code hold on to one object, as a "
        "lambda does that names `self`? Write it as a method"
    )


def _crash(model: nn.Module, channel_map: ChannelMap, takes: Inputs, removed: frozenset[int]) -> str | None:
    """One line on what the narrow network raises, or None when it runs."""
    thin = cut_out(model, channel_map, removed)
    return thin if isinstance(thin, str) else _failure(fill(thin, model, channel_map, removed), takes)


def _failure(model: nn.Module, takes: Inputs) -> str | None:
    """One line on what a network raises, or None when it runs."""
    try:
        with eval_mode(model), torch.no_grad():
            answer(model, takes.make(first_weight(model)))
    except Exception as error:  # whatever the network's own code raises
        told = what_stopped(error, model)
        _let_go(error)
        return told
    return None


def _let_go(error: BaseException | None) -> None:
    """Forget where it was raised: frames, which may hold it in turn, hold the network and all it computed."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
