"""A plan: which channels of each group stay, as a file that people can read and edit."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...archs.errors import nearest
from ...weights import schema
from ...weights.files import atomic_write, require_file
from ..errors import AllocationError
from ..graph.channels import ChannelMap, Group
from ..graph.head_dims import HEAD_DIMS

FORMAT = 1
HEAD_DIMS_LINE = '  "head_dims": true,\n'


@dataclass(frozen=True, repr=False)
class Plan:
    """Kept channels, by position within each group.

    Attributes:
        arch: the network it was made for.
        residual: the residual mode it was made in.
        groups: group name -> kept positions, ascending; groups that are not named stay whole.
        head_dims: do attention heads lose dimensions? Then that is what the positions of theirs mean.
    """

    arch: str
    residual: str
    groups: Mapping[str, tuple[int, ...]]
    head_dims: bool = False

    def __repr__(self) -> str:
        kept = sum(map(len, self.groups.values()))
        arch = self.arch or "a network without arch"
        return (
            f"Plan for {arch}, residual {self.residual}: {kept:,} channels of {len(self.groups)} groups stay"
        )


def plan_of(channel_map: ChannelMap, removed: Iterable[int], *, arch: str, residual: str) -> Plan:
    """Write down what stays when `removed` leave, for every group with a channel that may leave."""
    mask = channel_map.removal_mask(removed)
    groups = {
        group.name: tuple(np.flatnonzero(~mask[group.channels]).tolist())
        for group in channel_map.groups
        if group.free.any()
    }
    return Plan(arch, residual, groups, _of_head_dims(channel_map))


def apply(plan: Plan, channel_map: ChannelMap) -> frozenset[int]:
    """The channel ids that leave under a plan.

    Raises:
        AllocationError: a group the network does not have, a position it does not have, or a channel that may
            not leave; or only one of both is of head dimensions.
    """
    if plan.head_dims and not _of_head_dims(channel_map):
        raise AllocationError(
            "the plan is of head dimensions, and the network of whole heads; give `head_dims`"
        )
    if _of_head_dims(channel_map) and not plan.head_dims:
        raise AllocationError("the plan is of whole heads; leave out `head_dims`, or make another plan")
    groups = {group.name: group for group in channel_map.groups}
    removed: list[int] = []
    for name, kept in plan.groups.items():
        if name not in groups:
            raise AllocationError(
                f"the plan names group '{name}', which this network does not have; {nearest(name, groups)}"
            )
        removed += _leaving(groups[name], kept)
    return frozenset(removed)


def write(path: str | Path, plan: Plan, *, force: bool = False) -> None:
    """Write a plan, one line per group, whole or not at all.

    Args:
        path: of the file.
        plan: what stays.
        force: an existing file is replaced.

    Raises:
        OutputExists, UnwritableOutput: as for every output.
    """
    lines = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(list(kept))}" for name, kept in plan.groups.items()
    )
    text = (
        "{\n"
        f'  "format": {FORMAT},\n'
        f'  "arch": {json.dumps(plan.arch)},\n'
        f'  "residual": {json.dumps(plan.residual)},\n'
        f"{HEAD_DIMS_LINE if plan.head_dims else ''}"
        f'  "groups": {{\n{lines}\n  }}\n'
        "}\n"
    )
    with atomic_write(path, force) as aside:
        aside.write_text(text, encoding="utf-8")


def given(plan: Plan | str | Path) -> Plan:
    """A plan as it is, or out of a file; see `read`."""
    return plan if isinstance(plan, Plan) else read(plan)


def read(path: str | Path) -> Plan:
    """Read a plan strictly: every key known, every list ascending positions, none empty.

    Raises:
        AllocationError: names the first thing that is wrong.
        UnreadableFile: there is no such file.
    """
    try:
        content = json.loads(
            require_file(path).read_text(encoding="utf-8"), object_pairs_hook=_without_repeats
        )
    except (ValueError, RecursionError) as error:
        raise AllocationError(f"plan '{path}' is not JSON: {error}") from error
    expected = {"format": int, "arch": str, "residual": str, "groups": dict}
    allowed = {**expected, "head_dims": bool}
    if not isinstance(content, dict) or not expected.keys() <= content.keys() <= allowed.keys():
        raise AllocationError(f"plan '{path}' must be an object with exactly the keys {', '.join(expected)}")
    for key, kind in allowed.items():
        if key in content and type(content[key]) is not kind:
            raise AllocationError(
                f"'{key}' in plan '{path}' is {schema.shown(content[key])}, not of type {kind.__name__}"
            )
    if content["format"] != FORMAT:
        raise AllocationError(f"plan '{path}' has format {content['format']}; this prune reads {FORMAT}")
    groups = {
        name: _positions(kept, f"group '{name}' in plan '{path}'") for name, kept in content["groups"].items()
    }
    return Plan(content["arch"], content["residual"], groups, content.get("head_dims", False))


def _of_head_dims(channel_map: ChannelMap) -> bool:
    return len(channel_map.ids_of(HEAD_DIMS)) > 0


def _leaving(group: Group, kept: tuple[int, ...]) -> list[int]:
    n = len(group.channels)
    outside = [position for position in kept if not 0 <= position < n]
    if outside:
        raise AllocationError(
            f"the plan keeps channel {outside[0]} of '{group.name}', which has channels 0 to {n - 1}"
        )
    gone = np.delete(group.channels, list(kept))
    for channel in gone.tolist():
        if channel in group.pinned:
            position = int(np.flatnonzero(group.channels == channel)[0])
            raise AllocationError(
                f"the plan removes channel {position} of '{group.name}', which must stay: "
                f"{group.pinned[channel]}"
            )
    return gone.tolist()


def _positions(kept: Any, where: str) -> tuple[int, ...]:
    if not isinstance(kept, list) or any(type(position) is not int for position in kept):
        raise AllocationError(f"{where} must be a list of channel positions")
    if not kept:
        raise AllocationError(f"{where} keeps no channel; at least one must stay")
    seen: set[int] = set()
    for position in kept:
        if position in seen:
            raise AllocationError(f"{where} keeps channel {position} twice")
        seen.add(position)
    return tuple(sorted(kept))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise AllocationError(f"the plan has '{schema.shown(name)}' twice")
        seen[name] = value
    return seen
