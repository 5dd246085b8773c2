"""Name styles: what one network's tensors are called in our files and elsewhere."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from .errors import NameStyleError

T = TypeVar("T")

# What a placeholder of a template may stand for.
_PLACEHOLDERS = {
    "stage": r"[1-9]\d*",
    "block": r"0|[1-9]\d*",
    "conv": r"[1-9]\d*",
    "param": r"weight|bias",
    "entry": r"weight|bias|running_mean|running_var|num_batches_tracked",
}


@dataclass(frozen=True)
class NameStyle:
    """One way to name a family of networks: templates, each paired by its place with the other style's.

    Attributes:
        name: how users call the style.
        templates: tensor names with the placeholders above; every name fits at most one.
        landmarks: names that every network of the family has, and others lack.
        counterpart: the style whose templates are paired with these.
    """

    name: str
    templates: tuple[str, ...]
    landmarks: tuple[str, ...]
    counterpart: str

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The templates as regular expressions with a named group per placeholder."""
        return tuple(re.compile(_pattern(template)) for template in self.templates)

    def match(self, key: str) -> tuple[int, dict[str, str]] | None:
        """Return which template a name fits and what its placeholders stand for, or None."""
        for place, pattern in enumerate(self.patterns):
            if found := pattern.fullmatch(key):
                return place, found.groupdict()
        return None


def _pattern(template: str) -> str:
    literal = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    return literal.format(**{name: f"(?P<{name}>{allowed})" for name, allowed in _PLACEHOLDERS.items()})


def _pair(
    foreign: str, ours: str, pairs: tuple[tuple[str, str], ...], landmarks: tuple[tuple[str, str], ...]
) -> list[NameStyle]:
    """Declare a family's two styles from (foreign, ours) rows."""
    foreign_templates, our_templates = zip(*pairs, strict=True)
    foreign_landmarks, our_landmarks = zip(*landmarks, strict=True)
    return [
        NameStyle(foreign, foreign_templates, foreign_landmarks, counterpart=ours),
        NameStyle(ours, our_templates, our_landmarks, counterpart=foreign),
    ]


_BLOCKS = (
    ("layer{stage}.{block}.conv{conv}.{param}", "stage{stage}.block{block}.conv{conv}.conv.{param}"),
    ("layer{stage}.{block}.bn{conv}.{entry}", "stage{stage}.block{block}.conv{conv}.bn.{entry}"),
)

# github.com/akamaster/pytorch_resnet_cifar10 and ResRep's CIFAR ResNets; only option B has projections.
_CIFAR = _pair(
    "akamaster",
    "resrep-cifar",
    (
        ("conv1.{param}", "stage1.conv1.conv.{param}"),
        ("bn1.{entry}", "stage1.conv1.bn.{entry}"),
        *_BLOCKS,
        ("layer{stage}.0.shortcut.0.{param}", "stage{stage}.projection.conv.{param}"),
        ("layer{stage}.0.shortcut.1.{entry}", "stage{stage}.projection.bn.{entry}"),
        ("linear.{param}", "linear.{param}"),
    ),
    landmarks=(("conv1.weight", "stage1.conv1.conv.weight"), ("linear.weight", "linear.weight")),
)

# torchvision's ResNet-18 to -152 (ResNeXt and wide ones too) and ResRep's ImageNet ResNets.
_IMAGENET = _pair(
    "torchvision",
    "resrep-imagenet",
    (
        ("conv1.{param}", "conv1.conv.{param}"),
        ("bn1.{entry}", "conv1.bn.{entry}"),
        *_BLOCKS,
        ("layer{stage}.0.downsample.0.{param}", "stage{stage}.projection.conv.{param}"),
        ("layer{stage}.0.downsample.1.{entry}", "stage{stage}.projection.bn.{entry}"),
        ("fc.{param}", "fc.{param}"),
    ),
    landmarks=(
        ("conv1.weight", "conv1.conv.weight"),
        ("layer4.0.conv1.weight", "stage4.block0.conv1.conv.weight"),
        ("fc.weight", "fc.weight"),
    ),
)

STYLES = {style.name: style for style in (*_CIFAR, *_IMAGENET)}
OURS = ("resrep-cifar", "resrep-imagenet")


def detect(keys: Iterable[str]) -> str | None:
    """Return the name of the style that explains every key, or None.

    A uniform `module.` prefix is ignored. None also for our own networks while they carry compactors or
    indices: no other style has names for those.
    """
    names = set(without_module(dict.fromkeys(keys)))
    for style in STYLES.values():
        if names.issuperset(style.landmarks) and all(style.match(name) for name in names):
            return style.name
    return None


def rename(tensors: Mapping[str, T], from_style: str, to_style: str) -> dict[str, T]:
    """Return the same tensors, in the same order, under the other style's names.

    A uniform `module.` prefix is dropped first. Both templates of a pair have the same placeholders, so no
    two names can become one.

    Args:
        from_style, to_style: a key of `STYLES` and its counterpart.
    Raises:
        NameStyleError: an unknown style, two that are no counterparts, or a name without a rule.
    """
    source, target = _style(from_style), _style(to_style)
    if source.counterpart != target.name:
        raise NameStyleError(
            f"no rules from style '{from_style}' to '{to_style}'; there are some to '{source.counterpart}'"
        )
    renamed: dict[str, T] = {}
    for key, tensor in without_module(tensors).items():
        found = source.match(key)
        if found is None:
            templates = ", ".join(source.templates)
            raise NameStyleError(f"{key!r} is no name of style '{from_style}'; its names are {templates}")
        place, values = found
        renamed[target.templates[place].format(**values)] = tensor
    return renamed


def without_module(tensors: Mapping[str, T]) -> dict[str, T]:
    """Drop the `module.` prefix of DataParallel, where every name has it."""
    prefix = "module."
    if all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _style(name: str) -> NameStyle:
    if name not in STYLES:
        raise NameStyleError(f"no name style '{name}'; known are {', '.join(STYLES)}")
    return STYLES[name]
