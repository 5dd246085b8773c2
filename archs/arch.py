"""What a network that can be built by name is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Arch:
    """A network that can be built.

    Attributes:
        name: the name that `get` finds it by, as stored in weight files.
        build: makes the network, freshly initialised, for a number of classes.
        num_classes: the number of classes it was designed for; None when only its author knows, 0 where it
            has its own and cannot be asked for others.
        input_size: (channels, height, width) it was designed for, with frames ahead of the height of videos;
            None when only its author knows.
        images: how many batches of them it is called with at once.
        classifies: does it answer with a row of logits per image? None when only its author knows.
        aliases: further names.
        conv_order: the convolutions in the order of ResRep's `deps`, by module name; empty for networks that
            have no such order. The filters of each one are all the channels of its group.
        blocks: the units the network is a chain of, in forward order, the stem first; each by the names of
            its modules. Empty for networks that are plain chains of layers.
        source: where the network comes from.
    """

    name: str
    build: Build
    num_classes: int | None
    input_size: tuple[int, ...] | None
    aliases: tuple[str, ...] = ()
    source: str = ""
    conv_order: tuple[str, ...] = ()
    blocks: tuple[tuple[str, ...], ...] = ()
    images: int = 1
    classifies: bool | None = True

    def block_of(self, layer_name: str) -> int | None:
        """The position in `blocks` of the one a layer is in; None where it is in none, as in the head."""
        for position, modules in enumerate(self.blocks):
            if any(f"{layer_name}.".startswith(f"{module}.") for module in modules):
                return position
        return None
