"""How images were normalised for networks whose files carry no word on it."""

IMAGENET_NORMALIZATION = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_HRANK_CIFAR = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
_FPGM_CIFAR = {
    "mean": [125.3 / 255, 123.0 / 255, 113.9 / 255],
    "std": [63.0 / 255, 62.1 / 255, 66.7 / 255],
}
# Checkpoints in these styles carry no word on it, but were all trained with this normalisation.
NORMALIZATION_OF_STYLE = {
    "akamaster": IMAGENET_NORMALIZATION,
    "torchvision": IMAGENET_NORMALIZATION,
    "hrank-resnet": _HRANK_CIFAR,
    "hrank-vgg": _HRANK_CIFAR,
    "hrank-densenet": _HRANK_CIFAR,
    "hrank-googlenet": _HRANK_CIFAR,
    "hrank-mobilenet": IMAGENET_NORMALIZATION,
    "hrank-mobilenet-v2": IMAGENET_NORMALIZATION,
    "fpgm-resnet": _FPGM_CIFAR,
    "fpgm-vgg": _HRANK_CIFAR,
}
