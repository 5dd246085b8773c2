"""How many channels leave each layer, as a user says it: one specification, one of the ways to allocate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ..criteria.fpgm import Distance
from ..errors import AllocationError
from ..graph.channels import ChannelMap
from ..graph.filters import scored_layers
from ..selection import plan as plans
from ..selection.plan import Plan
from ..selection.rates import check_rate, parse_layer_rates, parse_rates
from ..selection.selection import Scores, Selection, by_rate, check_residual, group_counts, prunable_groups
from .budget import Limits, by_budget
from .deps import by_deps
from .listed_rates import BlockOf, by_layer_rates, by_rate_list, in_no_block
from .norm_distance import by_norm_and_distance


@dataclass(frozen=True, kw_only=True)
class Specification:
    """What leaves; exactly one way of saying so must be given.

    Attributes:
        compress_rate: the papers' list of shares removed, `"[0.1]+[0.60]*35"`.
        keep_rate: the papers' list of shares kept.
        rate: one share removed of every group.
        layer_rates: `GLOB=SHARE` per layer.
        rate_norm, rate_dist: FPGM's share kept by norm and share removed by distance; either may be left out.
        flops, params: budgets: up to 1 the share that remains, above 1 a number. Both may be given.
        deps: ResRep's list of widths, one per convolution.
        plan: the channels that stay, or a file that names them.
        distance: between two filters, where `rate_dist` is given.
        residual: `internal` leaves residual streams alone, `coupled` narrows them as a whole, `scatter`
            narrows the branches that are added into them one by one.
        skip: globs of layers to leave alone.
        ranking: in a budget, compare scores within (`local`) or across (`global`) groups.
        round_to, min_channels, max_rate: limits; `round_to` and `max_rate` are for budgets.
    """

    compress_rate: str | None = None
    keep_rate: str | None = None
    rate: float | None = None
    layer_rates: tuple[str, ...] = ()
    rate_norm: float | None = None
    rate_dist: float | None = None
    flops: float | None = None
    params: float | None = None
    deps: tuple[int, ...] | None = None
    plan: Plan | Path | None = None
    distance: Distance = "l2"
    residual: str = "internal"
    skip: tuple[str, ...] = ()
    ranking: str = "local"
    round_to: int = 1
    min_channels: int = 1
    max_rate: float = Limits.max_rate

    def __post_init__(self) -> None:
        """Refuse no way or several ways of saying what leaves, limits without effect, and malformed rates.

        Raises:
            AllocationError: names what was given.
        """
        check_residual(self.residual)
        if len(self.ways) != 1:
            options = (
                "--flops, --params, --rate, --layer-rate, --compress-rate, --keep-rate, "
                "--rate-norm/--rate-dist, --deps, --plan"
            )
            said = (
                f"{' and '.join(self.ways)} exclude each other"
                if self.ways
                else "nothing says how much is to leave"
            )
            raise AllocationError(f"{said}; give one of {options}")
        self._refuse_options_without_effect()
        self._check_rates()

    @property
    def ways(self) -> list[str]:
        """The ways of saying what leaves that are used."""
        given = {
            "--compress-rate": self.compress_rate is not None,
            "--keep-rate": self.keep_rate is not None,
            "--rate": self.rate is not None,
            "--layer-rate": bool(self.layer_rates),
            "--rate-norm/--rate-dist": self.rate_norm is not None or self.rate_dist is not None,
            "--flops/--params": self.flops is not None or self.params is not None,
            "--deps": self.deps is not None,
            "--plan": self.plan is not None,
        }
        return [name for name, used in given.items() if used]

    @property
    def needs_scores(self) -> bool:
        """Does it matter which scores the filters have?"""
        return self.ways != ["--plan"] and self.ways != ["--rate-norm/--rate-dist"]

    def select(
        self,
        channel_map: ChannelMap,
        scores: Scores,
        weights: Mapping[str, Tensor],
        conv_order: Sequence[str] = (),
        block_of: BlockOf = in_no_block,
    ) -> Selection:
        """Decide which channels leave.

        Args:
            channel_map: of the network as it looks under the residual mode; see `engine.graph.residual`.
            scores: per convolution name, scores_F.
            weights: the state dict, for distances between filters.
            conv_order: the convolutions in the order of `deps`, of archs that have one.
            block_of: from a convolution's name to the number of its block, for archs that say their blocks.
        Raises:
            AllocationError: what the ways raise that this one is made of.
        """
        if self.plan is not None:
            return self._by_plan(channel_map, self.plan)
        if self.deps is not None:
            return by_deps(channel_map, scores, self.deps, conv_order)
        groups = prunable_groups(channel_map, self.residual, self.skip)
        if not groups:
            raise AllocationError(
                "nothing may leave: every group is pinned, skipped, or part of a residual stream"
            )
        if self.compress_rate is not None or self.keep_rate is not None:
            keep = self.keep_rate is not None
            rates = parse_rates(self.keep_rate or self.compress_rate or "", keep=keep)
            limit = self.min_channels
            return by_rate_list(
                channel_map, groups, scores, rates, block_of=block_of, keep=keep, min_channels=limit
            )
        if self.rate is not None:
            return by_rate(channel_map, groups, scores, self.rate, min_channels=self.min_channels)
        if self.layer_rates:
            rates_by_glob = parse_layer_rates(self.layer_rates)
            return by_layer_rates(channel_map, groups, scores, rates_by_glob, min_channels=self.min_channels)
        if self.flops is not None or self.params is not None:
            limits = Limits(self.min_channels, self.max_rate, self.round_to)
            return by_budget(
                channel_map,
                groups,
                scores,
                flops=self.flops,
                params=self.params,
                ranking=self.ranking,
                limits=limits,
            )
        norm = 1.0 if self.rate_norm is None else self.rate_norm
        return by_norm_and_distance(
            channel_map,
            groups,
            weights,
            norm,
            self.rate_dist or 0.0,
            distance=self.distance,
            min_channels=self.min_channels,
        )

    def given(self) -> dict[str, object]:
        """The settings that differ from the defaults, for the history."""
        return {
            f.name: self._plan_name if f.name == "plan" else value
            for f in fields(self)
            if (value := getattr(self, f.name)) != f.default
        }

    def for_arch(self, arch: str) -> "Specification":
        """This specification for a network of `arch`: a plan brings its own residual mode.

        Raises:
            AllocationError: a plan that cannot be read, or of another arch or residual mode.
        """
        if self.plan is None:
            return self
        plan = plans.given(self.plan)
        if plan.arch != arch:
            raise AllocationError(
                f"plan '{self._plan_name}' is for arch '{plan.arch}', this network is '{arch}'; "
                "write its own with --plan-out"
            )
        if self.residual not in (Specification.residual, plan.residual):
            raise AllocationError(
                f"plan '{self._plan_name}' is for --residual {plan.residual}, not {self.residual}; "
                "leave that out"
            )
        return replace(self, residual=plan.residual)

    def _refuse_options_without_effect(self) -> None:
        limits = [] if self.ways == ["--flops/--params"] else ["ranking", "round_to", "max_rate"]
        if self.rate_dist is None:
            limits += ["distance"]
        if self.ways in (["--plan"], ["--deps"]):  # they say every width themselves
            limits += ["skip", "min_channels"]
        for name in limits:
            if getattr(self, name) != getattr(Specification, name):
                raise AllocationError(
                    f"--{name.replace('_', '-')} has no effect with {self.ways[0]}; leave out one of them"
                )

    def _check_rates(self) -> None:
        """Read the rates now: a slip of the pen must not cost the time that scoring takes."""
        if self.compress_rate is not None:
            parse_rates(self.compress_rate)
        if self.keep_rate is not None:
            parse_rates(self.keep_rate, keep=True)
        if self.rate is not None:
            check_rate(self.rate, "the rate")
        parse_layer_rates(self.layer_rates)

    @property
    def _plan_name(self) -> str:
        return "in memory" if isinstance(self.plan, Plan) else str(self.plan)

    def _by_plan(self, channel_map: ChannelMap, plan: Plan | Path) -> Selection:
        removed = plans.apply(plans.given(plan), channel_map)
        return Selection(removed, group_counts(channel_map.groups, removed))


def equal_scores(channel_map: ChannelMap) -> dict[str, np.ndarray]:
    """Scores that prefer no filter: enough to count what a specification leaves, not to choose."""
    return {layer.name: np.ones(len(layer.out_ids)) for layer in scored_layers(channel_map)}
