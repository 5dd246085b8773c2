"""Number format and memory layout for training: chosen by rule, so that the same run computes the same."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRECISIONS = ("auto", "fp32", "bf16")

NATIVE_BF16 = 8  # major compute capability from which a GPU multiplies bfloat16 at full speed
PROBE_IMAGES = 2  # a batch norm wants more than one


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
    """Settle what is left open (`auto`, None): by the device and what the network can do, by no clock.

    bfloat16 where the device multiplies it natively and the network runs in it, else float32; channels last
    together with bfloat16, where it is faster for every network that was timed, else the plain layout.
    """
    bf16 = precision == "bf16"
    if precision == "auto":
        bf16 = multiplies_bf16(images_NCHW.device) and _runs(
            model, images_NCHW, labels_N, Precision(bf16=True)
        )
    return Precision(bf16, bf16 if channels_last is None else channels_last)


def multiplies_bf16(device: torch.device) -> bool:
    """Has the device instructions for matrices of bfloat16?"""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= NATIVE_BF16
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # not in every version of torch
    return device.type == "cpu" and has_tiles is not None and bool(has_tiles())


def _runs(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor, way: Precision) -> bool:
    """Can a copy of the network go forwards and backwards this way? Nothing of it stays."""
    images_NCHW, labels_N = images_NCHW[:PROBE_IMAGES], labels_N[:PROBE_IMAGES]
    device = images_NCHW.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        probe = copy.deepcopy(model).train().to(memory_format=way.memory_format)
        try:
            with way.autocast(device):
                outputs = probe(images_NCHW.contiguous(memory_format=way.memory_format))
            logits_NK = outputs if isinstance(outputs, Tensor) else outputs[0]
            F.cross_entropy(logits_NK.float(), labels_N).backward()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return False
    return True
