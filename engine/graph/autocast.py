"""Networks followed as if their code never changed number formats on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch


@contextmanager
def autocast_passed_by() -> Iterator[None]:
    """While this lasts, `torch.autocast` does nothing: torch.export would make a graph of its own inside it.

    Which channels there are does not depend on number formats.
    """

    def enter(self: Any) -> Any:
        return self

    def leave(self: Any, *_: object) -> None:
        return None

    autocast = torch.amp.autocast_mode.autocast
    with patch.object(autocast, "__enter__", enter), patch.object(autocast, "__exit__", leave):
        yield
