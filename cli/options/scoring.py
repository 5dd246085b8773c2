"""How filters are scored."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from ...engine import criteria
from .group import After, Group, Scores, option

_scores = partial(option, "Scores")
Sensitivity = Annotated[
    bool, _scores("--sensitivity", None, "Measure and show what every width of every layer costs.")
]


@dataclass(frozen=True)
class Scoring(Group):
    """The criterion, and how many images it looks at."""

    criterion: Annotated[
        str | None, _scores("--criterion", "NAME", f"How filters are scored: {', '.join(criteria.names())}.")
    ] = None
    limit: Annotated[
        int | None, _scores("--limit", "BATCHES", "Batches of images to score on. Default: 5.", min=1)
    ] = None


@dataclass(frozen=True)
class ScoringOrScores(Scoring):
    """The criterion, or scores that were saved."""

    scores: Annotated[
        Path | None,
        _scores("--scores", "PATH", "Saved scores: a file of 'prune rank' or a folder of rank_conv*.npy."),
        After("criterion"),
        Scores(),
    ] = None
