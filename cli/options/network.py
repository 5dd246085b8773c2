"""Which network."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from ..recipe_option import take_recipe
from .group import Group, Weights, argument, option, setting

_network = partial(option, "Network")
File = Annotated[Path | None, argument("FILE", "Weight file: .hdf5, .pth or .safetensors."), Weights()]
Files = Annotated[
    list[Path],
    argument("FILE", "Weight files; the first is the base the others are held against."),
    Weights(),
]
Arch = Annotated[
    str | None,
    _network(
        "--arch",
        "NAME",
        "Built-in name, torchvision:NAME or package.module:factory. Default: what the file says.",
    ),
]
Part = Annotated[
    str | None,
    _network(
        "--part",
        "PATH",
        "Module to prune, such as backbone; the rest stays as it is. Default: what the file says, or all.",
    ),
]
HeadDims = Annotated[
    bool,
    _network(
        "--head-dims",
        None,
        "Attention heads lose dimensions, the same of every head, instead of leaving as whole heads.",
    ),
]
ImageSize = Annotated[
    int | None,
    _network("--image-size", "PIXELS", "Height and width of an image. Default: the data's.", min=1),
]
NumClasses = Annotated[
    int | None, _network("--num-classes", "N", "Classes to tell apart. Default: the data's.", min=1)
]


@dataclass(frozen=True)
class Network(Group, panel="Network"):
    """The network by name, and the published row that is followed."""

    arch: Arch = None
    recipe: str | None = setting(
        "NAME",
        "Settings of a published row, such as hrank/resnet56; see prune recipes.",
        callback=take_recipe,
        is_eager=True,
    )


@dataclass(frozen=True)
class Reach(Group, panel="Network"):
    """What of the network may be narrowed."""

    part: Part = None
    through_norms: bool = setting(
        None,
        "Channels may leave LayerNorms and other norms over all, which then normalise over those that stay.",
        default=False,
    )
    head_dims: HeadDims = False
