"""A network with everything needed to use it: the model, and the facts that a file keeps about it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from torch import nn

from ...archs import registry
from ..errors import TraceError
from ..modules.inputs import Inputs, Takes

IN_MEMORY = "a network in memory"  # where the weights of one come from that was wrapped


@dataclass(frozen=True, repr=False)
class Network:
    """A model and the facts a file keeps about it.

    Attributes:
        model: what is pruned: the network, or a part of it.
        arch: the name that builds it at full width; empty where nobody has named it.
        num_classes: what its arch is built for; 0 where that is the arch's own business.
        input_size: (C, H, W) of its images; empty where it takes something else.
        inputs: what it is called with, where that is not one batch of images.
        part: the path of `model` in `whole`, where only a part of a network is pruned.
        whole: that network.
        classifies: does it answer with one row of logits per image?
        normalization: `mean` and `std` per channel that its images are normalised with, or None when unknown.
        class_names: in the order of the logits, or empty.
        folded: BN name -> conv it was folded into.
        through_norms: may channels leave through norms over all of them?
        head_dims: do attention heads lose dimensions instead of leaving as a whole?
        made_plain: weights that were computed from others, as weight norm does, and are plain ones now.
        accuracy: of these very weights, as last measured: `top1`, `top5`, `dataset`, and `data_dir`, where
            the images were then.
        history: how it came about, oldest step first.
        origin: in words, where the weights come from.
        sha256: of the file they were loaded from; the parent of the next step of the history.
    """

    model: nn.Module
    arch: str
    num_classes: int
    input_size: tuple[int, ...]
    inputs: Inputs | None = None
    part: str = ""
    whole: nn.Module | None = None
    classifies: bool = True
    normalization: Mapping[str, list[float]] | None = None
    class_names: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    through_norms: bool = False
    head_dims: bool = False
    made_plain: tuple[str, ...] = ()
    accuracy: Mapping[str, Any] | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    origin: str = ""
    sha256: str | None = None

    @property
    def takes(self) -> Takes:
        """What `model` is called with."""
        return self.inputs or self.input_size

    @property
    def complete(self) -> nn.Module:
        """The whole network, of which `model` may be a part."""
        return self.model if self.whole is None else self.whole

    def holding(self, model: nn.Module) -> "Network":
        """This network with another model in the place of its own."""
        if self.whole is None:
            return replace(self, model=model)
        return replace(self, model=model, whole=copy.deepcopy(self.whole, {id(self.model): model}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever prunes it should know of it."""
        notes = []
        if self.made_plain:
            first, *others = self.made_plain
            more = f"{len(others)} other weight{'s' if len(others) > 1 else ''}"
            named = f"{first} and {more} are" if others else f"{first} is"
            notes.append(
                f"{named} plain now: what computed them (weight norm, weight standardisation or the like) is "
                "folded in, which changes no output; training goes on without it"
            )
        if self.through_norms:
            notes.append(
                "channels may leave norms over all channels, which then take the statistics of those that "
                "stay: a network of such norms is what the narrow one was proven to equal"
            )
        return tuple(notes)

    @property
    def conv_order(self) -> tuple[str, ...]:
        """The convolutions in the order of ResRep's `deps`, if its arch has one."""
        return self._built_in.conv_order if self._built_in else ()

    def block_of(self, layer_name: str) -> int | None:
        """The number of the block that a layer is in, if its arch says what its blocks are."""
        return self._built_in.block_of(layer_name) if self._built_in else None

    @property
    def is_built_in(self) -> bool:
        """Is it of an arch of ours, whose code follows its channels wherever they go?"""
        return self._built_in is not None

    @property
    def _built_in(self) -> registry.Arch | None:
        return registry.get(self.arch) if self.arch and ":" not in self.arch else None

    def __repr__(self) -> str:
        """In three lines, what it is, what it costs and where it comes from."""
        from ..graph.cost import count
        from ..graph.known import known_trace

        size = "x".join(map(str, self.input_size))
        takes = f"images {size}" if size else f"takes {self.inputs}"
        classes = f"{self.num_classes} classes" if self.classifies else "no classifier"
        part = f", its part '{self.part}'" if self.part else ""
        params = sum(parameter.numel() for parameter in self.model.parameters())
        try:
            macs = f"{count(known_trace(self.model, self.takes).map).macs:,} MACs, "
        except TraceError:
            macs = ""
        known = self.accuracy or {}
        good = f"; {known['top1']:.2f} % on {known.get('dataset')}" if "top1" in known else ""
        return (
            f"Network {self.arch or 'without arch'}{part}, {classes}, {takes}\n"
            f"  {macs}{params:,} params\n"
            f"  from {self.origin or 'nowhere'}{good}"
        )

    def after(self, command: str, options: Mapping[str, Any], **changes: Any) -> "Network":
        """This network after one more step of its history, with some fields changed."""
        allowed = {"through_norms": self.through_norms, "head_dims": self.head_dims}
        allowed = {name: True for name, is_so in allowed.items() if is_so and command == "prune"}
        step = {
            "command": command,
            "options": {**options, **allowed},
            "parent": self.sha256,
            "versions": versions(),
        }
        model = changes.pop("model", self.model)
        return replace(self.holding(model), history=(*self.history, step), **changes)


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {name: version(name) for name in ("prune-cnn", "torch", "numpy")}
