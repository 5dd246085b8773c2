"""Criteria: one file each, found by file name.

A criterion gives every filter of every convolution a score; filters with small scores leave first. Its module
states what it `NEEDS`, weights alone or images too, and has one function: `score(model, trace, seed)`, or of
images, whose scores are means, `score_sums(model, trace, images_NCHW, labels_N)`.
"""

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Literal, Protocol

from .. import parts
from ..errors import CriterionError
from ..events import Scored, unwatched

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..graph.trace import Trace

    Batches = Iterable[tuple[Tensor, Tensor]]


class OfWeights(Protocol):
    """The module of a criterion that looks at weights alone."""

    NEEDS: Literal["weights"]

    def score(self, model: "nn.Module", trace: "Trace", seed: int) -> "dict[str, Tensor]":
        """Per convolution name, scores_F."""
        ...


class OfImages(Protocol):
    """The module of a criterion whose scores are means over images."""

    NEEDS: Literal["images"]

    def score_sums(
        self, model: "nn.Module", trace: "Trace", images_NCHW: "Tensor", labels_N: "Tensor"
    ) -> "dict[str, Tensor]":
        """Per convolution name, scores_F by each image of a batch, added up; the model is in eval mode."""
        ...


def names() -> list[str]:
    """Every criterion there is, in alphabetical order; costs no torch."""
    return parts.names(__name__)


def get(name: str) -> OfWeights | OfImages:
    """The criterion called `name`.

    Raises:
        CriterionError: there is none of that name.
    """
    return parts.module_of(__name__, name, "criterion", CriterionError)


def score(
    name: str, model: "nn.Module", trace: "Trace", *, batches: "Batches | None" = None, seed: int = 0
) -> "dict[str, Tensor]":
    """Score every filter as `scoring` does, without the progress."""
    return unwatched(scoring(name, model, trace, batches=batches, seed=seed))


def scoring(
    name: str,
    model: "nn.Module",
    trace: "Trace",
    *,
    batches: "Batches | None" = None,
    total: int = 0,
    seed: int = 0,
) -> "Generator[Scored, None, dict[str, Tensor]]":
    """Score every filter of every convolution that makes channels of its own.

    Args:
        name: a criterion, as `names` lists them.
        model: the traced network; its modes, weights and gradients are left as they were.
        trace: what `engine.graph.trace.trace` found out about it.
        batches: (images_NCHW, labels_N) on the model's device, for criteria that need images; where several
            processes work together, this one's share of them.
        total: how many batches there are.
        seed: of the criteria that draw numbers.

    Yields:
        How far it got, once per batch.

    Returns:
        Per convolution name, scores_F as float64 on the CPU. Small scores leave first.

    Raises:
        CriterionError: an unknown criterion, no images where they are needed, or scores that are not numbers.
    """
    criterion = get(name)
    if criterion.NEEDS == "weights":
        scores = criterion.score(model, trace, seed)
    elif batches is None:
        raise CriterionError(f"criterion '{name}' looks at images, and none were given")
    else:
        scores = yield from _means(criterion, name, model, trace, batches, total)
    scores = {layer: scores_F.detach().double().cpu() for layer, scores_F in scores.items()}
    for layer, scores_F in scores.items():
        if not scores_F.isfinite().all():
            raise CriterionError(
                f"criterion '{name}' gives scores that are not finite for '{layer}': check its weights"
            )
    return scores


def _means(
    criterion: OfImages, name: str, model: "nn.Module", trace: "Trace", batches: "Batches", total: int
) -> "Generator[Scored, None, dict[str, Tensor]]":
    """The mean of a criterion's scores over all images."""
    from ..modules.eval_mode import eval_mode
    from ..processes.distributed import mean_over_images  # here: `names` costs no torch

    sums: dict[str, Tensor] = {}
    images = 0
    with eval_mode(model):
        for done, (images_NCHW, labels_N) in enumerate(batches, 1):
            for layer, sums_F in criterion.score_sums(model, trace, images_NCHW, labels_N).items():
                sums[layer] = sums[layer] + sums_F if layer in sums else sums_F
            images += len(images_NCHW)
            yield Scored(done, total)
    if not images:
        raise CriterionError(f"{name} looks at images, and there are none")
    return mean_over_images(sums, images)
