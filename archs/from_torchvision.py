"""torchvision's classification networks, under their own names and with their own parameter names."""

from typing import Any

from torch import nn
from torchvision import models

from .arch import Arch
from .errors import ArchError, UnknownArch, nearest

_WARNS_ABOUT_ITS_INITIALISATION = {"googlenet", "inception_v3"}


def torchvision_names() -> list[str]:
    """The networks that classify single images."""
    return models.list_models(module=models)


def torchvision_arch(name: str) -> Arch:
    """Describe torchvision's network `name`; nothing is downloaded.

    Raises:
        UnknownArch: torchvision has no such network.
        ArchError: it has, but the network does something else than classify single images in floating point.
    """
    if name not in torchvision_names():
        raise _refusal(name)
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


def _refusal(name: str) -> ArchError:
    if name in models.list_models():
        kind = models.get_model_builder(name).__module__.removeprefix("torchvision.models.").partition(".")[0]
        return ArchError(
            f"torchvision:{name} is a {kind} network; only image classification networks can be used"
        )
    listed = "torchvision.models.list_models() lists them"
    near = nearest(name, torchvision_names(), otherwise=listed, prefix="torchvision:")
    return UnknownArch(f"torchvision has no network {name!r}; {near}")
