"""Numbers as people read them: every figure the command line prints is written by one of these functions."""

import math
from collections.abc import Sequence
from typing import SupportsFloat

MISSING = "-"


def count(number: int) -> str:
    """An exact number: `1,234`."""
    return f"{number:,}"


def large(number: float) -> str:
    """Multiply-accumulates or parameters, two decimals: `125.49M`, `0.85M`, `4.09G`; below 10,000 exact."""
    if abs(number) < 10_000:
        return f"{number:,.0f}"
    if abs(number) < 1_000_000_000:
        return f"{number / 1_000_000:.2f}M"
    return f"{number / 1_000_000_000:.2f}G"


def as_printed(text: str) -> str:
    """A number that somebody else wrote, as it stands in their table: `62.72M`."""
    return text


def percent(share: float) -> str:
    """A share of one: `0.471` is `47.1%`."""
    return f"{100 * share:.1f}%"


def accuracy(percentage: float) -> str:
    """Right answers in percent, as the engine counts them, with the papers' two decimals: `93.26%`."""
    return f"{percentage:.2f}%"


def change(now: float, before: float) -> str:
    """How much `now` differs from `before`: `-49.8%`."""
    return percent_change(now / before - 1) if before else MISSING


def percent_change(share: float) -> str:
    """A difference, as a share of what it is a difference from: `-0.498` is `-49.8%`."""
    return f"{100 * share:+.1f}%"


def points(difference: float) -> str:
    """A difference of two accuracies, in percentage points: `-0.42`."""
    return f"{difference:+.2f}"


def size(count_bytes: int) -> str:
    """Bytes on disk: `3.4 MB`, thousands, not 1024s."""
    if count_bytes < 1_000:
        return f"{count_bytes} B"
    if count_bytes < 1_000_000:
        return f"{count_bytes / 1_000:.1f} kB"
    return f"{count_bytes / 1_000_000:.1f} MB"


def milliseconds(value: float) -> str:
    """A latency, whose column names the unit: three significant digits, `1.23`, `45.6`, `789`."""
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def times(factor: float) -> str:
    """A speed-up: `1.45x`."""
    return f"{factor:.2f}x"


def duration(seconds: float) -> str:
    """How long something took or will take: `42s`, `3m05s`, `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"


def real(number: SupportsFloat) -> str:
    """A real number in three significant digits: `0.0123`, `-1.5e-07`, `nan`."""
    value = float(number)
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def shape(sizes: Sequence[int]) -> str:
    """A tensor's shape: `64x3x7x7`; a scalar's is `()`."""
    return "x".join(map(str, sizes)) or "()"
