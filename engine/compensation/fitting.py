"""One layer fitted to targets on the inputs that it gets, in the form that its size allows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..algebra.least_squares import RIDGE, Moments, cross_validated, ridge_towards
from .affine import Affine, Layer, Normalisation
from .moments import Gathering, Halves, gram_bytes, rows_of
from .positions import Positions
from .program import Norm, Program
from .rectified import Wanted
from .report import Form, Refit
from .unfolding import steps_for

LARGEST_GRAM = 1 << 30  # bytes
ROUNDING = 1e-9  # relative
ROUNDS = 3  # more change nothing
WIDE = 1536  # inputs of an output, above which the first ridge is kept: each that is tried costs two solves
STRONGER = (1, 3, 10, 30, 100, 300, 1000, math.inf)  # times the least ridge


@dataclass(frozen=True)
class Settings:
    """How layers are fitted.

    Attributes:
        ridge: least share of the inputs' mean second moment that holds weights near the sliced ones; a larger
            one is taken where it carries over better from one half of the images to the other.
        positions: about how many output positions are looked at along each axis.
        memory: bytes that the values of both networks may take up; of more images than that, the first are
            looked at.
        largest_gram: bytes of second moments above which a layer gets one scale per channel instead.
    """

    ridge: float = RIDGE
    positions: int = 10
    memory: int = 4 << 30
    largest_gram: int = LARGEST_GRAM


def fit_layer(
    program: Program,
    layer: Layer,
    inputs: Sequence[Tensor],
    wanted: Wanted,
    second_half: Sequence[Tensor],
    images: int,
    settings: Settings,
) -> Refit:
    """Solve a convolution or linear layer, with the normalisation behind it, and store the solution.

    Args:
        program: of the network.
        layer: changed in place.
        inputs: batches of what it reads.
        wanted: what it should make of them, normalised.
        second_half: half_N batch by batch, see `moments.halves`.
        images: in all processes.
        settings: see `Settings`.
    """
    call, start = layer.call, layer.read()
    groups, width, _ = start.weight.shape
    if gram_bytes(groups, width) > settings.largest_gram:
        return _fit_scale(program, layer, inputs, wanted.targets, second_half, settings)
    positions = Positions(layer, inputs, wanted, second_half, images, settings.positions)
    halves = positions.gathered()
    ridge = _ridge(halves, start, settings)
    moments, fitted = _solved(halves, start, ridge)
    refit = _judged(call.layer, "least squares", moments, start, fitted)
    if refit.form == "left":
        return refit
    for _ in range(ROUNDS if wanted.floors is not None and fitted.intercept is not None else 0):
        halves = positions.aimed_anew(halves, fitted)
        if width <= WIDE:
            ridge = _ridge(halves, start, settings)
        moments, fitted = _solved(halves, start, ridge)
    mean_GO = (moments.mean_a[:, None] @ fitted.weight)[:, 0]
    layer.write(fitted, mean_GO, moments.variance(fitted.weight))
    return refit


def fit_norm(
    norm: Norm,
    held: Normalisation,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    second_half: Sequence[Tensor],
    settings: Settings,
) -> Refit:
    """Solve a normalisation that stands alone: one scale and one shift per channel.

    Args:
        norm: where it stands in its network.
        held: its tensors, changed in place.
        inputs, targets, second_half, settings: see `fit_layer`.
    """
    scale_C, shift_C = held.read()
    start = Affine(scale_C[:, None, None], shift_C[:, None])
    halves = _channelwise(inputs, targets, second_half, settings)
    moments, fitted = _solved(halves, start, _ridge(halves, start, settings))
    if not held.has_affine:
        fitted = Affine(start.weight, moments.best_intercept(start.weight))
    refit = _judged(norm.name, "least squares", moments, start, fitted)
    if refit.form != "left":
        assert fitted.intercept is not None
        variance_C = moments.gram.flatten().clamp_min(0)
        held.write(fitted.weight.flatten(), fitted.intercept.flatten(), moments.mean_a.flatten(), variance_C)
    return refit


def _fit_scale(
    program: Program,
    layer: Layer,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    second_half: Sequence[Tensor],
    settings: Settings,
) -> Refit:
    """The cheap form: every output of the sliced layer gets a scale and, where it can be kept, a shift."""
    call, whole = layer.call, layer.read()
    axis = -1 if call.kind == "linear" else 1
    made = [layer.linear_part(program.compute(call.node, {call.x: x_NC})) for x_NC in inputs]
    halves = _channelwise(
        [made_NO.movedim(axis, 1) for made_NO in made],
        [target_NO.movedim(axis, 1) for target_NO in targets],
        second_half,
        settings,
    )
    one_GDO = whole.weight.new_ones(whole.weight.shape[0] * whole.weight.shape[2], 1, 1)
    start = Affine(one_GDO, None if whole.intercept is None else whole.intercept.reshape(-1, 1))
    moments, fitted = _solved(halves, start, _ridge(halves, start, settings))
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
    inputs: Sequence[Tensor], targets: Sequence[Tensor], second_half: Sequence[Tensor], settings: Settings
) -> Halves:
    """What either half of the images shows of each channel by itself; channels are on the second axis."""
    steps = steps_for(inputs[0].shape[2:], settings.positions)
    at = (slice(None), slice(None), *(slice(None, None, step) for step in steps))
    channels, device = inputs[0].shape[1], inputs[0].device
    halves = Gathering(channels, 1, 1, device), Gathering(channels, 1, 1, device)
    for x_NC, target_NC, second_N in zip(inputs, targets, second_half, strict=True):
        later = rows_of(second_N, x_NC)
        for half, mine in zip(halves, (~later, later), strict=True):
            half.add(*(each[mine][at].transpose(0, 1).flatten(1)[..., None] for each in (x_NC, target_NC)))
    for half in halves:
        half.add_up()
    return halves


def _ridge(halves: Halves, start: Affine, settings: Settings) -> float:
    """The ridge that carries over from half to half."""
    if not all(half.count for half in halves):
        return settings.ridge
    first, second = (half.moments(start.intercept is not None) for half in halves)
    return cross_validated(first, second, start.weight, [settings.ridge * factor for factor in STRONGER])


def _solved(halves: Halves, start: Affine, share: float) -> tuple[Moments, Affine]:
    """The moments of all images, and the map that meets them best while a ridge holds it near the start."""
    moments = halves[0].joined(halves[1]).moments(start.intercept is not None)
    weight_GDO = start.weight
    if share != math.inf:
        weight_GDO = ridge_towards(moments, start.weight, moments.ridge(share))
    return moments, Affine(weight_GDO, moments.best_intercept(weight_GDO) if moments.intercept else None)


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
