"""What pruning comes to: a narrow network, and how it was arrived at."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..events import Accuracy
from ..graph.channels import ChannelMap
from ..graph.cost import Cost
from ..network.network import Network
from ..selection.plan import Plan, plan_of
from ..selection.selection import Selection, group_counts
from .thin import Thin

AIMS = ("target", "masked")  # facts that are MACs, and stand with them in a report


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Outcome:
    """A narrow network and how it was arrived at, whatever the method.

    Attributes:
        network: ready to be saved; its history has one step more.
        residual: how residual streams were treated.
        before, after: what one image costs in the full and in the narrow network.
        counts: per group that took part, how many channels stay and how many there were.
        kept: per convolution, the positions of the filters that stay.
        pinned: per layer, why channels of it could not leave.
        ignored: convolutions whose rates had no effect, because their groups are left alone.
        shortfalls: where fewer channels leave than asked for, and why.
        notes: what else a user should know.
        difference: how exactly the narrow network was proven, relative.
        map: the full network's channel map, with everything pinned that turned out to be unremovable.
        removed: the channel ids that left.
        accuracies: what was measured, stage by stage.
        facts: what this method alone knows, plain values only.
        parameters: of the full network, by name, where an optimizer of it is to be carried over.
        path: where a run has written the network; None where it is yet to be saved.
        steps: what each step came to, where there were several.
    """

    network: Network
    residual: str
    before: Cost
    after: Cost
    counts: Mapping[str, tuple[int, int]]
    kept: Mapping[str, list[int]]
    pinned: Mapping[str, str]
    ignored: tuple[str, ...]
    shortfalls: tuple[str, ...]
    notes: tuple[str, ...]
    difference: float
    map: ChannelMap
    removed: frozenset[int]
    accuracies: Mapping[str, Accuracy] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, nn.Parameter] = field(default_factory=dict)
    path: Path | None = None
    steps: tuple["Outcome", ...] = ()

    def __repr__(self) -> str:
        before, after = self.before, self.after
        macs, params = (1 - after.macs / before.macs, 1 - after.params / before.params)
        return (
            f"Outcome {self.network.arch or 'without arch'}, residual {self.residual}\n"
            f"  MACs   {before.macs:,} -> {after.macs:,} ({-macs:+.1%})\n"
            f"  params {before.params:,} -> {after.params:,} ({-params:+.1%})"
        )

    @property
    def model(self) -> nn.Module:
        """The narrow network itself, with the rest around it where only a part was pruned."""
        return self.network.complete

    @property
    def plan(self) -> Plan:
        """What stays, as a plan that can be written, edited and applied again."""
        return plan_of(self.map, self.removed, arch=self.network.arch, residual=self.residual)

    def report(self) -> dict[str, Any]:
        """What a run's report says of it, plain values only."""
        aims = {name: round(self.facts[name]) for name in AIMS if name in self.facts}
        return {
            "accuracy": {stage: asdict(accuracy) for stage, accuracy in self.accuracies.items()},
            "macs": {"before": self.before.macs, "after": self.after.macs, **aims},
            "params": {"before": self.before.params, "after": self.after.params},
            "kept": dict(self.kept),
            "pinned": dict(self.pinned),
            **{name: fact for name, fact in self.facts.items() if name not in AIMS},
            "difference": self.difference,
            "notes": [*self.shortfalls, *self.notes],
        }


def outcome_of(
    network: Network,
    thin: Thin,
    selection: Selection,
    residual: str,
    before: Cost,
    notes: tuple[str, ...],
) -> Outcome:
    """Put together what is known of a narrow network.

    Args:
        network: the narrow one.
        thin: its cut.
        selection: what was to leave.
        residual: the mode in which it did.
        before: what one image costs in the full network.
        notes: what a user should know.
    """
    took_part = [group for group in thin.map.groups if group.name in selection.counts]
    return Outcome(
        network=network,
        residual=residual,
        before=before,
        after=thin.after,
        counts=group_counts(took_part, thin.removed) if thin.counts is None else thin.counts,
        kept=thin.kept,
        pinned=pinned_layers(thin.map) if selection.refused is None else selection.refused,
        ignored=selection.ignored,
        shortfalls=selection.notes,
        notes=notes,
        difference=thin.difference,
        map=thin.map,
        removed=thin.removed,
        facts=thin.facts,
    )


def as_one(steps: Sequence[Outcome]) -> Outcome:
    """What several steps come to, each of which began with the network of the one before.

    Filters are those of the first network, and so are `map` and what left it.
    """
    first, last = steps[0], steps[-1]
    kept = {name: list(positions) for name, positions in first.kept.items()}
    for step in steps[1:]:
        for name, stay in step.kept.items():
            there = kept.get(name, range(len(first.map.layer(name).out_ids)))  # what could not leave at first
            kept[name] = [there[position] for position in stay]
    removed = first.removed.union(
        *(np.delete(first.map.layer(name).out_ids, stay).tolist() for name, stay in kept.items())
    )
    took_part = [group for group in first.map.groups if group.name in first.counts]
    return replace(
        last,
        before=first.before,
        counts=group_counts(took_part, removed),
        kept=kept,
        pinned={name: reason for step in reversed(steps) for name, reason in step.pinned.items()},
        shortfalls=tuple(dict.fromkeys(line for step in steps for line in step.shortfalls)),
        notes=tuple(dict.fromkeys(line for step in steps for line in step.notes)),
        difference=max(step.difference for step in steps),
        map=first.map,
        removed=removed,
        steps=tuple(steps),
    )


def pinned_layers(channel_map: ChannelMap) -> dict[str, str]:
    """Per group with convolutions that cannot lose some channel, the first reason why."""
    return {g.name: next(iter(g.pinned.values())) for g in channel_map.groups if g.pinned and g.producers}
