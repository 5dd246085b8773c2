"""How well a network does on the images of a data set."""

import time
from collections.abc import Generator, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...weights.errors import first_line
from ..data.base import Batch, DataInfo, ImageData
from ..errors import DataError
from ..events import Accuracy, Tested, unwatched
from ..modules.eval_mode import eval_mode
from ..processes.distributed import add_up, processes, shard

TOP5_FROM_CLASSES = 10  # top-5 of a handful of classes says nothing


def evaluate(
    model: nn.Module,
    data: ImageData,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    split: str = "test",
    limit: int | None = None,
    precision: str = "fp32",
) -> Accuracy:
    """Test `model` as `evaluating` does, without the progress."""
    return unwatched(
        evaluating(
            model, data, batch_size=batch_size, device=device, split=split, limit=limit, precision=precision
        )
    )


def evaluating(
    model: nn.Module,
    data: ImageData,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    split: str = "test",
    limit: int | None = None,
    precision: str = "fp32",
) -> Generator[Tested, None, Accuracy]:
    """Test `model`, in evaluation mode, on one split; its own mode comes back afterwards.

    Where several processes work together, each must call this: each tests its share, and all get the sum.

    Args:
        model: images_NCHW -> logits_NK; it must be on `device`.
        limit: at most so many batches.
        precision: `fp32`, or `bf16` for bfloat16 autocast; the loss is summed in float64 either way.

    Yields:
        How far it got, once per batch.

    Returns:
        The accuracy; its mean loss weighs every image alike, however the batches are cut.

    Raises:
        DataError: the split is empty, or network and images do not go together.
    """
    begin = time.perf_counter()
    device = torch.device(device)
    total = data.size(split) if limit is None else min(limit * batch_size, data.size(split))
    with_top5 = data.info.num_classes >= TOP5_FROM_CLASSES
    sums_4 = torch.zeros(4, dtype=torch.float64, device=device)
    own_size = -(-batch_size // processes())
    tested = 0
    with eval_mode(model):
        for images_NCHW, labels_N in data.batches(split, own_size, device=device, limit=limit, shard=shard()):
            if not tested:
                check_on_one_image(model, images_NCHW, data.info)
            sums_4 += _batch_sums(model, images_NCHW, labels_N, precision == "bf16", with_top5)
            tested += len(labels_N)
            yield Tested(done=min(tested * processes(), total), images=total)
    none = f"data set '{data.info.name}' has no images in '{split}' to evaluate on"
    return _accuracy(add_up(sums_4), with_top5, none, begin)


def evaluating_on(
    model: nn.Module, batches: Iterable[Batch], num_classes: int, *, total: int = 0
) -> Generator[Tested, None, Accuracy]:
    """As `evaluating`, on whatever batches there are, on the model's device.

    Args:
        batches: (images_NCHW, labels_N).
        num_classes: that the model tells apart.
        total: how many batches there are, if that is known.

    Raises:
        DataError: there are no images, or images without labels.
    """
    begin = time.perf_counter()
    with_top5 = num_classes >= TOP5_FROM_CLASSES
    sums_4 = torch.zeros(4, dtype=torch.float64)
    with eval_mode(model):
        for done, (images_NCHW, labels_N) in enumerate(batches, 1):
            if len(labels_N) != len(images_NCHW):
                raise DataError(
                    f"a batch has {len(images_NCHW)} images and {len(labels_N)} labels; to evaluate, give "
                    "(images_NCHW, labels_N)"
                )
            sums_4 += _batch_sums(model, images_NCHW, labels_N, False, with_top5).cpu()
            yield Tested(done=done, images=total)
    return _accuracy(sums_4, with_top5, "there are no images to evaluate on", begin)


def _accuracy(sums_4: Tensor, with_top5: bool, without: str, begin: float) -> Accuracy:
    """Means of summed loss, top-1 hits, top-5 hits and images.

    Raises:
        DataError: of no images.
    """
    loss, top1, top5, images = sums_4.tolist()
    if not images:
        raise DataError(without)
    return Accuracy(
        top1=100 * top1 / images,
        top5=100 * top5 / images if with_top5 else None,
        loss=loss / images,
        images=int(images),
        seconds=time.perf_counter() - begin,
    )


@torch.inference_mode()  # per batch: held across a yield, it would leak into the caller
def _batch_sums(
    model: nn.Module, images_NCHW: Tensor, labels_N: Tensor, bf16: bool, with_top5: bool
) -> Tensor:
    """Summed loss, top-1 hits, top-5 hits and images of one batch, float64, still on the device."""
    with torch.autocast(images_NCHW.device.type, torch.bfloat16, enabled=bf16):
        logits_NK = model(images_NCHW)
    logits_NK = logits_NK.float()
    loss = F.cross_entropy(logits_NK, labels_N, reduction="none").double().sum()
    top1 = (logits_NK.argmax(1) == labels_N).sum()
    top5 = (logits_NK.topk(5).indices == labels_N[:, None]).sum() if with_top5 else torch.zeros_like(top1)
    return torch.stack([loss, top1.double(), top5.double(), torch.full_like(loss, len(labels_N))])


def check_on_one_image(model: nn.Module, images_NCHW: Tensor, info: DataInfo) -> None:
    """Try one image, so that a network that does not go with the data is told apart from other trouble.

    Raises:
        DataError: the network cannot take such images, or does not give one logit per class.
    """
    try:
        with eval_mode(model), torch.inference_mode():
            logits_NK = model(images_NCHW[:1])
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        size = "x".join(map(str, images_NCHW.shape[1:]))
        raise DataError(
            f"the network cannot take the {size} images of data set '{info.name}': {first_line(error)}"
        ) from error
    shape = tuple(logits_NK.shape) if isinstance(logits_NK, Tensor) else type(logits_NK).__name__
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise DataError(
            f"the network returns {shape}, not one row of logits per image; only classifiers have a top-1: "
            "measure others from Python, with `prune.evaluate` and its `metric`"
        )
    if shape != (1, info.num_classes):
        raise DataError(
            f"the network answers with {shape[1]} classes, data set '{info.name}' has {info.num_classes} "
            "classes; choose the data set it was made for, or build it with that number of classes"
        )
