"""Rates by name: for groups, layers, or globs of either."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from ..errors import AllocationError
from ..graph.channels import Group
from ..selection.allocation import GroupAllocation, Prunable
from ..selection.rates import match_layer_rates, parse_layer_rates
from ..selection.selection import Scores, Selection, agreed_rate, by_group_rates, differ


@dataclass(frozen=True, kw_only=True)
class LayerRates(GroupAllocation):
    """int(rate * n) of n channels leave where a name or a glob says so; what none matches stays whole.

    Naming one layer of a group names the group.

    Attributes:
        layer_rates: `GLOB=SHARE` removed, in [0, 1); where several match, the last one counts.
    """

    ways: ClassVar = (("layer_rates",),)
    place: ClassVar = 30

    layer_rates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what `Allocation` does, no rates, and rates that cannot be read or are out of range."""
        super().__post_init__()
        if not parse_layer_rates(self.layer_rates):
            raise AllocationError("`layer_rates` names no layer; write them like 'stage2.*.conv1=0.3'")

    def parts_streams(self, network: Prunable) -> bool:
        """See `Allocation`."""
        groups = self.groups(network)
        rate_of = self._rate_of(network, groups)
        return any(differ(_given(group, rate_of).values()) for group in groups)

    @classmethod
    def example(cls, network: Prunable) -> Self:
        """A quarter of every layer."""
        return cls(layer_rates=("*=0.25",))

    def select(self, network: Prunable, scores: Scores) -> Selection:
        """See `Allocation`.

        Raises:
            AllocationError: also a glob that matches nothing, and convolutions of one group with different
                rates.
        """
        groups = self.groups(network)
        rate_of = self._rate_of(network, groups)
        given = [_given(group, rate_of) for group in groups]
        rates = [agreed_rate(network.map, *pair) for pair in zip(groups, given, strict=True)]
        heard = {name for mine in given for name in mine}
        ignored = tuple(name for name in rate_of if name not in heard)
        return by_group_rates(
            network.map, groups, scores, rates, min_channels=self.min_channels, ignored=ignored
        )

    def _rate_of(self, network: Prunable, groups: Iterable[Group]) -> dict[str, float]:
        """The rate of every convolution, group and layer of one that a name or a glob matches."""
        convolutions = [layer.name for layer in network.map.layers if layer.kind != "linear"]
        chosen = (name for group in groups for name in (group.name, *group.producers))
        names = dict.fromkeys([*convolutions, *chosen])
        return match_layer_rates(parse_layer_rates(self.layer_rates), names)


def _given(group: Group, rate_of: Mapping[str, float]) -> dict[str, float]:
    """Those of the rates that speak of a group or of one of its layers."""
    return {name: rate_of[name] for name in dict.fromkeys((group.name, *group.producers)) if name in rate_of}
