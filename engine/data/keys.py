"""Randomness without state: a 64-bit number per (seed, epoch, image), and draws from it.

What a key decides is the same for every batch size, number of processes and device. The generator is
SplitMix64: Steele, Lea and Flood, OOPSLA 2014, https://doi.org/10.1145/2660193.2660195.
"""

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # the published unsigned constants, as the signed ones torch has
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64

ORDER, ROW, COLUMN, FLIP, STREAM = range(5)  # what a draw is for


def sample_keys(seed: int, epoch: int, indices_N: Tensor) -> Tensor:
    """One key per image of an epoch, int64.

    Args:
        seed: any integer that fits 64 bits.
        epoch: counts from 0.
        indices_N: the images' positions in their split, int64.
    """
    return _mix(_mix(_mix(torch.tensor(seed)) + epoch) + indices_N)


def draw(keys_N: Tensor, purpose: int, below: int) -> Tensor:
    """One integer per key, uniform in [0, below), another one for every purpose."""
    return _shift(_mix(keys_N + purpose), 1) % below


def shuffled(count: int, seed: int, epoch: int) -> Tensor:
    """The positions 0 to count - 1 in the order of an epoch."""
    keys_N = sample_keys(seed, epoch, torch.arange(count))
    return draw(keys_N, ORDER, below=2**63 - 1).argsort(stable=True)


def _mix(x: Tensor) -> Tensor:
    x = x + _GAMMA
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros, where torch's `>>` fills with the sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
