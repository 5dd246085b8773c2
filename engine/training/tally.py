"""An epoch's losses and hits, left on the device and fetched now and then: a GPU is seldom waited for."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..processes.distributed import add_up, processes


@dataclass(frozen=True)
class Recent:
    """The steps that were just fetched: their losses, in order."""

    losses: list[float]
    mean: float

    @property
    def bad(self) -> int | None:
        """The position of the first loss that is not finite."""
        return next((index for index, loss in enumerate(self.losses) if not math.isfinite(loss)), None)


class Tally:
    """Running sums over an epoch, of all processes; `images` counts settled steps only."""

    def __init__(self) -> None:
        self.images = 0
        self._loss = 0.0
        self._hits = 0.0
        self._waiting: list[tuple[Tensor, int]] = []

    @property
    def waiting(self) -> int:
        """Steps not yet fetched."""
        return len(self._waiting)

    @property
    def mean_loss(self) -> float:
        """Per image, in nats, over the settled steps."""
        return self._loss / self.images

    @property
    def top1(self) -> float:
        """Training accuracy over the settled steps, in percent."""
        return 100 * self._hits / self.images

    def add(self, loss: Tensor, hits: Tensor, images: int) -> None:
        """Take a step's mean loss and hits, on as many images in every process; waits for no device."""
        sums_2 = add_up(torch.stack([loss.double() / processes(), hits.double()]))
        self._waiting.append((sums_2, images * processes()))

    def settle(self) -> Recent:
        """Fetch all waiting steps, in one transfer."""
        if not self._waiting:
            return Recent([], 0.0)
        losses_S, hits_S = torch.stack([sums_2 for sums_2, _ in self._waiting], dim=1).tolist()
        images_S = [images for _, images in self._waiting]
        self._waiting.clear()
        loss = sum(loss * images for loss, images in zip(losses_S, images_S, strict=True))
        self._loss += loss
        self._hits += sum(hits_S)
        self.images += sum(images_S)
        return Recent(losses_S, loss / sum(images_S))
