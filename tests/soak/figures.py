"""How many cases were tried, how many survived, and how many to try."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Figures:
    """Of one row of the table; a case is survived when nothing was raised in it."""

    tried: int = 0
    survived: int = 0
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def case(self) -> Iterator[None]:
        """One case."""
        self.tried += 1
        yield
        self.survived += 1


def scaled(count: int) -> int:
    """So many cases, or the share of them that `PRUNE_SOAK` says."""
    return max(1, round(count * float(os.environ.get("PRUNE_SOAK", "1"))))
