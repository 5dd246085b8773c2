"""Do a network and images go together: in size, and in which class is which."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..data import ImageData
from ..errors import DataError
from .network import Network

_NAMED = 5  # classes that a message names


def matched(network: Network, data: ImageData, *, by_position: bool = False) -> ImageData:
    """The images with their classes in the order of the network's logits.

    Where both know the names of the classes, these say which is which: the same names in another order are
    renumbered. Where one of them knows none, the first class is the first logit.

    Args:
        by_position: the first class is the first logit whatever it is called.

    Raises:
        DataError: names both sizes, both numbers of classes, or the classes that only one of them knows.
    """
    _check_size(network, data)
    if not network.classifies:
        return data
    names, info = network.class_names, data.info
    if info.num_classes != network.num_classes:
        raise DataError(
            f"'{info.name}' has {info.num_classes} classes, '{network.origin}' tells {network.num_classes} "
            "apart; choose the images it was made for with `dataset` and `data_dir`"
        )
    if len(names) != network.num_classes or names == info.class_names:
        return data
    if by_position:
        return data.with_classes(names, range(len(names)))
    _check_names(names, data, network.origin)
    return data.with_classes(names, [names.index(name) for name in info.class_names])


def answering(network: Network, data: ImageData, *, by_position: bool = False) -> Network:
    """The network with its logits in the order of the images' classes: a teacher for a network of that order.

    Raises:
        DataError: as `matched`.
    """
    matched(network, data, by_position=by_position)
    own, wanted = network.class_names, data.info.class_names
    if by_position or own == wanted or len(own) != network.num_classes:
        return network
    order = torch.tensor([own.index(name) for name in wanted])
    return replace(network, model=_Reordered(network.model, order), class_names=wanted)


class _Reordered(nn.Module):
    """A network whose logits come in another order."""

    def __init__(self, model: nn.Module, order_K: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("order_K", order_K, persistent=False)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.model(images_NCHW).index_select(1, self.order_K)


def _check_size(network: Network, data: ImageData) -> None:
    info = data.info
    if not network.input_size:
        raise DataError(
            f"'{network.origin or 'this network'}' takes {network.inputs}, not images; use it from Python"
        )
    if tuple(info.input_size) == tuple(network.input_size):
        return
    have, want = ("x".join(map(str, size)) for size in (info.input_size, network.input_size))
    bare = network.sha256 is not None and not network.history  # its arch's size was taken for its own
    advice = (
        f"say with `image_size` {info.input_size[-1]} that it is for these, or choose others"
        if bare and info.input_size[0] == network.input_size[0]
        else "choose other images"
    )
    raise DataError(
        f"images of '{info.name}' are {have}, '{network.origin}' takes {want}; {advice} with `dataset` "
        f"and `data_dir`, or resize a folder of images with `image_size` {network.input_size[-1]}"
    )


def _check_names(names: tuple[str, ...], data: ImageData, origin: str) -> None:
    """Make sure that every class of the images is one of the network's, and only one."""
    info = data.info
    way_out = (
        "choose the images it was made for with `dataset` and `data_dir`, or insist with "
        "`classes_by_position` that the first class is the first, whatever its name"
    )
    twice = [name for known in (names, info.class_names) for name in set(known) if known.count(name) > 1]
    if twice:
        raise DataError(
            f"'{info.name}' and '{origin}' have their classes in another order, and '{min(twice)}' is the "
            f"name of two; {way_out}"
        )
    lacking = [name for name in names if name not in info.class_names]
    foreign = [name for name in info.class_names if name not in names]
    if lacking or foreign:
        raise DataError(
            f"'{info.name}' and '{origin}' have other classes: only the images have {_listed(foreign)}; "
            f"only the network has {_listed(lacking)}; {way_out}"
        )


def _listed(names: Iterable[str]) -> str:
    """The first few in quotes, and how many more there are."""
    names = [f"'{name}'" for name in names]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
