"""The seam between the training loop and what steers it from outside."""

from collections.abc import Mapping
from typing import Any

from torch.optim import SGD

from ..events import Event


class Hooks:
    """Where a pruning schedule acts. Steps count from 0 over the whole training, epochs from 1.

    An event that is returned is logged; it must name its epoch, or resuming would log it twice.
    """

    def before_epoch(self, epoch: int, optimizer: SGD) -> Event | None:
        """An epoch's first step comes next."""

    def after_backward(self, step: int) -> None:
        """Gradients are there and not yet applied."""

    def after_step(self, step: int) -> Event | None:
        """Weights were just updated."""

    def after_epoch(self, epoch: int) -> Event | None:
        """An epoch's last step is over; its test and its checkpoint come next."""

    def may_be_best(self, epoch: int) -> bool:
        """Is the network after this epoch one that the training is for? After the last one it must be."""
        return True

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs and the network's own state lacks: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave, before the network takes back its own state."""
