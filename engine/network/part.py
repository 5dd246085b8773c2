"""A part of a network in its place: the rest stays as it is."""

from dataclasses import replace

from ..errors import FitError
from .network import Network


def part_of(network: Network, part: str) -> Network:
    """The network with a part of it in its place.

    Raises:
        FitError: it has no such part, or the part shares a tensor with the rest.
    """
    if not part:
        return network
    whole = network.model
    try:
        model = whole.get_submodule(part)
    except AttributeError:
        known = ", ".join(name for name, module in whole.named_children() if list(module.parameters()))
        raise FitError(f"the network has no `part` '{part}'; its parts are {known}") from None
    inside = {id(tensor) for tensor in model.parameters()}
    rest = [
        (n, t)
        for n, t in whole.named_parameters(remove_duplicate=False)
        if not f"{n}.".startswith(f"{part}.")
    ]
    shared = next((name for name, tensor in rest if id(tensor) in inside), None)
    if shared is not None:
        raise FitError(
            f"'{part}' shares '{shared}' with the rest of the network; name a `part` that has both"
        )
    return replace(network, model=model, whole=whole, part=part)
