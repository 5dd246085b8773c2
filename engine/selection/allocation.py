"""What an allocation is: one way of saying how many channels leave each layer, as a frozen dataclass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from .reach import reach_in_words
from .selection import Residual, Scores, Selection, check_choice, equal_scores, prunable_groups

BlockOf = Callable[[str], int | None]


def in_no_block(layer_name: str) -> None:
    """The `BlockOf` of networks whose blocks nobody has named."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prunable:
    """What allocations know of a network.

    Attributes:
        map: its channels as they look under the residual mode; see `engine.graph.residual`.
        weights: the state dict, for distances between filters.
        conv_order: the convolutions in the order of `deps`, of archs that have one.
        block_of: from a convolution's name to the number of its block, counted in forward order, or None.
        model: the network itself, for allocations that ask what stands behind a convolution.
        unpinned: the map as it was before anything had to be pinned; None is `map`.
    """

    map: ChannelMap
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    conv_order: tuple[str, ...] = ()
    block_of: BlockOf = in_no_block
    model: nn.Module | None = None
    unpinned: ChannelMap | None = None


@dataclass(frozen=True, kw_only=True)
class Allocation(ABC):
    """How many channels leave each layer. Its fields are the settings that it listens to, and no others.

    Attributes:
        ways: the settings that ask for this allocation. Those of one tuple may be given together, those of
            different tuples exclude each other.
        takes_linear: do linear layers take part, or does it speak of convolutions?
        place: where a message that lists all ways names it; low numbers come first.
        needs_scores: does it matter which scores the filters have?
        widths_depend_on_scores: do the scores also say how many leave each layer, not only which ones?
        residual: `internal` leaves residual streams alone, `coupled` narrows them as a whole, `scatter`
            narrows the branches that are added into them one by one.
    """

    ways: ClassVar[tuple[tuple[str, ...], ...]]
    takes_linear: ClassVar[bool] = True
    place: ClassVar[int] = 100
    needs_scores: ClassVar[bool] = True
    widths_depend_on_scores: ClassVar[bool] = False

    residual: Residual = "internal"

    def __post_init__(self) -> None:
        """Refuse values that no network could be narrowed by; scoring, which may take long, comes later.

        Raises:
            AllocationError: names the first one.
        """
        check_choice("residual mode", self.residual, Residual)

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """Make one of settings as people pass them and files keep them.

        Raises:
            AllocationError: values that cannot be read, or are out of range.
        """
        return cls(**settings)

    @classmethod
    @abstractmethod
    def example(cls, network: Prunable) -> Self:
        """One by which some channels of the network leave, half of them or fewer."""

    @classmethod
    def offers(cls) -> tuple[str, ...]:
        """Its ways, as a message lists them beside those of others."""
        return tuple(label(way) for way in cls.ways)

    @property
    def way(self) -> str:
        """The settings that asked for it, for messages."""
        given = self.given()
        return next(label(way) for way in self.ways if not given.keys().isdisjoint(way))

    @abstractmethod
    def select(self, network: Prunable, scores: Scores) -> Selection:
        """Decide which channels leave.

        Args:
            network: under this allocation's residual mode.
            scores: per layer name, scores_F; may be empty where none are needed.
        Raises:
            AllocationError: it cannot be met.
        """

    def parts_streams(self, network: Prunable) -> bool:
        """Must streams that are one in this network be told apart, for each to get a width of its own?

        They are wherever `coupled` meets unequal widths; see `engine.graph.residual.parted`. Else they stay
        one: channels that leave all of it together are not cropped anywhere.

        Args:
            network: with its streams as they are.
        """
        return False

    def check(self, network: Prunable) -> None:
        """Refuse what cannot be met whatever the scores are, at little cost.

        Raises:
            AllocationError: says what cannot be met.
        """
        self.select(network, equal_scores(network.map))

    def given(self) -> dict[str, Any]:
        """The settings that differ from their defaults, for a network's history; what asked for it first."""
        asking = {name for way in self.ways for name in way}
        values = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != default_of(f)}
        return dict(sorted(values.items(), key=lambda item: item[0] not in asking))

    def plain(self) -> dict[str, Any]:
        """All settings as JSON has them; `read` takes them."""
        return {f.name: listed(getattr(self, f.name)) for f in fields(self)}

    def for_arch(self, arch: str) -> Self:
        """This allocation for a network of `arch`; only one that was made for a network is another then.

        Raises:
            AllocationError: it was made for another arch.
        """
        return self


@dataclass(frozen=True, kw_only=True)
class GroupAllocation(Allocation):
    """An allocation that looks at group after group, and leaves alone what it is told to.

    Attributes:
        skip: globs of layers to leave alone.
        min_channels: as many stay in every group.
    """

    skip: tuple[str, ...] = ()
    min_channels: int = 1

    def groups(self, network: Prunable) -> tuple[Group, ...]:
        """The groups that take part, in forward order.

        Raises:
            AllocationError: there are none, or a glob matches nothing.
        """
        groups = self._taking_part(network.map, self.residual)
        if not groups:
            more = self._taking_part(network.map, "coupled") if self.residual == "internal" else ()
            raise AllocationError(
                "nothing may leave: every group is pinned, skipped, or part of a residual stream"
                + (f"; with `residual` coupled, channels of {len(more)} groups may" if more else "")
                + f"; {reach_in_words(network.map, self.residual)}"
            )
        return groups

    def _taking_part(self, channel_map: ChannelMap, residual: Residual) -> tuple[Group, ...]:
        groups = prunable_groups(channel_map, residual, self.skip)
        if self.takes_linear:
            return groups
        return tuple(g for g in groups if any(channel_map.layer(n).kind != "linear" for n in g.producers))


def label(way: Iterable[str]) -> str:
    """How messages call settings that may be given together: "`flops`/`params`"."""
    return "/".join(f"`{name}`" for name in way)


def default_of(setting: Field[Any]) -> Any:
    """What a setting is when nobody says it; None for one that an allocation cannot do without."""
    return None if setting.default is MISSING else setting.default


def listed(value: Any) -> Any:
    """A value as JSON has it: tuples are lists."""
    return [listed(item) for item in value] if isinstance(value, tuple) else value
