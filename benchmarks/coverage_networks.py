"""The networks of `make coverage`: by name, how to build each, and what it is called with.

Every one can be built again by name alone, `coverage_networks:NAME`, as files of them need: `timm__NAME`,
`hugging__NAME` and `own__NAME` are made up when they are asked for.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

TIMM = Path(__file__).with_name("coverage_timm.txt")
WHOLE_DETECTORS = ("ssd", "fasterrcnn", "fcos", "keypointrcnn", "maskrcnn", "retinanet")


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        name: family:member.
        arch: what builds it.
        args, kwargs: what it, or its part, is called with.
        part: what of it is pruned, where that is not all.
    """

    name: str
    arch: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    part: str = ""


def cases() -> list[Case]:
    """All of them, in an order that mixes large and small."""
    return [*_torchvision(), *_timm(), *_hugging(), *_own()]


def build(case: Case) -> nn.Module:
    """The network, with random weights."""
    from prune.archs import registry

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return registry.get(case.arch).build(registry.get(case.arch).num_classes or 0)


def _torchvision() -> list[Case]:
    from prune.archs import registry
    from prune.archs.from_torchvision import torchvision_names

    found = []
    for name in torchvision_names():
        arch = registry.get(f"torchvision:{name}")
        channels, *sides = arch.input_size or (3, 64, 64)
        fixed = name.startswith(("swin", "maxvit", "mvit", "raft", "inception", "googlenet", "quantized_"))
        small = sides if fixed or name.startswith("ssd") else [*sides[:-2], 64, 64]
        if name.startswith("vit"):
            small = [224, 224]
        elif name == "quantized_inception_v3":
            small = [299, 299]
        elif name.startswith("s3d"):
            small = [16, 224, 224]
        images = torch.randn(2, channels, *small)
        part = "backbone" if name.startswith(WHOLE_DETECTORS) else ""
        found.append(Case(f"torchvision:{name}", arch.name, (images,) * arch.images, part=part))
    return found


def _timm() -> list[Case]:
    lines = (line.split() for line in TIMM.read_text().splitlines() if not line.startswith("#"))
    return [
        Case(f"timm:{name}", f"coverage_networks:timm__{name}", (torch.randn(2, 3, int(side), int(side)),))
        for name, side in lines
    ]


def _hugging() -> list[Case]:
    sides = {"swin": 128}
    return [
        Case(
            f"transformers:{name}",
            f"coverage_networks:hugging__{name}",
            (),
            {"pixel_values": torch.randn(2, 3, sides.get(name, 64), sides.get(name, 64))},
        )
        for name in _HUGGING
    ]


_HUGGING: dict[str, tuple[str, str, dict[str, Any]]] = {
    "resnet": ("ResNetConfig", "ResNetForImageClassification", {"depths": [2, 2, 2, 2]}),
    "vit": (
        "ViTConfig",
        "ViTForImageClassification",
        {"image_size": 64, "hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 3},
    ),
    "convnext": ("ConvNextConfig", "ConvNextForImageClassification", {}),
    "segformer": ("SegformerConfig", "SegformerForSemanticSegmentation", {}),
    "regnet": ("RegNetConfig", "RegNetForImageClassification", {}),
    "mobilenet_v2": ("MobileNetV2Config", "MobileNetV2ForImageClassification", {}),
    "swin": ("SwinConfig", "SwinForImageClassification", {"image_size": 128, "window_size": 4}),
}


def _own() -> list[Case]:
    from coverage_own import OWN

    return [Case(f"own:{name}", f"coverage_networks:own__{name}", args) for name, (_, args) in OWN.items()]


def __getattr__(name: str) -> Callable[[], nn.Module]:
    family, _, member = name.partition("__")
    if family == "timm":
        return lambda: importlib.import_module("timm").create_model(member, pretrained=False)
    if family == "hugging":
        return lambda: _of_hugging_face(*_HUGGING[member])
    if family == "own":
        return lambda: importlib.import_module("coverage_own").OWN[member][0]()
    raise AttributeError(name)


def _of_hugging_face(config: str, model: str, options: dict[str, Any]) -> nn.Module:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**options))
