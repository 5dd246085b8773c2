"""How filters are scored."""

from dataclasses import dataclass
from pathlib import Path

from ...engine import criteria
from .group import After, Group, Scores, setting


@dataclass(frozen=True)
class Scoring(Group, panel="Scores"):
    """The criterion, and how many images it looks at."""

    criterion: str | None = setting("NAME", f"How filters are scored: {', '.join(criteria.names())}.")
    limit: int | None = setting("BATCHES", "Batches of images to score on. Default: 5.", min=1)


@dataclass(frozen=True)
class ScoringOrScores(Scoring):
    """The criterion, or scores that were saved."""

    scores: Path | None = setting(
        "PATH",
        "Saved scores: a file of 'prune rank' or a folder of rank_conv*.npy.",
        After("criterion"),
        Scores(),
    )
