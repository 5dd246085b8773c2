"""Criteria: one file each, found by file name.

A criterion gives every filter of every layer that has some a score: a convolution's filters, a linear
layer's units. Filters with small scores leave first. Its module states what it `NEEDS`, weights alone or
images too, and has one function: `score(model, trace, seed)`; of images, `score_sums(model, trace,
images_NCHW, labels_N)` where scores are means over them, and else `score_groups(model, channel_map, groups,
images, seed)`, which looks at all of them together. One that does not go for every layer says so by a
function `passed_over(channel_map)`.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from .. import parts
from ..errors import CriterionError
from ..events import Event, Scored, unwatched

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..graph.channels import ChannelMap, Group
    from ..graph.trace import Trace

    Batches = Iterable[tuple[Tensor, Tensor]]


class OfWeights(Protocol):
    """The module of a criterion that looks at weights alone."""

    NEEDS: Literal["weights"]

    def score(self, model: "nn.Module", trace: "Trace", seed: int) -> "dict[str, Tensor]":
        """Per layer name, scores_F."""
        ...


@runtime_checkable
class OfGroups(Protocol):
    """The module of a criterion that looks at the channels of a group together, on all images."""

    NEEDS: Literal["images"]

    def images_wanted(self, channel_map: "ChannelMap", groups: "Sequence[Group]") -> int:
        """How many images do, where nobody says how many."""
        ...

    def score_groups(
        self,
        model: "nn.Module",
        channel_map: "ChannelMap",
        groups: "Sequence[Group]",
        images: "Iterable[Tensor]",
        seed: int,
    ) -> "Generator[Event, None, dict[str, Tensor]]":
        """Per name of a layer that makes channels of the groups, scores_F."""
        ...


class OfImages(Protocol):
    """The module of a criterion whose scores are means over images."""

    NEEDS: Literal["images"]

    def score_sums(
        self, model: "nn.Module", trace: "Trace", images_NCHW: "Tensor", labels_N: "Tensor"
    ) -> "dict[str, Tensor]":
        """Per layer name, scores_F by each image of a batch, added up; the model is in eval mode."""
        ...


def names() -> list[str]:
    """Every criterion there is, in alphabetical order; costs no torch."""
    return parts.names(__name__)


def get(name: str) -> OfWeights | OfImages | OfGroups:
    """The criterion called `name`.

    Raises:
        CriterionError: there is none of that name.
    """
    return parts.module_of(__name__, name, "criterion", CriterionError)


def looks_at_groups(name: str) -> bool:
    """Does a criterion look at the channels of a group together?"""
    return isinstance(get(name), OfGroups)


def passed_over(name: str, channel_map: "ChannelMap") -> list[str]:
    """The layers whose filters a criterion has no scores for, in forward order: they stay whole."""
    its_own = getattr(get(name), "passed_over", None)
    return [] if its_own is None else its_own(channel_map)


def scored_groups(channel_map: "ChannelMap") -> "tuple[Group, ...]":
    """The groups that have filters, for criteria that look at groups."""
    return tuple(group for group in channel_map.groups if group.producers)


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
    loss: "Callable[[Any, Any], Tensor] | None" = None,
) -> "Generator[Event, None, dict[str, Tensor]]":
    """Score every filter of every layer that makes channels of its own; see `scored_layers`.

    Args:
        name: a criterion, as `names` lists them.
        model: the traced network; its modes, weights and gradients are left as they were.
        trace: what `engine.graph.trace.trace` found out about it.
        batches: (images_NCHW, labels_N) on the model's device, for criteria that need images; where several
            processes work together, this one's share of them.
        total: how many batches there are.
        seed: of the criteria that draw numbers.
        loss: of the criteria that look at the loss, where it is not the cross entropy of logits.

    Yields:
        How far it got.

    Returns:
        Per layer name, scores_F as float64 on the CPU. Small scores leave first.

    Raises:
        CriterionError: an unknown criterion, no images where they are needed, or scores that are not numbers.
    """
    criterion = get(name)
    if loss is not None and "loss" not in signature(getattr(criterion, "score_sums", get)).parameters:
        raise CriterionError(f"`loss` has no effect with criterion '{name}'; leave it out")
    if isinstance(criterion, OfGroups):
        images = (images_NCHW for images_NCHW, _ in batches or ())
        groups = scored_groups(trace.map)
        return (yield from scoring_groups(name, model, trace.map, groups, images, seed=seed))
    if criterion.NEEDS == "weights":
        scores = criterion.score(model, trace, seed)
    elif batches is None:
        raise CriterionError(f"criterion '{name}' looks at images, and none were given")
    else:
        scores = yield from _means(criterion, name, model, trace, batches, total, loss)
    return _finite(name, scores)


def scoring_groups(
    name: str,
    model: "nn.Module",
    channel_map: "ChannelMap",
    groups: "Sequence[Group]",
    images: "Iterable[Tensor]",
    *,
    seed: int = 0,
) -> "Generator[Event, None, dict[str, Tensor]]":
    """Score the filters that make the channels of some groups, by a criterion that looks at groups.

    Args:
        name: of the criterion.
        model: left as it is.
        channel_map: of it.
        groups: those that may be narrowed.
        images: batches images_NCHW on the model's device; of several processes, this one's share.
        seed: of what the criterion draws.

    Yields, returns, raises: as `scoring`.
    """
    criterion = get(name)
    assert isinstance(criterion, OfGroups)
    given = list(images)
    if not given:
        raise CriterionError(f"criterion '{name}' looks at images, and none were given")
    state = model.state_dict()
    producers = {layer for group in groups for layer in group.producers}
    _finite(name, {layer: state[channel_map.layer(layer).weight] for layer in sorted(producers)})
    return _finite(name, (yield from criterion.score_groups(model, channel_map, groups, given, seed)))


def _finite(name: str, scores: "dict[str, Tensor]") -> "dict[str, Tensor]":
    scores = {layer: scores_F.detach().double().cpu() for layer, scores_F in scores.items()}
    for layer, scores_F in scores.items():
        if not scores_F.isfinite().all():
            raise CriterionError(
                f"criterion '{name}' gives scores that are not finite for '{layer}': check its weights"
            )
    return scores


def _means(
    criterion: OfImages,
    name: str,
    model: "nn.Module",
    trace: "Trace",
    batches: "Batches",
    total: int,
    loss: "Callable[[Any, Any], Tensor] | None",
) -> "Generator[Scored, None, dict[str, Tensor]]":
    """The mean of a criterion's scores over all images."""
    from ..modules.eval_mode import eval_mode
    from ..processes.distributed import mean_over_images  # here: `names` costs no torch

    score_sums: Any = criterion.score_sums
    if loss is not None:
        score_sums = partial(score_sums, loss=loss)
    sums: dict[str, Tensor] = {}
    images = 0
    with eval_mode(model):
        for done, (images_NCHW, labels_N) in enumerate(batches, 1):
            for layer, sums_F in score_sums(model, trace, images_NCHW, labels_N).items():
                sums[layer] = sums[layer] + sums_F if layer in sums else sums_F
            images += len(images_NCHW)
            yield Scored(done, total)
    if not images:
        raise CriterionError(f"{name} looks at images, and there are none")
    return mean_over_images(sums, images)
