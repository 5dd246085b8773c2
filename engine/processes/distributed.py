"""Several processes that work as one: how they meet, share their work, and add up what each of them found.

Every process holds the whole network and does the same, on its own share of the images. A process that is
alone can call everything here: nothing is waited for, and it gets back its own. `number` is what torch calls
rank, a word that means something else in this project.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from ..devices import resolve_device
from ..errors import EngineError, ProcessError, TrainingError
from .attempts import own_part

PATIENCE = timedelta(minutes=10)  # for a process that is alive and silent; one that ended is noticed at once
LAUNCHER = "PRUNE_LAUNCHER"  # in the environment: the port of the store that the launching process keeps
WAY_BACK = "way back"  # in the store: how to go on after the job was cut short
SPEAKER = "speaker"  # in the store: which process says why the job failed

T = TypeVar("T")

_store: Store | None = None


def launched() -> bool:
    """Was this process started as one of several, by torchrun or by `--nproc`?"""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(device: str) -> torch.device:
    """Meet the other processes, if there are any, and find the device of this one.

    On each machine, the first process takes the first GPU, the second the second.

    Raises:
        EngineError: the device is one GPU for all, or there are fewer GPUs than processes.
        ProcessError: the others do not come.
    """
    global _store
    where = resolve_device(device)
    if not launched():
        return where
    if where.type == "cuda":
        where = _own_gpu(device)
        torch.cuda.set_device(where)
    with contact():
        _store = _meet()
        dist.init_process_group(
            "gloo" if where.type == "cpu" else "cpu:gloo,cuda:nccl",
            store=PrefixStore("group", _store),
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=PATIENCE,
        )
    return where


def _own_gpu(device: str) -> torch.device:
    local, present = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if ":" in device:
        raise EngineError(f"device '{device}' is one GPU, and each process needs its own; use `device` cuda")
    if local >= present:
        raise EngineError(
            f"process {local} of this machine needs a GPU of its own, and there are {present}; "
            "start fewer processes, or use `device` cpu"
        )
    return torch.device("cuda", local)


def keep_store() -> TCPStore:
    """The store where the processes meet that this one launches; they find its `port` under `LAUNCHER`."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def _meet() -> Store:
    port = os.environ.get(LAUNCHER)
    if port is not None:
        return TCPStore("127.0.0.1", int(port), is_master=False, timeout=PATIENCE)
    store, own, count = next(rendezvous("env://", timeout=PATIENCE))
    return own_part(store, own, count, PATIENCE)


def leave() -> None:
    """Part from the other processes, once all work is done."""
    global _store
    if dist.is_initialized():
        dist.destroy_process_group()
        _store = None


def number() -> int:
    """Which of the processes this is, counted from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many processes work on this."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Is this the process that writes the files?"""
    return number() == 0


def shard() -> tuple[int, int]:
    """This process's share of the images, as `ImageData.batches` takes it."""
    return number(), processes()


def share_of(batch_size: int) -> int:
    """How many images of every batch are this process's.

    Raises:
        TrainingError: the batch cannot be dealt out evenly.
    """
    if batch_size % processes():
        raise TrainingError(
            f"batch size {batch_size} cannot be shared by {processes()} processes; "
            f"give `batch_size` a multiple of {processes()}"
        )
    return batch_size // processes()


