"""Learning from another network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from .group import Group, Weights, setting


@dataclass(frozen=True)
class Distillation(Group):
    """The network that teaches, and how much it says."""

    distill: Path | None = setting("FILE", "Learn the answers of this network too.", Weights())
    teacher_arch: str | None = setting(
        "NAME", "Its arch, where its file does not say it. Default: that of FILE."
    )
    distill_alpha: float | None = setting("SHARE", "Its share of the loss. Default: 0.5.")
    distill_temperature: float | None = setting("T", "How much answers are softened. Default: 4.")

    def settings(self) -> dict[str, Any]:
        """What the training is told of it; nothing where no network teaches.

        Raises:
            typer.BadParameter: a share that is none, or one of no network.
        """
        said = super().settings()
        teacher, alpha = said.pop("distill", None), said.get("distill_alpha")
        if teacher is None and said and alpha != 0:
            raise typer.BadParameter(
                "--teacher-arch, --distill-alpha and --distill-temperature need a network: --distill FILE"
            )
        said.pop("teacher_arch", None)
        if alpha is not None and not (0 < alpha <= 1 or (alpha == 0 and teacher is None)):
            raise typer.BadParameter(
                f"{alpha:g} is no share above 0 and up to 1", param_hint="--distill-alpha"
            )
        return {} if teacher is None else {"distill_alpha": 0.5, "distill_temperature": 4.0, **said}
