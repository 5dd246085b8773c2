"""What compensation did, layer by layer."""

from dataclasses import dataclass
from typing import Literal

Form = Literal["least squares", "per-channel scale", "left"]

FEW = 10  # positions per unknown below which the images are too few


@dataclass(frozen=True)
class Refit:
    """What became of one layer.

    Attributes:
        layer: its name.
        form: how it was fitted, or `left`.
        before, after: mean squared error towards the dense network, as a share of the target's variance.
        positions: output positions that the fit rests on, of all images.
        unknowns: weights per output.
        reason: why it was left.
    """

    layer: str
    form: Form
    before: float = 0.0
    after: float = 0.0
    positions: int = 0
    unknowns: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """All layers whose inputs had changed, in the order in which they were fitted.

    Attributes:
        images: how many were looked at, in all processes.
        left_out: how many were not, because their values would not have fitted into memory.
    """

    layers: tuple[Refit, ...]
    images: int
    left_out: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        return tuple(
            note for note in (self._left_out(), self._few(), *self._cheaper(), *self._left()) if note
        )

    def _left_out(self) -> str:
        if not self.left_out:
            return ""
        return f"{self.images} of {self.images + self.left_out} images were looked at: memory holds no more"

    def _few(self) -> str:
        wanted = [
            (-(-self.images * FEW * layer.unknowns // layer.positions), layer.layer)
            for layer in self.layers
            if layer.form == "least squares" and layer.positions < FEW * layer.unknowns
        ]
        if not wanted:
            return ""
        images, name = max(wanted)
        return (
            f"{self.images} images are few to fit {len(wanted)} of {len(self.layers)} layers, most of all "
            f"{name}; {images} would do"
        )

    def _cheaper(self) -> list[str]:
        names = [layer.layer for layer in self.layers if layer.form == "per-channel scale"]
        line = f"too large for least squares, fitted by one scale per channel: {', '.join(names)}"
        return [line] if names else []

    def _left(self) -> list[str]:
        left = [layer for layer in self.layers if layer.form == "left"]
        reasons = dict.fromkeys(layer.reason for layer in left)
        names = {reason: [layer.layer for layer in left if layer.reason == reason] for reason in reasons}
        return [f"left as sliced, {reason}: {', '.join(names[reason])}" for reason in reasons]