def add_up(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place."""
    if processes() > 1:
        with contact():
            dist.all_reduce(tensor)
    return tensor


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives the first process, in every process; the others do not call it."""
    if processes() == 1:
        return make()
    made = [make() if is_first() else None]
    with contact():
        dist.broadcast_object_list(made)
    return made[0]  # pyright: ignore[reportReturnType]


@contextmanager
def first_of_machine_goes_first() -> Iterator[None]:
    """Let one process of each machine do this alone, then the others: where it fills a cache they share."""
    waits = processes() > 1 and os.environ.get("LOCAL_RANK", "0") != "0"
    if waits:
        _wait_for_all()
    yield
    if processes() > 1 and not waits:
        _wait_for_all()


def _wait_for_all() -> None:
    add_up(torch.zeros(1))


def averaging_gradients(model: nn.Module) -> nn.Module:
    """The network as training is to call it: backward passes end with gradients averaged over processes.

    `model` itself keeps its names, its modules and its parameters, and is what everybody else works with.
    Buffers are left alone; see `average_running_statistics`.
    """
    if processes() == 1:
        return model
    # PyTorch renamed the option in 2.15. A static graph lets parameters sit out that the loss does not reach.
    renamed = "forward_sync_buffers" in DistributedDataParallel.__init__.__annotations__
    buffers_alone: dict[str, Any] = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
    return DistributedDataParallel(model, static_graph=True, **buffers_alone)


def average_running_statistics(model: nn.Module) -> None:
    """Average the running means and variances of all processes, each having seen other images.

    Such a statistic is a weighted sum of those of its batches, so this equals averaging after every step.
    """
    norms = [module for module in model.modules() if isinstance(module, _NormBase)]
    kept = [statistic_C for norm in norms for statistic_C in (norm.running_mean, norm.running_var)]
    statistics = [statistic_C for statistic_C in kept if statistic_C is not None]
    if processes() == 1 or not statistics:
        return
    means = add_up(torch.cat(statistics)) / processes()
    widths = [len(statistic_C) for statistic_C in statistics]
    for statistic_C, mean_C in zip(statistics, means.split(widths), strict=True):
        statistic_C.copy_(mean_C)


def require_same(tensors: Mapping[str, Tensor]) -> None:
    """Make sure that all processes hold the same numbers, by a sum over the bits of each tensor.

    Raises:
        TrainingError: names the first tensor that differs.
    """
    if processes() == 1 or not tensors:
        return
    sums_T = torch.stack([_bits(tensor) for tensor in tensors.values()]).cpu()
    extremes = torch.stack([sums_T, -sums_T])
    with contact():
        dist.all_reduce(extremes, dist.ReduceOp.MAX)
    differs_T = extremes[0] != -extremes[1]
    if differs_T.any():
        first = list(tensors)[int(differs_T.nonzero()[0])]
        raise TrainingError(
            f"the processes no longer hold the same '{first}' ({int(differs_T.sum())} of {len(tensors)} "
            "tensors differ): something changes weights in one process alone, or a machine computes wrongly"
        )


def _bits(tensor: Tensor) -> Tensor:
    """The sum of a tensor's elements, their bits read as integers."""
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().view(integers[tensor.element_size()]).sum(dtype=torch.int64)


def mean_over_images(sums: Mapping[str, Tensor], images: int) -> dict[str, Tensor]:
    """Divide sums over this process's images, added up over all processes, by the number of all images."""
    total = int(add_up(torch.tensor(images)))
    return {name: add_up(sum_F).double() / total for name, sum_F in sums.items()}


def claim(deed: str) -> bool:
    """Is this the first of the processes to claim what only one of them is to do? Waits for none of them."""
    if _store is None:
        return os.environ.get("RANK", "0") == "0"
    try:
        return _store.add(f"done: {deed}", 1) == 1
    except RuntimeError:  # the store went down with the process that kept it: the launcher, or the first
        return is_first()


def may_speak() -> bool:
    """Is this the first process to fail, which says why? The launching process then lets it finish."""
    own = os.environ.get("RANK", "0")
    if _store is None:
        return own == "0"
    try:
        return _store.compare_set(SPEAKER, "", own).decode() == own
    except RuntimeError:  # as in `claim`
        return is_first()


def leave_word(text: str) -> None:
    """Tell the launching process, if there is one, how to go on when this job is cut short."""
    if _store is not None and is_first():
        _store.set(WAY_BACK, text)


@contextmanager
def contact() -> Iterator[None]:
    """Tell the loss of another process apart from other trouble; gloo's errors are plain RuntimeErrors."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        minutes = PATIENCE.seconds // 60
        raise ProcessError(
            f"another process of this job ended, or was silent for {minutes} minutes"
        ) from error
