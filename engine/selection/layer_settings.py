"""Rates per layer as users of torch.ao's pruners and of NNI write them: lists of dictionaries.

torch.ao: `{"tensor_fqn": "features.0.weight", "sparsity_level": 0.5}`. NNI: `{"op_names": ["features.0"],
"sparsity_per_layer": 0.5}`, `{"op_types": ["Conv2d"], "sparse_ratio": 0.5}`, `{"exclude": True, "op_names":
[...]}`. Later settings overwrite earlier ones, as in both.

Departs from both: a name that the network does not have is an error, and whole filters leave, int(rate * n)
of n (torch.ao's FPGM rounds).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ...archs.errors import nearest
from ..errors import AllocationError
from .rates import check_rate, match_names

Layers = Mapping[str, str]  # layer -> class of its module

RATES = ("sparsity_level", "sparsity", "sparsity_per_layer", "sparse_ratio")
NAMES = ("tensor_fqn", "op_names")
PATTERNS = ("op_names_re", "op_partial_names")
EXCLUSIONS = ("exclude_op_names", "exclude_op_names_re", "exclude_op_types")
KNOWN = (*NAMES, *PATTERNS, "op_types", *EXCLUSIONS, "exclude", *RATES)
ELSEWHERE = {
    "total_sparsity": "a share over all layers is said by flops= or params=",
    "max_sparsity_per_layer": "a limit for every layer is max_rate=, beside flops= or params=",
    "sparse_threshold": "shares leave, whatever their scores",
    "global_group_id": "a share over several layers is said by flops= with ranking='global'",
    "dependency_group_id": "which layers go together is read from the network's graph",
    "granularity": "whole filters leave",
    "target_names": "whole filters leave, and their biases with them",
}
WEIGHT = ".weight"


@dataclass(frozen=True)
class LayerSettings:
    """What settings come to.

    Attributes:
        rates: layer -> share removed, for those that were given one.
        excluded: layers that must keep all filters.
        named: those of `rates` that were called by name, not by pattern or type.
    """

    rates: Mapping[str, float]
    excluded: tuple[str, ...]
    named: frozenset[str]


def read_layer_settings(
    settings: Mapping[str, float] | Iterable[Mapping[str, Any]], layers: Layers
) -> LayerSettings:
    """Spread settings over the layers of a network.

    Args:
        settings: dictionaries in torch.ao's or NNI's form, mixed at will; or one dictionary from names or
            globs, of layers or of their weights, to shares removed.
        layers: every layer with filters of its own -> the class of its module, such as "Conv2d".

    Raises:
        AllocationError: names the setting, and what in it is unknown, missing or out of range.
    """
    if isinstance(settings, Mapping):
        return _of_globs(cast(Mapping[str, float], settings), layers)
    rates: dict[str, float] = {}
    excluded: dict[str, None] = {}
    named: set[str] = set()
    for setting in settings:
        _check_keys(setting)
        chosen = _chosen(setting, layers)
        if setting.get("exclude"):
            excluded |= dict.fromkeys(chosen)
            continue
        rates |= dict.fromkeys(chosen, _rate(setting))
        excluded = {name: None for name in excluded if name not in chosen}
        if any(key in setting for key in NAMES):
            named |= set(chosen)
    rates = {name: rate for name, rate in rates.items() if name not in excluded}
    return LayerSettings(rates, tuple(excluded), frozenset(named & rates.keys()))


def _of_globs(rate_of_glob: Mapping[str, float], layers: Layers) -> LayerSettings:
    rates: dict[str, float] = {}
    named: set[str] = set()
    for glob, rate in rate_of_glob.items():
        name = glob.removesuffix(WEIGHT)
        found = match_names(name, layers, "layer")
        rates |= dict.fromkeys(found, check_rate(rate, f"the rate of '{glob}'"))
        named |= {name} & set(found)
    return LayerSettings(rates, (), frozenset(named))


def _check_keys(setting: Mapping[str, Any]) -> None:
    """Every key is known, and layers are named.

    Raises:
        AllocationError: says which key is not, or what it is here.
    """
    if not isinstance(setting, Mapping):
        raise AllocationError(
            f"layer setting {setting!r} is of type {type(setting).__name__}; write a dictionary such as "
            "{'op_names': ['conv1'], 'sparsity': 0.5}"
        )
    for key in setting:
        if key in ELSEWHERE:
            raise AllocationError(f"layer setting {setting}: '{key}' is not known here: {ELSEWHERE[key]}")
        if key not in KNOWN:
            hint = nearest(str(key), KNOWN, otherwise=f"known are {', '.join(KNOWN)}")
            raise AllocationError(f"layer setting {setting}: no key '{key}'; {hint}")
    selectors = (*NAMES, *PATTERNS, "op_types")
    if not any(key in setting for key in selectors):
        raise AllocationError(f"layer setting {setting} names no layer; give one of {', '.join(selectors)}")
    if setting.get("exclude") and any(key in setting for key in RATES):
        raise AllocationError(f"layer setting {setting} excludes layers and gives them a rate; leave out one")


def _chosen(setting: Mapping[str, Any], layers: Layers) -> list[str]:
    """Those of the names and patterns, if there are any, that are of the types, without the excluded."""
    chosen = set(layers)
    if any(key in setting for key in (*NAMES, *PATTERNS)):
        chosen = {
            *_by_name(_weight_owner(setting), layers),
            *_by_name(_texts(setting, "op_names"), layers),
            *_by_pattern(_texts(setting, "op_names_re"), layers, _begins_with),
            *_by_pattern(_texts(setting, "op_partial_names"), layers, lambda part, name: part in name),
        }
    if "op_types" in setting:
        chosen &= _by_type(_texts(setting, "op_types"), layers)
    chosen -= set(_by_name(_texts(setting, "exclude_op_names"), layers))
    chosen -= _by_pattern(_texts(setting, "exclude_op_names_re"), layers, _begins_with)
    chosen -= _by_type(_texts(setting, "exclude_op_types"), layers)
    return [name for name in layers if name in chosen]


def _rate(setting: Mapping[str, Any]) -> float:
    given = [key for key in RATES if key in setting]
    if len(given) != 1:
        said = f"gives {' and '.join(given)}" if given else "gives no rate"
        raise AllocationError(f"layer setting {setting} {said}; give one of {', '.join(RATES)}")
    rate = setting[given[0]]
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise AllocationError(f"layer setting {setting}: {given[0]} must be a number, not {rate!r}")
    return check_rate(rate, f"layer setting {setting}: {given[0]}")


def _weight_owner(setting: Mapping[str, Any]) -> list[str]:
    """The convolution whose weight torch.ao's key names; torch.ao allows a dot before it."""
    if "tensor_fqn" not in setting:
        return []
    tensor = setting["tensor_fqn"]
    if not isinstance(tensor, str) or not tensor.endswith(WEIGHT):
        raise AllocationError(
            f"layer setting {setting}: tensor_fqn must name a convolution's weight, such as 'conv1.weight'"
        )
    return [tensor.removeprefix(".").removesuffix(WEIGHT)]


