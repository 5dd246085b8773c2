"""`prune prune --finetune`: training right after pruning; with --steps, after every step."""

import shlex
from collections.abc import Generator
from pathlib import Path

from ..engine.events import Event, Note, Saved
from ..engine.jobs.at_once import Between, course_of
from ..engine.jobs.gentle import SHARE, gently
from ..engine.jobs.job import Job
from ..engine.jobs.prepare import Prepared, prepare
from ..engine.jobs.run import run_training
from ..engine.network.files import load_network, save_network
from ..engine.network.network import Network
from ..engine.network.widened import widened
from . import options as opt
from .prune_asked import Asked
from .spelling import option
from .training import begin, saying_how_to_go_on


def tuning_of(asked: Asked, path: Path, pruned: Job, network: Network) -> tuple[Job, tuple[str, ...]]:
    """The training of a network that was just pruned, and what is to be said of it.

    Args:
        asked: how it trains.
        path: where the network is written.
        pruned: what made it; the network that this began with teaches.
        network: the same, in memory.
    """
    assert asked.finetune is not None
    taught = {} if pruned.start is None else {"distill_alpha": SHARE}
    machines = asked.machines
    job = Job(
        command="finetune",
        images=pruned.images,
        config=asked.training.config(
            epochs=asked.finetune, lr=0.01, seed=machines.seed, device=machines.device, **taught
        ),
        start=path,
        arch=asked.network.arch,
        teacher=pruned.start,
        recalibration=asked.recalibrate,
    )
    return gently(job, network, asked.training.settings())


def files_of_steps(asked: Asked, path: Path) -> list[Path]:
    """Where the networks of all steps but the last, which lies at `path`, are kept if they are trained."""
    trained = asked.approach.steps - 1 if asked.finetune is not None else 0
    return [path.with_name(f"{path.stem}-step{number}{path.suffix}") for number in range(1, trained + 1)]


def between_steps(asked: Asked, path: Path, ready: Prepared) -> Between | None:
    """What is done with the network of a step before the next: it is written, and trained in its own run."""
    files, course = files_of_steps(asked, path), course_of(ready)
    if not files or course is None:
        return None

    def train(network: Network, number: int) -> Generator[Event, None, Network]:
        file = files[number - 1]
        save_network(file, network, force=asked.folder.force)
        yield Saved(file, "step")
        job, notes = tuning_of(asked, file, ready.job, network)
        for note in notes:
            yield Note(note)
        tuning = prepare(job)
        run = begin(asked.show, tuning, opt.RunFolder(), job.command)
        assert run is not None
        left = {**course.still_to_do(number), "finetune": asked.finetune}
        words = " ".join(f"{option(name)} {value}" for name, value in left.items())
        then = f"then: prune prune {shlex.quote(str(run.final))} {words} ..."
        with saying_how_to_go_on(run.folder, job.command, then):
            finished = yield from run_training(tuning, run)
        yield finished
        trained, reach = load_network(run.final, asked.network.arch), asked.reach
        return widened(trained, through_norms=reach.through_norms, head_dims=reach.head_dims)

    return train
