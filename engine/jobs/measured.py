"""What is done for a budget where nobody says which filters leave, and there are images to find out by."""

import time
from dataclasses import replace

import torch

from ..allocations.budget import Budget
from ..compensation.block_fitting import per_step
from ..compensation.fitting import LARGEST_GRAM
from ..compensation.measuring import work
from ..compensation.moments import gram_bytes
from ..criteria import obs_measured
from ..devices import device_of
from ..graph.cost import count
from ..graph.trace import Trace
from ..modules.eval_mode import eval_mode
from ..narrowing.pruning import prunable
from ..network.network import Network
from ..transfers.compensate import Compensate
from .job import Job

LONGEST = 5e12  # multiply-accumulates that are measured unasked, some minutes of a processor core
TIMED = 32  # images
SOLVING = 6  # multiply-accumulates as of a pass that a cube of a layer's inputs takes, in float64


def measured(job: Job, transfer: Compensate, network: Network, traced: Trace) -> tuple[Job, int, float]:
    """Choose by what widths cost the network's answers, and compensate what stays.

    Args:
        job: prunes at once, by a budget.
        transfer: how what stays is compensated.
        network: on the device where it is to happen.
        traced: its trace.

    Returns:
        The job, by criterion `obs` where too much would have to be measured; how many images it looks at to
        choose; and how many seconds it takes here, roughly, to choose and to compensate.
    """
    budget, scoring = job.parts.allocation, job.parts.scoring
    assert isinstance(budget, Budget)
    groups = budget.groups(prunable(network, traced.map))
    chosen_on = obs_measured.images_wanted(traced.map, groups)
    if scoring.limit is not None:
        chosen_on = scoring.limit * job.config.batch_size
    cost = count(traced.map)
    measuring = work(traced.map, groups, chosen_on)
    estimated = measuring > LONGEST
    # Statistics and solutions take about as long as so many passes, and as measuring's own overhead.
    fitting = 3 * transfer.fit_blocks * per_step(network.input_size[1:])  # forth, and back twice as long
    passes = 12 * chosen_on + 25 * transfer.images + fitting
    inputs = [layer.params // layer.out for layer in cost.layers]  # that an output is made of
    solving = SOLVING * sum(number**3 for number in inputs if gram_bytes(1, number) <= LARGEST_GRAM)
    work_ahead = (0 if estimated else measuring) + passes * cost.macs + solving
    seconds = work_ahead / _macs_per_second(network, cost.macs)
    scoring = replace(scoring, criterion="obs" if estimated else "obs-measured")
    budget = replace(budget, ranking="loss")
    pruning = replace(job.parts, allocation=budget, scoring=scoring, transfer=transfer)
    return replace(job, pruning=pruning), chosen_on, seconds


@torch.no_grad()
def _macs_per_second(network: Network, macs: int) -> float:
    """How fast the network runs here, by one batch after another that warms up."""
    images_NCHW = torch.zeros(TIMED, *network.input_size, device=device_of(network.model))
    with eval_mode(network.model):
        network.model(images_NCHW[:2])
        start = time.perf_counter()
        network.model(images_NCHW).sum().item()
    return TIMED * macs / (time.perf_counter() - start)
