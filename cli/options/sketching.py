"""How FilterSketch sketches."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from .group import Group, option

_sketch = partial(option, "Sketching (--method sketch)")


@dataclass(frozen=True)
class Sketching(Group):
    """What sketched weights are made of."""

    procedure: Annotated[
        Literal["released", "paper"] | None,
        _sketch("--procedure", None, "As the authors' code does it, or as their paper says. Default: paper."),
    ] = None
    weight_norm: Annotated[
        Literal["none", "l2"] | None,
        _sketch("--weight-norm", None, "Divide each sketched weight by its norm. Default: none."),
    ] = None
