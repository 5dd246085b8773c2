"""What training minimises."""

import torch.nn.functional as F
from torch import Tensor

AUXILIARY_WEIGHT = 0.3


def classification_loss(
    outputs: Tensor | tuple[Tensor | None, ...], labels_N: Tensor, smoothing: float
) -> Tensor:
    """Mean cross-entropy in nats, float32, with label smoothing.

    A network with auxiliary heads answers a tuple while it trains, its own logits first; each auxiliary loss
    counts 0.3 (Szegedy et al., CVPR 2015, arXiv 1409.4842, section 5).
    """
    first_NK, *auxiliary = (outputs,) if isinstance(outputs, Tensor) else outputs
    assert first_NK is not None
    loss = F.cross_entropy(first_NK.float(), labels_N, label_smoothing=smoothing)
    for logits_NK in auxiliary:
        if logits_NK is not None:
            smoothed = F.cross_entropy(logits_NK.float(), labels_N, label_smoothing=smoothing)
            loss = loss + AUXILIARY_WEIGHT * smoothed
    return loss


def distillation_loss(student_NK: Tensor, teacher_NK: Tensor, temperature: float) -> Tensor:
    """Compare softened answers: T^2 KL(teacher || student), mean over images, in nats.

    Hinton et al. 2015, arXiv 1503.02531, section 2: their cross-entropy with soft targets is this divergence
    but for a constant, and T^2 keeps its gradients on the scale of the hard labels'.
    """
    log_student_NK = F.log_softmax(student_NK.float() / temperature, dim=1)
    log_teacher_NK = F.log_softmax(teacher_NK.float() / temperature, dim=1)
    divergence = F.kl_div(log_student_NK, log_teacher_NK, reduction="batchmean", log_target=True)
    return temperature**2 * divergence
