"""The seam between the training loop and what steers it from outside."""

from collections.abc import Mapping
from typing import Any

from ..events import Event


class Hooks:
    """Where a pruning schedule acts. Steps count from 0 over the whole training, epochs from 1."""

    def after_backward(self, step: int) -> None:
        """Gradients are there and not yet applied."""

    def after_step(self, step: int) -> Event | None:
        """Weights were just updated.

        Returns:
            What there is to log, if anything; it must name its epoch, or resuming would log it twice.
        """

    def after_epoch(self, epoch: int) -> None:
        """An epoch's last step is over; its test and its checkpoint come next."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs and the network's own state lacks: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