def _texts(setting: Mapping[str, Any], key: str) -> list[str]:
    texts = setting.get(key, [])
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise AllocationError(f"layer setting {setting}: {key} must be a list of texts, not {texts!r}")
    return list(texts)


def _by_name(names: Iterable[str], layers: Layers) -> list[str]:
    names = list(names)
    for name in names:
        if name not in layers:
            raise AllocationError(
                f"'{name}' is no layer with filters of its own here; {nearest(name, layers)}"
            )
    return names


def _by_pattern(patterns: list[str], layers: Layers, matches: Callable[[str, str], bool]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        mine = {name for name in layers if matches(pattern, name)}
        if not mine:
            raise AllocationError(
                f"'{pattern}' matches no layer with filters; the first is '{next(iter(layers), '')}'"
            )
        found |= mine
    return found


def _begins_with(pattern: str, name: str) -> bool:
    try:
        return re.match(pattern, name) is not None  # as NNI matches
    except re.error as error:
        raise AllocationError(f"'{pattern}' is no regular expression: {error}") from error


def _by_type(types: list[str], layers: Layers) -> set[str]:
    for kind in types:
        if kind not in layers.values():
            there = ", ".join(dict.fromkeys(layers.values()))
            raise AllocationError(
                f"no layer with filters here is of type '{kind}'; filters leave layers of type {there}"
            )
    return {name for name, kind in layers.items() if kind in types}
