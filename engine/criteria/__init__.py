"""Criteria: one file each, found by file name.

A criterion gives every filter of every convolution a score; filters with small scores leave first. Its module
states what it `NEEDS`, weights alone or images too, and has one function `score(model, trace, batches,
seed)`.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Protocol, cast

from ..errors import CriterionError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..graph.trace import Trace

    Batches = Iterable[tuple[Tensor, Tensor]]


class Criterion(Protocol):
    """What the module of a criterion offers."""

    NEEDS: Literal["weights", "images"]

    def score(
        self, model: "nn.Module", trace: "Trace", batches: "Batches | None", seed: int
    ) -> "dict[str, Tensor]":
        """Scores per convolution name."""
        ...


def names() -> list[str]:
    """Every criterion there is, in alphabetical order; costs no torch."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Criterion:
    """The criterion called `name`.

    Raises:
        CriterionError: there is none of that name.
    """
    known = names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"choose one of {', '.join(known)}"
        raise CriterionError(f"no criterion '{name}'; {hint}")
    return cast(Criterion, importlib.import_module(f".{name.replace('-', '_')}", __package__))


def score(
    name: str, model: "nn.Module", trace: "Trace", *, batches: "Batches | None" = None, seed: int = 0
) -> "dict[str, Tensor]":
    """Score every filter of every convolution that makes channels of its own.

    Args:
        name: a criterion, as `names` lists them.
        model: the traced network; its modes, weights and gradients are left as they were.
        trace: what `engine.graph.trace.trace` found out about it.
        batches: (images_NCHW, labels_N) on the model's device, for criteria that need images; where several
            processes work together, this one's share of them.
        seed: of the criteria that draw numbers.

    Returns:
        Per convolution name, scores_F as float64 on the CPU. Small scores leave first.

    Raises:
        CriterionError: an unknown criterion, no images where they are needed, or scores that are not numbers.
    """
    criterion = get(name)
    if criterion.NEEDS == "images" and batches is None:
        raise CriterionError(f"criterion '{name}' looks at images, and none were given")
    scores = criterion.score(model, trace, batches, seed)
    scores = {layer: scores_F.detach().double().cpu() for layer, scores_F in scores.items()}
    for layer, scores_F in scores.items():
        if not scores_F.isfinite().all():
            raise CriterionError(
                f"criterion '{name}' gives scores that are not finite for '{layer}': check its weights"
            )
    return scores
