"""torchvision's networks, under their own names and with their own parameter names."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision import models

from .arch import Arch
from .errors import UnknownArch, nearest

_WARNS_ABOUT_ITS_INITIALISATION = {"googlenet", "inception_v3"}


@dataclass(frozen=True)
class _Family:
    """Networks of one of torchvision's modules.

    Attributes:
        input_size: of what they are called with, where their weights do not say it.
        classes: what they tell apart; 0 where they cannot be asked for another number.
        images: how many batches of images they are called with at once.
        options: what their builders are given, so that nothing is downloaded.
    """

    input_size: tuple[int, ...]
    classes: int
    images: int = 1
    options: tuple[tuple[str, Any], ...] = ()


_FAMILIES = {
    "segmentation": _Family((3, 224, 224), 21, options=(("weights_backbone", None),)),
    "detection": _Family((3, 320, 320), 91, options=(("weights_backbone", None),)),
    "video": _Family((3, 16, 112, 112), 400),
    "optical_flow": _Family((3, 128, 128), 0, images=2),
    "quantization": _Family((3, 224, 224), 1000, options=(("quantize", False),)),
}
_BY_ITSELF = {"s3d": (3, 16, 224, 224), "mvit_v1_b": (3, 16, 224, 224), "mvit_v2_s": (3, 16, 224, 224)}
_BY_ITSELF |= dict.fromkeys(("swin3d_t", "swin3d_s", "swin3d_b"), (3, 16, 224, 224))


def torchvision_names() -> list[str]:
    """The networks there are; those that classify single images first."""
    classifiers = models.list_models(module=models)
    return [*classifiers, *(name for name in models.list_models() if name not in classifiers)]


def torchvision_arch(name: str) -> Arch:
    """Describe torchvision's network `name`; nothing is downloaded.

    Raises:
        UnknownArch: torchvision has no such network.
    """
    if name not in torchvision_names():
        listed = "torchvision.models.list_models() lists them"
        near = nearest(name, torchvision_names(), otherwise=listed, prefix="torchvision:")
        raise UnknownArch(f"torchvision has no network {name!r}; {near}")
    kind = models.get_model_builder(name).__module__.removeprefix("torchvision.models.").partition(".")[0]
    family = _FAMILIES.get(kind)
    if family is None:
        return _classifier(name)
    options = dict(family.options)

    def build(num_classes: int) -> nn.Module:
        asked = {"num_classes": num_classes} if family.classes and num_classes else {}
        return models.get_model(name, weights=None, **options, **asked)

    return Arch(
        name=f"torchvision:{name}",
        build=build,
        num_classes=family.classes,
        input_size=_BY_ITSELF.get(name, family.input_size),
        source=f"torchvision.models.{kind}.{name.removeprefix('quantized_')}",
        images=family.images,
        classifies=kind in ("video", "quantization"),
    )


def _classifier(name: str) -> Arch:
    options: dict[str, Any] = {"init_weights": False} if name in _WARNS_ABOUT_ITS_INITIALISATION else {}
    weights: Any = models.get_model_weights(name)
    crop = weights.DEFAULT.transforms.keywords["crop_size"]

    def build(num_classes: int) -> nn.Module:
        return models.get_model(name, weights=None, num_classes=num_classes, **options)

    return Arch(
        name=f"torchvision:{name}",
        build=build,
        num_classes=len(weights.DEFAULT.meta["categories"]),
        input_size=(3, crop, crop),
        source=f"torchvision.models.{name}",
    )
