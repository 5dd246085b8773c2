"""Number format and memory layout for training: chosen by timing the real network on a real batch."""

import copy
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..devices import synchronize

PRECISIONS = ("auto", "fp32", "bf16")

GAIN = 1.1  # a faster way must win by this factor, or timing noise would choose how a run computes
ROUNDS = 3
PROBE_IMAGES = 32  # enough to rank the ways on a CPU; a GPU is only honest at the full batch


@dataclass(frozen=True)
class Precision:
    """How training computes: bfloat16 autocast or float32, channels-last memory or not."""

    bf16: bool = False
    channels_last: bool = False

    @property
    def name(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context a forward pass runs in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.bf16)


def choose_precision(
    model: nn.Module,
    images_NCHW: Tensor,
    labels_N: Tensor,
    *,
    precision: str = "auto",
    channels_last: bool | None = None,
) -> Precision:
    """Settle what is left open (`auto`, None) by timing; with nothing open, nothing is run.

    Runs copies of `model` side by side, forwards and backwards; parameters, buffers and random
    state stay untouched. float32 in the ordinary layout stays unless something else is at least 10 % faster.
    """
    plainest_first = [
        Precision(bf16, last)
        for bf16 in ([False, True] if precision == "auto" else [precision == "bf16"])
        for last in ([False, True] if channels_last is None else [channels_last])
    ]
    if len(plainest_first) == 1:
        return plainest_first[0]
    seconds = time_ways(model, images_NCHW, labels_N, plainest_first)
    fastest = min(seconds, key=seconds.__getitem__)
    plain = plainest_first[0]
    return fastest if seconds[plain] > GAIN * seconds[fastest] else plain


def time_ways(
    model: nn.Module, images_NCHW: Tensor, labels_N: Tensor, ways: list[Precision]
) -> dict[Precision, float]:
    """Median seconds of a forward and backward pass in each way; ways the network cannot run in are left out.

    The rounds are interleaved, so that a change in the machine's load meets all of them.
    """
    device = images_NCHW.device
    if device.type == "cpu":
        images_NCHW, labels_N = images_NCHW[:PROBE_IMAGES], labels_N[:PROBE_IMAGES]
    timings: dict[Precision, list[float]] = {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        copies = {}
        for way in ways:
            probe = copy.deepcopy(model).train().to(memory_format=way.memory_format)
            try:
                _pass(probe, images_NCHW, labels_N, way)  # warm-up, and the proof that it can
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                if way == ways[0]:
                    raise
                continue
            copies[way] = probe
        for _ in range(ROUNDS):
            for way, probe in copies.items():
                timings.setdefault(way, []).append(_pass(probe, images_NCHW, labels_N, way))
    return {way: statistics.median(seconds) for way, seconds in timings.items()}


def _pass(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor, way: Precision) -> float:
    """Seconds of one forward and backward pass."""
    device = images_NCHW.device
    synchronize(device)
    begin = time.perf_counter()
    with way.autocast(device):
        outputs = model(images_NCHW.contiguous(memory_format=way.memory_format))
    logits_NK = outputs if isinstance(outputs, Tensor) else outputs[0]
    F.cross_entropy(logits_NK.float(), labels_N).backward()
    model.zero_grad(set_to_none=True)
    synchronize(device)
    return time.perf_counter() - begin
