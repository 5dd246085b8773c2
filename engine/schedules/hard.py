"""As soft, but what is masked stays zero until the next masks: what FPGM's released ResNet programs do."""

from dataclasses import dataclass
from typing import ClassVar

from .soft import Soft


@dataclass(frozen=True, kw_only=True)
class Hard(Soft):
    """All masks are set anew after every `prune_every` epochs; in between, masked filters do not learn."""

    hard: ClassVar[bool] = True
