"""How far a changed network's answers are from its own: in nats, or in units of their spread."""

import zlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def divergence(own: Sequence[Tensor], changed: Sequence[Tensor]) -> float:
    """Summed over the samples of a batch: how far answers are from the network's own.

    Of one row of logits per sample, KL(own || changed). Of other tensors, half the mean squared difference in
    units of the variance of the network's own: the divergence of Gaussians around the answers.
    """
    if is_logits(own):
        own_NK, changed_NK = own[0].double().log_softmax(1), changed[0].double().log_softmax(1)
        return float((own_NK.exp() * (own_NK - changed_NK)).sum())
    total = 0.0
    for mine, other in zip(_numbers(own), _numbers(changed), strict=True):
        samples = max(1, mine.shape[0] if mine.dim() else 1)
        total += float(((mine - other).double() / _spread(mine)).square().mean()) * samples / 2
    return total


def own_loss(own: Sequence[Tensor], content_NX: Tensor, seed: int) -> Tensor:
    """A loss whose squared slopes are, on average, twice what the divergence grows by with squared changes.

    Of logits, the cross entropy with labels drawn from the network's own softmax; of other tensors, their
    product with white noise, in units of their spread.

    Args:
        own: what the network returns.
        content_NX: what tells the samples apart.
        seed: of what is drawn.
    """
    if is_logits(own):
        return F.cross_entropy(own[0], own_labels(own[0], content_NX, seed), reduction="sum")
    draws = torch.Generator().manual_seed(
        zlib.crc32(content_NX.detach().float().cpu().numpy().tobytes(), seed)
    )
    loss = torch.zeros((), device=own[0].device)
    for mine in _numbers(own):
        noise = torch.randn(mine.shape, generator=draws).to(mine)
        each = mine.numel() / max(1, mine.shape[0] if mine.dim() else 1)
        loss = loss + (mine * noise).sum() / (_spread(mine) * each**0.5)
    return loss


def own_labels(logits_NK: Tensor, content_NX: Tensor, seed: int) -> Tensor:
    """One label per image out of the network's own softmax.

    What is drawn depends on the image itself and not on its place, so that it is the same in any batch and
    in any process.
    """
    pixels = content_NX.detach().float().cpu().numpy()
    draws = torch.tensor([zlib.crc32(image.tobytes(), seed) / 2**32 for image in pixels], dtype=torch.float64)
    cumulated_NK = logits_NK.detach().double().softmax(1).cumsum(1)
    labels_N = (cumulated_NK < draws[:, None].to(cumulated_NK.device)).sum(1)
    return labels_N.clamp_max(logits_NK.shape[1] - 1)


def is_logits(returned: Sequence[Tensor]) -> bool:
    """Is it one row of logits per sample?"""
    return len(returned) == 1 and returned[0].dim() == 2


def _numbers(returned: Sequence[Tensor]) -> list[Tensor]:
    return [tensor for tensor in returned if tensor.is_floating_point() and tensor.numel()]


def _spread(own: Tensor) -> Tensor:
    return own.detach().double().std(correction=0).clamp_min(1e-12).to(own)
