"""Files of every kind but weights: how a sound one is made, how it is damaged, and how it is read."""

import io
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mutants import json_mutant, mutant
from PIL import Image
from prune.archs.errors import ArchError
from prune.engine.data import decode, decode_cache
from prune.engine.errors import EngineError
from prune.engine.events import Accuracy
from prune.engine.graph.filters import scored_layers
from prune.engine.graph.trace import Trace, trace
from prune.engine.jobs.job import Job
from prune.engine.network.fresh import new_network
from prune.engine.runs.runs import Run, newest_base
from prune.engine.scores import rank_folder
from prune.engine.scores.score_file import load_scores, save_scores
from prune.engine.selection import plan
from prune.engine.training.checkpoint import (
    Checkpoint,
    Progress,
    read_checkpoint,
    take_back,
    write_checkpoint,
)
from prune.engine.training.precision import Precision
from prune.weights.errors import WeightsError
from torch import nn

REFUSALS = (EngineError, WeightsError, ArchError)
SETTINGS = Path(__file__).parents[1] / "golden" / "frozen" / "settings.json"


@dataclass(frozen=True)
class Reader:
    """A kind of file: how a sound one is made, how it is damaged, and how it is read."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    damage: Callable[[bytes, random.Random], bytes] = mutant


@cache
def network() -> tuple[nn.Module, Trace]:
    model = new_network("resnet20").model
    return model, trace(model, (3, 32, 32))


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD(model().parameters(), lr=0.1, momentum=0.9)


@cache
def model() -> nn.Module:
    return nn.Linear(3, 2)


def checkpoint(path: Path) -> None:
    accuracy = Accuracy(50.0, None, 1.5, 10, 0.5)
    config = {"epochs": 5, "milestones": (1, 2)}
    state, steering = model().state_dict(), {"masked": torch.tensor([1, 5]), "begun": 2}
    progress = Progress(3, 2, accuracy, accuracy, 1.5)
    write_checkpoint(
        path, Checkpoint(progress, Precision(), config, state, optimizer().state_dict(), steering)
    )


def take(path: Path) -> None:
    take_back(read_checkpoint(path), path, model(), optimizer())


def scores(path: Path) -> None:
    layers = scored_layers(network()[1].map)
    save_scores(path, {layer.name: torch.rand(len(layer.out_ids)) for layer in layers}, {})


def whole_plan(path: Path) -> None:
    plan.write(path, plan.plan_of(network()[1].map, [], arch="resnet20", residual="internal"))


def read_plan(path: Path) -> None:
    plan.apply(plan.read(path), network()[1].map)


def settings(path: Path) -> None:
    path.write_text(json.dumps(random.Random(0).choice(list(json.loads(SETTINGS.read_text()).values()))))


def log(path: Path) -> None:
    lines = [{"event": "RunStarted"}, *({"event": "EpochDone", "epoch": n, "lr": 0.1} for n in range(1, 9))]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def report(path: Path) -> None:
    (path.parent / "config.json").write_text('{"command": "train-base", "arch": "a", "dataset": "d"}')
    (path.parent / "best.hdf5").touch()
    path.write_text('{"finished_at": "2026-11-21T20:00:00+00:00", "epochs": 3}')


def picture(kind: str, **how: object) -> Callable[[Path], None]:
    pixels = np.random.RandomState(0).randint(0, 255, (24, 20, 3), dtype=np.uint8)

    def make(path: Path) -> None:
        Image.fromarray(pixels).save(path, kind, **how)

    return make


def cached(path: Path) -> None:
    content = io.BytesIO()
    images_NCHW = np.arange(4 * 3 * 5 * 5, dtype=np.uint8).reshape(4, 3, 5, 5)
    np.save(content, images_NCHW)
    path.write_bytes(content.getvalue() + b"%08x" % zlib.crc32(images_NCHW.data))


def read_cached(path: Path) -> None:
    """What is not as it was written is decoded again."""
    images_NCHW = decode_cache._load(path, 4)
    assert images_NCHW is None or images_NCHW.sum() == sum(n % 256 for n in range(300))


def ranks(path: Path) -> None:
    np.save(path, np.linspace(0, 9, 40))


READERS = [
    Reader("rank_conv1.npy", ranks, rank_folder._read),
    Reader("checkpoint.pt", checkpoint, take),
    Reader("scores.hdf5", scores, lambda path: load_scores(path, network()[1].map)),
    Reader("plan.json", whole_plan, read_plan, json_mutant),
    Reader("config.json", settings, lambda path: Job.of_run(Run.open(path.parent)), json_mutant),
    Reader("log.jsonl", log, lambda path: Run(path.parent, {}).rewind_log(5)),
    Reader("report.json", report, lambda path: newest_base(path.parent.parent, "a", "d"), json_mutant),
    Reader("cache.npy", cached, read_cached),
    *(
        Reader(f"image.{kind.lower()}", picture(kind, **how), decode.decode_rgb)
        for kind, how in {
            **{kind: {} for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")},
            "TIFF": {"compression": "tiff_lzw"},
        }.items()
    ),
]
