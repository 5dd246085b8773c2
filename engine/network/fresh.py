"""Fresh random weights: of a new network, or of one of any widths, drawn as its arch draws them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...archs import registry
from ...archs.registry import ArchError
from ..errors import EngineError
from ..modules.blank import Fill, intercepted_initialisation
from .network import Network
from .part import part_of
from .plain_weights import plainly
from .reading import several, size_for
from .trying import tried


def new_network(
    arch_name: str,
    *,
    num_classes: int | None = None,
    input_size: tuple[int, ...] | int | None = None,
    part: str = "",
    seed: int = 0,
) -> Network:
    """A network with seeded random weights.

    Args:
        input_size: (C, H, W), or the side of its square images; needed for archs that do not say it.
        part: the path of the module that is to be pruned, where that is not the whole network.
    Raises:
        FitError: it has no such part, or does not run.
        ArchError: unknown arch, or it does not say its number of classes or image size and neither is given.
    """
    arch = registry.get(arch_name)
    num_classes = num_classes or arch.num_classes
    if num_classes is None:
        raise ArchError(f"arch '{arch_name}' does not say its number of classes; give `num_classes`")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = arch.build(num_classes)
    size = size_for(arch, input_size)
    origin = f"random weights, seed {seed}"
    network = plainly(Network(model, arch.name, num_classes, size, several(arch, size), origin=origin))
    return network if arch.classifies and not part else tried(part_of(network, part))


def fresh_like(network: Network, seed: int) -> Network:
    """The same network, as wide in every layer, with seeded random weights and no past.

    The arch is built once at full width, and what it does to fill each parameter is done to the narrow one:
    so a scale that depends on the number of channels is that of the narrow layer.

    Args:
        network: its model is the one that is filled anew.
    Raises:
        EngineError: a parameter that the arch does not fill, as BN folded away leaves them.
    """
    with torch.random.fork_rng(devices=[]):
        with _recorded() as fills:
            full = registry.get(network.arch).build(network.num_classes)
        fill_of = {name: fills.get(parameter) for name, parameter in full.named_parameters()}
        torch.manual_seed(seed)
        for name, parameter in network.model.named_parameters():
            fill = fill_of.get(name)
            if fill is None:
                raise EngineError(
                    f"'{network.origin}' has a '{name}' that {network.arch} does not fill when it is built "
                    "(is its BN folded away?); name the file from before that"
                )
            fill(parameter)
    for module in network.model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
    return replace(
        network,
        class_names=(),
        accuracy=None,
        history=(),
        origin=f"random weights, seed {seed}, widths of {network.origin}",
        sha256=None,
    )


@contextmanager
def _recorded() -> Iterator[dict[Tensor, Callable[[Tensor], Any]]]:
    """While this lasts: per parameter, what of `nn.init` was last done to all of it."""
    done: dict[Tensor, Callable[[Tensor], Any]] = {}

    def record(fill: Fill, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = fill(tensor, *args, **kwargs)
        done[tensor] = lambda parameter: fill(parameter, *args, **kwargs)
        return result

    with intercepted_initialisation(record):
        yield done
