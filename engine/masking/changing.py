"""Soft and hard masks: in one training all filters are chosen anew again and again, and the chosen zeroed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from torch import nn
from torch.optim import SGD

from ..events import Accuracy, MasksSet
from ..graph.channels import ChannelMap
from .hooks import ScheduleHooks
from .rows import (
    MaskedRows,
    ids_on,
    masked_filters,
    silence,
    zero_gradients,
    zero_momentum,
    zero_weights,
)


class ChangingMasks(ScheduleHooks):
    """The hooks of FPGM's schedule.

    He et al., CVPR 2019, arXiv 1811.00250, Alg. 1; soft as in He et al., IJCAI 2018, arXiv 1808.06866.
    Before training and after every so many epochs, filters are chosen by the weights as they are now and set
    to zero. In between they learn on (soft), or stay zero (hard). BN stays alive until the end, since without
    it no filter could come back; with the last masks it is zeroed too, so that the masked channels can be cut
    out.

    Departs from the authors' code: the momentum of masked filters is zeroed as well where they are to stay
    zero; theirs lets it move them.

    Attributes:
        masked: the channels that are masked now, or were when masks were last set.
        live: the accuracy with the last masks and BN still alive; None before.
    """

    def __init__(
        self,
        model: nn.Module,
        channel_map: ChannelMap,
        choose: Callable[[nn.Module], frozenset[int]],
        macs: Callable[[Iterable[int]], int],
        test: Callable[[], Accuracy],
        *,
        hard: bool,
        epochs: int,
        prune_every: int,
        steps_per_epoch: int,
    ) -> None:
        """Steer the training of `model`.

        Args:
            channel_map: of the model as pruning sees it.
            choose: the channels to mask, by the model as it is.
            macs: what the network costs without some channels.
            test: how the model does on the test images.
            hard: masked filters stay zero until the next masks.
            epochs: of the whole training.
            prune_every: epochs from masks to masks.
        """
        self._model, self._map = model, channel_map
        self._choose, self._macs, self._test = choose, macs, test
        self._hard, self._epochs, self._prune_every = hard, epochs, prune_every
        self._steps_per_epoch = steps_per_epoch
        self.live: Accuracy | None = None
        self._filters: list[MaskedRows] = []

    @property
    def accuracies(self) -> dict[str, Accuracy]:
        """With the last masks and BN still alive, once that was measured."""
        return {} if self.live is None else {"live": self.live}

    def before_epoch(self, epoch: int, optimizer: SGD) -> MasksSet | None:
        """Set the first masks; let no momentum move what is to stay zero."""
        news = self._set_masks(epoch, step=0) if epoch == 1 else None
        if self._hard:
            zero_momentum(self._filters, optimizer)
        return news

    def after_backward(self, step: int) -> None:
        """Keep hard masks at zero."""
        if self._hard:
            zero_gradients(self._filters)

    def after_epoch(self, epoch: int) -> MasksSet | None:
        """Set masks anew where it is time; with the last ones BN goes too."""
        if not self._sets_masks_after(epoch):
            return None
        news = self._set_masks(epoch, step=self._steps_per_epoch)
        if epoch == self._epochs:
            self.live = self._test()
            silence(self._model, self._map, self.masked)
        return news

    def may_be_best(self, epoch: int) -> bool:
        """Only a network whose masked filters are zero counts."""
        return self._hard or self._sets_masks_after(epoch)

    def state_dict(self) -> dict[str, Any]:
        """What is masked, and the accuracy that cannot be measured again."""
        live = None if self.live is None else asdict(self.live)
        return {"masked": ids_on(self.masked, self._model), "live": live}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take both back."""
        self._mask(frozenset(state["masked"].tolist()))
        if state["live"] is not None:
            self.live = Accuracy(**state["live"])
            silence(self._model, self._map, self.masked)

    def _sets_masks_after(self, epoch: int) -> bool:
        return epoch % self._prune_every == 0 or epoch == self._epochs

    def _set_masks(self, epoch: int, step: int) -> MasksSet:
        self._mask(self._choose(self._model))
        macs = self._macs(self.masked)
        return MasksSet(
            epoch=epoch,
            step=step,
            steps=self._steps_per_epoch,
            masked=len(self.masked),
            macs=macs,
            macs_share=macs / self._macs(()),
        )

    def _mask(self, masked: frozenset[int]) -> None:
        self.masked = masked
        self._filters = masked_filters(self._model, self._map, masked)
        zero_weights(self._filters)
