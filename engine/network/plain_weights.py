"""A network whose weights were computed from others: plain ones instead, and files that can say so."""

from dataclasses import replace
from pathlib import Path

from ...weights import formats
from ..errors import FitError
from ..modules.own_weights import known_by_word_alone, made_plain
from ..modules.plain import plain, unwrapped
from .network import Network
from .trying import answers_alike


def plainly(network: Network) -> Network:
    """The network without wrappers; where it has computed weights, a copy in which they are plain ones.

    Raises:
        FitError: it has some, and does not run.
    """
    whole, found = plain(network.complete)
    if made_plain(whole) != made_plain(network.complete):
        model = whole.get_submodule(network.part)
        if not answers_alike(unwrapped(network.model), model, network.takes):
            # A layer's own parameter, from which it computes its weight, is read elsewhere as it is.
            whole, found = plain(network.complete, own_code=False)
    if network.whole is None:
        return replace(network, model=whole, made_plain=found)
    return replace(network, model=whole.get_submodule(network.part), whole=whole, made_plain=found)


def check_words(path: str | Path, network: Network) -> None:
    """Make sure that a file of this name would be read as what it is.

    Raises:
        FitError: it could not say which weights are plain that its arch computes.
    """
    silent = known_by_word_alone(network.complete)
    if silent and formats.format_of(path) == "torch":
        raise FitError(
            f"'{path}' would be a bare state dict, which cannot say that the weight of '{silent[0]}', which "
            "its own code computes, is plain now: it would be computed again; write .hdf5 or .safetensors"
        )
