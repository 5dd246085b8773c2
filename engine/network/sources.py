"""Which network and which images a command works on, where the user left something unsaid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...archs import registry
from ..data import ImageData, open_data
from ..errors import DataError, EngineError
from ..processes.distributed import first_of_machine_goes_first
from ..runs.runs import newest_base
from .files import load_network
from .fresh import new_network
from .matching import matched
from .network import Network
from .reading import UnsaidSize

DEFAULT_DATASET = "digits"
RUNS = Path("runs")


@dataclass(frozen=True)
class Images:
    """How a user describes images; see `engine.data.open_data`, and `matching` for `classes_by_position`."""

    dataset: str | None = None
    data_dir: Path | None = None
    image_size: int | None = None
    download: bool = False
    workers: int = 0
    classes_by_position: bool = False

    def name_for(self, network: Network | None = None) -> str:
        """The data set: the one named, a folder's, the one the network was last measured on, or `digits`."""
        measured_on = (network.accuracy or {}).get("dataset") if network else None
        return self.dataset or ("imagefolder" if self.data_dir else None) or measured_on or DEFAULT_DATASET

    def size_of(self, arch: registry.Arch) -> tuple[int, ...] | int | None:
        """The size of these images, if anybody says it, for a network that is not known by its classes."""
        return self.image_size or (self.open().info.input_size if self.named else arch.input_size)

    @property
    def named(self) -> bool:
        """Does the user say which images?"""
        return bool(self.dataset or self.data_dir)

    def named_for(self, network: Network) -> bool:
        """Does the user, or else the network, say on which images it can be measured?"""
        return self.named or bool((network.accuracy or {}).get("dataset"))

    def at_hand(self, network: Network) -> bool:
        """Are there images that go with the network: those named, or those it was last measured on?"""
        if self.named or not self.named_for(network):
            return self.named
        try:
            self.open(network)
        except DataError:  # where it was measured once is a hint
            return False
        return True

    def remembered(self, network: Network) -> "Images":
        """These images; what is left unsaid is as the network was last measured, as far as it is there."""
        known = network.accuracy or {}
        folder = known.get("data_dir")
        if self.data_dir or self.dataset not in (None, known.get("dataset")) or not isinstance(folder, str):
            return replace(self, dataset=self.name_for(network))
        if not Path(folder).is_dir():
            return replace(self, dataset=self.name_for(network))
        *_, height, width = network.input_size
        size = self.image_size or (width if width == height else None)
        return replace(self, dataset=self.name_for(network), data_dir=Path(folder), image_size=size)

    def open(self, network: Network | None = None) -> ImageData:
        """Open the images, normalised and with their classes in order as the network wants them.

        Raises:
            DataError: no such images, or of another size or other classes than the network's.
        """
        if network is None:
            return self._opened({})
        if network.sha256 is not None and not self.named_for(network):
            raise DataError(
                f"nothing says which images '{network.origin}' is for; say so with `dataset` or `data_dir`"
            )
        try:
            data = self.remembered(network)._opened(network.normalization or {})
        except DataError as error:
            folder = (network.accuracy or {}).get("data_dir")
            if self.data_dir or not folder or Path(str(folder)).is_dir():
                raise
            last = f"'{network.origin}' was last measured in '{folder}', which is not there"
            raise DataError(f"{error}; {last}") from error
        return matched(network, data, by_position=self.classes_by_position)

    def _opened(self, normalization: Mapping[str, list[float]]) -> ImageData:
        with first_of_machine_goes_first():
            return open_data(
                self.name_for(),
                self.data_dir,
                image_size=self.image_size,
                mean=normalization.get("mean"),
                std=normalization.get("std"),
                download=self.download,
                workers=self.workers,
            )

    def open_for_all(self, networks: Sequence[Network]) -> list[ImageData]:
        """Open the same images for several networks, once per normalisation: those the first is meant for.

        Raises:
            DataError: as `open`, for the first network that the images do not go with.
        """
        shared = self.remembered(networks[0]) if self.named_for(networks[0]) else self
        opened: dict[str, ImageData] = {}
        chosen: list[ImageData] = []
        for network in networks:
            normalization = repr(network.normalization)
            if normalization not in opened:
                opened[normalization] = shared.open(network)
            data = opened[normalization]
            chosen.append(matched(network, data, by_position=self.classes_by_position))
        return chosen


def load_for(images: Images, path: Path, arch: str | None, part: str | None = None) -> Network:
    """The network of a file; where nothing else says the size of its images, they are as large as these.

    Raises:
        WeightsError, FitError, ArchError: see `load_network`.
        DataError: the images are looked at, and are not there.
    """
    try:
        return load_network(path, arch, input_size=images.image_size, part=part)
    except UnsaidSize:
        if not images.named:
            raise
        return load_network(path, arch, input_size=images.open().info.input_size, part=part)


def random_network(
    arch: str | None, images: Images, *, num_classes: int | None, seed: int
) -> tuple[Network, ImageData]:
    """A network with seeded random weights, made for these images.

    Raises:
        EngineError: no arch is named.
        ArchError: there is no such arch.
        DataError: no such images, or of another number of classes or another size than asked for.
    """
    if arch is None:
        raise EngineError(
            "a network with random weights needs the name of its arch; give `arch`, one of "
            f"{', '.join(registry.names())}; or torchvision:NAME, or package.module:factory"
        )
    data = images.open()
    info = data.info
    if num_classes not in (None, info.num_classes):
        raise DataError(
            f"`num_classes` {num_classes}, but '{info.name}' has {info.num_classes}; leave that out"
        )
    network = new_network(arch, num_classes=info.num_classes, input_size=info.input_size, seed=seed)
    return network, matched(network, data)


@dataclass(frozen=True)
class Source:
    """A network, the words that say where its weights come from, and whether they mean anything."""

    network: Network
    weights: str
    trained: bool


def find_network(
    path: Path | None,
    arch: str | None,
    images: Images,
    *,
    num_classes: int | None,
    part: str | None = None,
    seed: int,
) -> Source:
    """The network of a file, or the newest base run of an arch and data set, or seeded random weights.

    Args:
        part: the path of the module that is to be pruned, where that is not the whole network.

    Raises:
        EngineError: neither a file nor an arch was given, or the file has another number of classes.
    """
    if path is not None:
        network = load_for(images, path, arch, part)
        if num_classes not in (None, network.num_classes):
            raise EngineError(
                f"'{path}' tells {network.num_classes} classes apart, "
                f"not the {num_classes} of `num_classes`; "
                "leave that out"
            )
        return Source(network, str(path), trained=True)
    if arch is None:
        raise EngineError("give a weight file, or the name of a network with `arch`")
    known = registry.get(arch)
    name = known.name
    unseen = images.image_size is not None and not images.named  # of a size that no data set is asked for
    if part or known.classifies is False or unseen:
        network = new_network(
            name, num_classes=num_classes, input_size=images.size_of(known), part=part or "", seed=seed
        )
        return Source(network, f"random weights, seed {seed}", trained=False)
    base = newest_base(RUNS, name, images.name_for())
    if base is not None:
        return Source(
            load_network(base, name),
            f"{base}, the newest base of {name} on {images.name_for()}",
            trained=True,
        )
    info = images.open().info
    made_for = known.input_size
    # A network for grey images cannot take coloured ones of any size, so it keeps its own.
    fits = made_for is None or made_for[0] == info.input_size[0]
    network = new_network(
        name,
        num_classes=num_classes or info.num_classes,
        input_size=info.input_size if fits else made_for,
        seed=seed,
    )
    return Source(network, f"random weights, seed {seed}", trained=False)
