"""One layer fitted to targets on the inputs that it gets, in the form that its size allows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..algebra.least_squares import RIDGE, Moments, ridge_towards
from .affine import Affine, Layer, Normalisation
from .moments import Gathering
from .program import Call, Norm, Program
from .report import Form, Refit
from .unfolding import chunks, outputs, rows, steps_for

LARGEST_GRAM = 1 << 30  # bytes
ENOUGH = 20  # positions per unknown above which some may be passed over
ROUNDING = 1e-9  # relative


@dataclass(frozen=True)
class Settings:
    """How layers are fitted.

    Attributes:
        ridge: share of the inputs' mean second moment that holds weights near the sliced ones.
        positions: about how many output positions are looked at along each axis.
        largest_gram: bytes of second moments above which a layer gets one scale per channel instead.
    """

    ridge: float = RIDGE
    positions: int = 10
    largest_gram: int = LARGEST_GRAM


def fit_layer(
    program: Program,
    layer: Layer,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    images: int,
    settings: Settings,
) -> Refit:
    """Solve a convolution or linear layer, with the normalisation behind it, and store the solution.

    Args:
        program: of the network.
        layer: changed in place.
        inputs: batches of what it reads.
        targets: what it should make of them, normalised, batch by batch.
        images: in all processes.
        settings: see `Settings`.
    """
    call, start = layer.call, layer.read()
    groups, width, outs = start.weight.shape
    if 8 * groups * width * width > settings.largest_gram:
        return _fit_scale(program, layer, inputs, targets, settings)
    spatial = targets[0].shape[2:] if call.kind != "linear" else ()
    steps = _steps(call, spatial, images, width, settings)
    gathered = Gathering(groups, width, outs, start.weight.device)
    positions = _count(spatial, steps) if spatial else targets[0][0].numel() // (groups * outs)
    for x_NC, target_NO in zip(inputs, targets, strict=True):
        for part in chunks(call, x_NC, width, positions):
            rows_GPD = rows(call, x_NC[part], layer.kernel, steps)
            gathered.add(rows_GPD, outputs(call, target_NO[part], steps))
    moments = gathered.moments(intercept=start.intercept is not None)
    fitted = _solved(moments, start, settings)
    refit = _judged(call.layer, "least squares", moments, start, fitted)
    if refit.form != "left":
        mean_GO = (moments.mean_a[:, None] @ fitted.weight)[:, 0]
        layer.write(fitted, mean_GO, moments.variance(fitted.weight))
    return refit


def fit_norm(
    norm: Norm, held: Normalisation, inputs: Sequence[Tensor], targets: Sequence[Tensor], settings: Settings
) -> Refit:
    """Solve a normalisation that stands alone: one scale and one shift per channel.

    Args:
        norm: where it stands in its network.
        held: its tensors, changed in place.
        inputs, targets, settings: see `fit_layer`.
    """
    scale_C, shift_C = held.read()
    start = Affine(scale_C[:, None, None], shift_C[:, None])
    moments = _channelwise(inputs, targets, settings, intercept=True)
    fitted = _solved(moments, start, settings)
    if not held.has_affine:
        fitted = Affine(start.weight, moments.best_intercept(start.weight))
    refit = _judged(norm.name, "least squares", moments, start, fitted)
    if refit.form != "left":
        assert fitted.intercept is not None
        variance_C = moments.gram.flatten().clamp_min(0)
        held.write(fitted.weight.flatten(), fitted.intercept.flatten(), moments.mean_a.flatten(), variance_C)
    return refit


def _fit_scale(
    program: Program, layer: Layer, inputs: Sequence[Tensor], targets: Sequence[Tensor], settings: Settings
) -> Refit:
    """The cheap form: every output of the sliced layer gets a scale and, where it can be kept, a shift."""
    call, whole = layer.call, layer.read()
    axis = -1 if call.kind == "linear" else 1
    made = [layer.linear_part(program.compute(call.node, {call.x: x_NC})) for x_NC in inputs]
    moments = _channelwise(
        [made_NO.movedim(axis, 1) for made_NO in made],
        [target_NO.movedim(axis, 1) for target_NO in targets],
        settings,
        intercept=whole.intercept is not None,
    )
    intercept_GO = None if whole.intercept is None else whole.intercept.reshape(-1, 1)
    start = Affine(torch.ones_like(moments.gram), intercept_GO)
    fitted = _solved(moments, start, settings)
    refit = _judged(call.layer, "per-channel scale", moments, start, fitted)
    if refit.form != "left":
        groups, _, outs = whole.weight.shape
        scale_GO = fitted.weight.reshape(groups, outs)
        shift_GO = None if fitted.intercept is None else fitted.intercept.reshape(groups, outs)
        layer.write(
            Affine(whole.weight * scale_GO[:, None], shift_GO),
            moments.mean_a.reshape(groups, outs) * scale_GO,
            moments.gram.reshape(groups, outs).clamp_min(0) * scale_GO.square(),
        )
    return refit


def _channelwise(
    inputs: Sequence[Tensor], targets: Sequence[Tensor], settings: Settings, *, intercept: bool
) -> Moments:
    """Moments of each channel by itself; channels on the second axis."""
    spatial = inputs[0].shape[2:]
    steps = steps_for(spatial, settings.positions)
    at = (slice(None), slice(None), *(slice(None, None, step) for step in steps))
    gathered = Gathering(inputs[0].shape[1], 1, 1, inputs[0].device)
    for x_NC, target_NC in zip(inputs, targets, strict=True):
        gathered.add(*(each[at].transpose(0, 1).flatten(1)[..., None] for each in (x_NC, target_NC)))
    return gathered.moments(intercept)


def _solved(moments: Moments, start: Affine, settings: Settings) -> Affine:
    weight_GDO = ridge_towards(moments, start.weight, moments.ridge(settings.ridge))
    return Affine(weight_GDO, moments.best_intercept(weight_GDO) if moments.intercept else None)


def _judged(name: str, form: Form, moments: Moments, start: Affine, fitted: Affine) -> Refit:
    """The errors of both maps; a fit that is worse on its own moments, or not finite, is left aside."""
    before = float(moments.errors(start.weight, start.intercept).sum())
    after = float(moments.errors(fitted.weight, fitted.intercept).sum())
    scale = max(float(moments.power.sum()), 1e-30)
    worse = not after <= before * (1 + ROUNDING) + ROUNDING * scale
    return Refit(
        name,
        "left" if worse else form,
        before / scale,
        (before if worse else after) / scale,
        moments.count,
        start.weight.shape[1],
        "numbers that cannot be solved for" if worse else "",
    )


def _steps(
    call: Call, spatial: Sequence[int], images: int, width: int, settings: Settings
) -> tuple[int, ...]:
    """Distances between the positions looked at: closer together where there would be too few."""
    steps = steps_for(spatial, settings.positions)
    while max(steps, default=1) > 1 and images * _count(spatial, steps) < ENOUGH * width:
        steps = tuple(max(1, step - 1) for step in steps)
    if call.kind == "transposed":  # an even distance would meet the same entries of the kernel every time
        steps = tuple(step - (step % 2 == 0) for step in steps)
    return steps


def _count(spatial: Sequence[int], steps: Sequence[int]) -> int:
    return math.prod(-(-extent // step) for extent, step in zip(spatial, steps, strict=True))
