"""Options that several commands share, each defined once: name, unit, help, and the default in words.

A command imports this module as `opt` and writes `seed: opt.Seed = 0`. Where the help text names the default,
the option is None unless given, so that a recipe or the engine can fill it in.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..engine import criteria
from . import parse
from .recipe_option import take_recipe


def _option(panel: str, names: str, unit: str | None, text: str, **more: Any) -> Any:
    return typer.Option(*names.split(), metavar=unit, help=text, rich_help_panel=panel, **more)


def _file(name: str, text: str) -> Any:
    return typer.Argument(metavar=name, help=text, show_default=False)


_network = partial(_option, "Network")
_data = partial(_option, "Data")
_scores = partial(_option, "Scores")
_leaves = partial(_option, "What leaves")
_when = partial(_option, "When it leaves (--schedule)")
_sketch = partial(_option, "Sketching (--method sketch)")
_masks = partial(_option, "Masks (--method resrep)")
_training = partial(_option, "Training")
_machine = partial(_option, "Machine")
_output = partial(_option, "Output")

_SHARE = {"min": 0, "max": 1}

# Which network
File = Annotated[Path, _file("FILE", "Weight file: .hdf5, .pth or .safetensors.")]
OptionalFile = Annotated[Path | None, _file("FILE", "Weight file: .hdf5, .pth or .safetensors.")]
Files = Annotated[
    list[Path], _file("FILE", "Weight files; the first is the base the others are held against.")
]
Arch = Annotated[
    str | None,
    _network(
        "--arch",
        "NAME",
        "Built-in name, torchvision:NAME or package.module:factory. Default: what the file says.",
    ),
]
Recipe = Annotated[
    str | None,
    _network(
        "--recipe",
        "NAME",
        "Settings of a published row, such as hrank/resnet56; see prune recipes.",
        callback=take_recipe,
        is_eager=True,
    ),
]
CountedRecipe = Annotated[
    str | None,
    _network("--recipe", "NAME|all", "A published row, such as hrank/resnet56; see prune recipes."),
]
ImageSize = Annotated[
    int | None,
    _network("--image-size", "PIXELS", "Height and width of an image. Default: the data's.", min=1),
]
NumClasses = Annotated[
    int | None, _network("--num-classes", "N", "Classes to tell apart. Default: the data's.", min=1)
]

# Which images
Dataset = Annotated[str | None, _data("--dataset", "NAME", "Images to use, by name: digits, cifar10, ...")]
DataDir = Annotated[Path | None, _data("--data-dir", "FOLDER", "Where the images lie. Default: data.")]
Download = Annotated[bool, _data("--download", None, "Fetch the images if they are not there.")]
BatchSize = Annotated[int | None, _data("--batch-size", "IMAGES", "Images per step. Default: 128.", min=1)]
EvalBatchSize = Annotated[
    int | None, _data("--eval-batch-size", "IMAGES", "Images per batch when testing. Default: 256.", min=1)
]
Workers = Annotated[
    int | None,
    _data("--workers", "N", "Processes that load images. Default: by the data and the cores.", min=0),
]

# How filters are scored
Criterion = Annotated[
    str | None,
    _scores("--criterion", "NAME", f"How filters are scored: {', '.join(criteria.names())}."),
]
Scores = Annotated[
    Path | None,
    _scores("--scores", "PATH", "Saved scores: a file of 'prune rank' or a folder of rank_conv*.npy."),
]
Limit = Annotated[
    int | None, _scores("--limit", "BATCHES", "Batches of images to score on. Default: 5.", min=1)
]

# How many leave each layer
CompressRate = Annotated[
    str | None,
    _leaves("--compress-rate", "RATES", "Share removed of each conv, HRank's way: '[0.1]+[0.6]*35'."),
]
KeepRate = Annotated[
    str | None, _leaves("--keep-rate", "RATES", "Share kept of each conv, FilterSketch's way: '[0.6]*27'.")
]
Rate = Annotated[float | None, _leaves("--rate", "SHARE", "Share removed of every layer.", **_SHARE)]
LayerRate = Annotated[
    list[str] | None,
    _leaves(
        "--layer-rate", "NAME=SHARE", "Share removed of layers by name or glob: 'stage3.*=0.7'. Repeatable."
    ),
]
RateNorm = Annotated[
    float | None,
    _leaves("--rate-norm", "SHARE", "FPGM: share kept by norm, before distances count.", **_SHARE),
]
RateDist = Annotated[
    float | None, _leaves("--rate-dist", "SHARE", "FPGM: share removed by distance.", **_SHARE)
]
Flops = Annotated[
    float | None,
    _leaves(
        "--flops --flops-target",
        "BUDGET",
        "Multiply-accumulates to keep: a share (0.5, 50%) or 60M.",
        parser=parse.amount,
    ),
]
Params = Annotated[
    float | None,
    _leaves("--params", "BUDGET", "Parameters to keep: a share (0.5, 50%) or 0.4M.", parser=parse.amount),
]
Ranking = Annotated[
    Literal["local", "global"] | None,
    _leaves("--ranking", None, "Compare scores in a layer, or over all layers. Default: local."),
]
Skip = Annotated[
    list[str] | None, _leaves("--skip", "GLOB", "Leave matching layers alone: 'conv1'. Repeatable.")
]
RoundTo = Annotated[
    int | None, _leaves("--round-to", "N", "Keep multiples of N channels. Default: 1.", min=1)
]
MinChannels = Annotated[
    int | None, _leaves("--min-channels", "N", "Keep at least N channels per layer. Default: 1.", min=1)
]
MaxRate = Annotated[
    float | None,
    _leaves("--max-rate", "SHARE", "Remove at most this share of a layer. Default: 0.9.", **_SHARE),
]
Residual = Annotated[
    Literal["internal", "coupled", "scatter"] | None,
    _leaves(
        "--residual",
        None,
        "Channels added into a residual stream: kept, removed from the whole stream, or removed from this "
        "branch alone. Default: internal.",
    ),
]
Deps = Annotated[
    str | None,
    _leaves(
        "--deps", "WIDTHS|FILE", "Width of each conv, ResRep's way: '16,10,16,...' or an .hdf5 with deps."
    ),
]
Plan = Annotated[Path | None, _leaves("--plan", "FILE", "Keep exactly the channels this plan names.")]
PlanOut = Annotated[
    Path | None, _output("--plan-out", "FILE", "Write the plan, to read, edit and give to --plan.")
]

Distance = Annotated[
    Literal["l2", "l1", "cosine"] | None,
    _leaves("--distance", None, "FPGM: what --rate-dist measures between filters. Default: l2."),
]
Method = Annotated[
    Literal["select", "sketch", "resrep"],
    _leaves(
        "--method",
        None,
        "Select filters by score, sketch them, or train with compactors until their rows are zero.",
    ),
]

# When they leave
Schedule = Annotated[
    Literal["one-shot", "layer-by-layer", "soft", "hard"],
    _when("--schedule", None, "At once; one layer after another; or masked again and again in training."),
]
StartConv = Annotated[
    str | None,
    _when(
        "--start-conv",
        "NAME|N",
        "Where to begin: the convolution (layer by layer), or the block (sketch; default: 1, past the stem).",
    ),
]
PruneEvery = Annotated[
    int | None,
    _when("--prune-every", "EPOCHS", "Soft and hard: epochs from mask to mask. Default: 1.", min=1),
]
Scratch = Annotated[
    bool, _when("--scratch", None, "Start from random weights, not from the newest base of --arch.")
]

# FilterSketch
Procedure = Annotated[
    Literal["released", "paper"] | None,
    _sketch("--procedure", None, "As the authors' code does it, or as their paper says. Default: paper."),
]
WeightNorm = Annotated[
    Literal["none", "l2"] | None,
    _sketch("--weight-norm", None, "Divide each sketched weight by its norm. Default: none."),
]

# ResRep's masks
Lasso = Annotated[
    float | None, _masks("--lasso", "STRENGTH", "How hard all rows are pulled to zero. Default: 0.0001.")
]
MaskAfter = Annotated[
    int | None, _masks("--mask-after", "EPOCHS", "Epochs before the first masks. Default: 5.")
]
MaskInterval = Annotated[
    int | None, _masks("--mask-interval", "STEPS", "Steps from one set of masks to the next. Default: 200.")
]
Granularity = Annotated[
    int | None,
    _masks("--granularity", "CHANNELS", "At most so many masked in addition each time. Default: 4."),
]

# How to train
Epochs = Annotated[int | None, _training("--epochs", "N", "Passes over the training images.", min=1)]
Lr = Annotated[float | None, _training("--lr", "RATE", "Learning rate at the start.", min=0)]
Momentum = Annotated[float | None, _training("--momentum", "SHARE", "Of SGD. Default: 0.9.", **_SHARE)]
WeightDecay = Annotated[
    float | None, _training("--weight-decay", "RATE", "L2 penalty. Default: 0.0005.", min=0)
]
DecayRule = Annotated[
    Literal["all", "resrep"] | None,
    _training("--decay-rule", None, "Decay all, or ResRep's way: no biases, no BN. Default: all."),
]
Nesterov = Annotated[bool | None, _training("--nesterov", None, "Use Nesterov's momentum.")]
LrSchedule = Annotated[
    Literal["cosine", "multistep"] | None,
    _training("--lr-schedule", None, "How the learning rate falls. Default: cosine."),
]
Milestones = Annotated[
    Any, _training("--milestones", "EPOCHS", "Where multistep lowers the rate: 80,120.", parser=parse.epochs)
]
Gamma = Annotated[
    float | None, _training("--gamma", "FACTOR", "Multistep multiplies by it. Default: 0.1.", **_SHARE)
]
WarmupEpochs = Annotated[
    int | None, _training("--warmup-epochs", "N", "Epochs of linear rise first. Default: 0.", min=0)
]
LabelSmoothing = Annotated[
    float | None, _training("--label-smoothing", "SHARE", "Taken from the true label. Default: 0.", **_SHARE)
]
NoAugment = Annotated[bool | None, _training("--no-augment", None, "Train on the images as they are.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"] | None,
    _training("--precision", None, "Number format; auto takes the faster. Default: auto."),
]
SyncBn = Annotated[
    bool | None,
    _training("--sync-bn", None, "Batch norms see the batches of all processes as one."),
]

Recalibrate = Annotated[
    int, _training("--recalibrate", "BATCHES", "Training batches to re-estimate BN on; 0: none.", min=0)
]

# On what
Device = Annotated[str, _machine("--device", "NAME", "auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, _machine("--threads", "N", "CPU threads. Default: one per core.", min=1)]
Nproc = Annotated[
    int | None,
    _machine("--nproc", "N", "Processes that share every batch, one per GPU. Default: 1.", min=1),
]
Seed = Annotated[int, _machine("--seed", "N", "Same seed, same numbers.", min=0)]

# What comes out
OutFile = Annotated[Path | None, _output("--out", "FILE", "File to write.", show_default=False)]
OutFolder = Annotated[Path | None, _output("--out", "FOLDER", "Folder of this run.", show_default=False)]
Resume = Annotated[
    Path | None, _output("--resume", "FOLDER", "Go on with this interrupted run.", show_default=False)
]
Force = Annotated[bool, _output("--force", None, "Replace what is already there.")]
Json = Annotated[bool, _output("--json", None, "One JSON object on stdout, and nothing else.")]
DryRun = Annotated[bool, _output("--dry-run", None, "Check everything, say what would be done, do nothing.")]
Quiet = Annotated[bool, _output("--quiet", None, "No notes, no progress.")]
