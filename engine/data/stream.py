"""Images too large for memory: decoded by worker processes when they are read, in order."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ..errors import DataError
from .base import Batch, DataInfo, ImageData, Request
from .decode import decode_rgb
from .keys import STREAM, draw
from .listing import Listing, fingerprint_of


class StreamedData(ImageData):
    """Images as files.

    As is usual on ImageNet: trains on random crops of 8 to 100 % of the area and flips, tests on the central
    crop of images scaled to 256/224 of its side.
    """

    def __init__(self, info: DataInfo, listings: Mapping[str, Listing], workers: int) -> None:
        """`workers` processes decode; 0 means that this one does."""
        super().__init__(info)
        self._listings, self._workers = listings, workers

    def size(self, split: str) -> int:
        """The number of images of a split."""
        return len(self._listings[split].names)

    def fingerprint(self) -> str:
        """See `ImageData`."""
        return fingerprint_of(self._listings)

    def _read(self, split: str, requests: Sequence[Request], device: torch.device) -> Iterator[Batch]:
        loader = DataLoader(
            _Batches(self._listings[split], requests, self.info.input_size[1]),
            batch_size=None,
            num_workers=self._workers,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or else the loader draws from everybody's random numbers
        )
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            images_NCHW, labels_N = batch
            yield images_NCHW.to(device, non_blocking=True), labels_N.to(device, non_blocking=True)


class _Batches(Dataset[Batch | DataError]):
    """Whole batches by number; an error is an item too, since the loader would bury it in a traceback."""

    def __init__(self, listing: Listing, requests: Sequence[Request], side: int) -> None:
        self._listing, self._requests = listing, requests
        self._crop = v2.Compose([v2.Resize(round(side * 256 / 224)), v2.CenterCrop(side)])
        self._augment = v2.Compose([v2.RandomResizedCrop(side), v2.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, number: int) -> Batch | DataError:
        request = self._requests[number]
        seeds = [None] * len(request.indices)
        if request.keys is not None:
            seeds = draw(request.keys, STREAM, below=2**63 - 1).tolist()
        try:
            images = [self._image(i, seed) for i, seed in zip(request.indices.tolist(), seeds, strict=True)]
        except DataError as error:
            return DataError(
                str(error)
            )  # without its cause, which might not survive the way between processes
        return torch.stack(images), self._listing.labels[request.indices]

    def _image(self, position: int, seed: int | None) -> Tensor:
        image = decode_rgb(self._listing.path(position))
        if seed is None:
            return v2.functional.pil_to_tensor(self._crop(image))
        # torchvision draws from the global generator: seeded here per image, and put back afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return v2.functional.pil_to_tensor(self._augment(image))
