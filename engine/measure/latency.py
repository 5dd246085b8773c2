"""How fast networks answer, timed side by side so that the machine's moods meet all of them alike."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..devices import synchronize
from ..modules.eval_mode import eval_mode

MIN_REPEATS = 5


@dataclass(frozen=True)
class Latency:
    """One network at one batch size.

    Attributes:
        median_ms: per batch; half of the passes lie between `low_ms` and `high_ms`, the quartiles.
        images_per_s: at the median.
        speedup: the first network's time over this one's, the median over rounds in which both ran.
    """

    batch_size: int
    repeats: int
    median_ms: float
    low_ms: float
    high_ms: float
    images_per_s: float
    speedup: float


def measure(
    models: Mapping[str, nn.Module],
    input_size: tuple[int, ...],
    *,
    batch_sizes: tuple[int, ...] = (1, 128),
    device: torch.device | str = "cpu",
    repeats: int = 50,
    seconds: float = 20.0,
) -> dict[str, list[Latency]]:
    """Time forward passes in evaluation mode, float32, of networks that are on `device`.

    Every round runs each network once, in turns forwards and backwards. After warm-up, rounds go on until
    `repeats`, or until a batch size has taken `seconds`, but for at least 5 rounds.

    Args:
        models: by name; speed-ups are relative to the first.
        input_size: channels, height and width of an image; its pixels are random.

    Returns:
        Per name one entry per batch size, in the order given.
    """
    device = torch.device(device)
    pixels = torch.Generator().manual_seed(0)
    results: dict[str, list[Latency]] = {name: [] for name in models}
    with ExitStack() as modes:
        for model in models.values():
            modes.enter_context(eval_mode(model))
        for batch_size in batch_sizes:
            images_NCHW = torch.randn(batch_size, *input_size, generator=pixels).to(device)
            seconds_MR = _rounds(list(models.values()), images_NCHW, repeats, seconds)
            for name, seconds_R in zip(models, seconds_MR, strict=True):
                results[name].append(_summary(batch_size, seconds_R, first_R=seconds_MR[0]))
    return results


@torch.inference_mode()
def _rounds(models: list[nn.Module], images_NCHW: Tensor, repeats: int, seconds: float) -> np.ndarray:
    """Seconds of every model (M) in every round (R)."""
    begin = time.perf_counter()
    for model in models * 2:  # warm-up: a first pass allocates, chooses kernels and fills caches
        _pass(model, images_NCHW)
    order = list(range(len(models)))
    rounds: list[list[float]] = []
    while len(rounds) < MIN_REPEATS or (len(rounds) < repeats and time.perf_counter() - begin < seconds):
        timings = [0.0] * len(models)
        for index in order:
            timings[index] = _pass(models[index], images_NCHW)
        rounds.append(timings)
        order.reverse()
    return np.array(rounds).T


def _pass(model: nn.Module, images_NCHW: Tensor) -> float:
    """Seconds of one forward pass."""
    synchronize(images_NCHW.device)
    begin = time.perf_counter()
    model(images_NCHW)
    synchronize(images_NCHW.device)
    return time.perf_counter() - begin


def _summary(batch_size: int, seconds_R: np.ndarray, first_R: np.ndarray) -> Latency:
    low, median, high = (float(quartile) for quartile in np.percentile(seconds_R, [25, 50, 75]))
    return Latency(
        batch_size=batch_size,
        repeats=len(seconds_R),
        median_ms=1e3 * median,
        low_ms=1e3 * low,
        high_ms=1e3 * high,
        images_per_s=batch_size / median,
        speedup=float(np.median(first_R / seconds_R)),
    )
