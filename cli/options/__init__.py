"""Options that several commands share: a file and a frozen dataclass for each thing that is configured.

A command imports this package as `opt`, and takes whole groups (`training: opt.Training`) or single options
(`num_classes: opt.NumClasses = None`); `cli.grouped` makes parameters of both. Each option is defined once:
name, unit, help, and the default in words. What a group says is handed on by its methods.
"""

from .amount import Amount, Approach, RankedAmount
from .compensation import Compensation
from .distillation import Distillation
from .group import After, Group, Weights, setting
from .images import BatchSize, EvalBatchSize, Images
from .machine import Machine, Machines
from .method import Masks, Schedule, Sketching
from .network import Arch, File, Files, HeadDims, ImageSize, Network, NumClasses, Part, Reach
from .output import FileOrRunFolder, Force, OutFile, Results, RunFolder, Work
from .scoring import Scoring, ScoringOrScores
from .training import Recalibrate, Training
