"""Folders of class folders of images: which files there are, before any is opened."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of one split, sorted by class and name.

    Attributes:
        names: per image, its path within the folder.
        labels: per image, the position of its class folder among `class_names`.
    """

    folder: Path
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: Tensor

    def path(self, position: int) -> Path:
        """The file of one image."""
        return self.folder / self.names[position]

    def fingerprint(self, *, also_changed: bool = False) -> str:
        """A digest of the files' names, sizes and times of modification; 64 hex digits.

        Args:
            also_changed: also of the time when anything about them changed, which nobody can set.
        Raises:
            DataError: a file is gone, or a link that leads nowhere.
        """
        digest = hashlib.sha256()
        for name in self.names:
            status = _status(f"{self.folder}/{name}")
            words = f"{name}\0{status.st_size}\0{status.st_mtime_ns}"
            changed = f"\0{status.st_ctime_ns}" if also_changed else ""
            digest.update(f"{words}{changed}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def first_of_each_class(self) -> list[Path]:
        """One file per class."""
        firsts = torch.searchsorted(self.labels, torch.arange(len(self.class_names)))
        return [self.path(first) for first in firsts.tolist()]


def list_splits(root: Path) -> dict[str, Listing]:
    """List `train` and, as the split `test`, the folder `val` or else `test`.

    Hidden files and folders are passed over, and files that are no images by their suffix; folders inside a
    class folder belong to the class.

    Raises:
        DataError: the root, a split, a class or all the images of a class are missing, or the classes differ.
    """
    if not root.is_dir():
        raise DataError(f"no folder {str(root)!r}; `data_dir` names one with train/ and val/ (or test/)")
    held_out = "val" if (root / "val").is_dir() else "test"
    for folder in ("train", held_out):
        if not (root / folder).is_dir():
            wanted = "train/ and val/ (or test/), each with one folder of images per class"
            missing = "'train'" if folder == "train" else "'val' or 'test'"
            raise DataError(f"no folder {missing} in {str(root)!r}; expected {wanted}")
    splits = {"train": _list(root / "train"), "test": _list(root / held_out)}
    _require_same_classes(splits["train"], splits["test"])
    return splits


def fingerprint_of(listings: Mapping[str, Listing]) -> str:
    """A digest of the files of all splits; see `Listing.fingerprint`."""
    return hashlib.sha256(
        "".join(listing.fingerprint() for listing in listings.values()).encode()
    ).hexdigest()


def _list(folder: Path) -> Listing:
    classes = sorted(
        name for name in os.listdir(folder) if _is_visible(name) and _is_folder(os.path.join(folder, name))
    )
    if not classes:
        raise DataError(f"no class folders in {str(folder)!r}; expected one folder of images per class")
    names: list[str] = []
    labels: list[int] = []
    for label, class_name in enumerate(classes):
        images = _images_below(folder, class_name)
        if not images:
            raise DataError(
                f"no images in {str(folder / class_name)!r}; known suffixes are {', '.join(SUFFIXES)}"
            )
        names += images
        labels += [label] * len(images)
    return Listing(folder, tuple(classes), tuple(names), torch.tensor(labels))


def _is_folder(path: str) -> bool:
    return stat.S_ISDIR(_status(path).st_mode)


def _status(path: str) -> os.stat_result:
    """What a path leads to.

    Raises:
        DataError: nothing.
    """
    try:
        return os.stat(path)
    except OSError as error:
        raise DataError(f"cannot read {path!r}: {error.strerror}; bring it back, or remove it") from error


def _images_below(folder: Path, class_name: str) -> list[str]:
    found: list[str] = []
    above: dict[str, frozenset[tuple[int, int]]] = {}  # what each lies in: links may lead in circles
    for here, subfolders, files in os.walk(folder / class_name, followlinks=True):
        status = _status(here)
        own, parents = (status.st_dev, status.st_ino), above.get(os.path.dirname(here), frozenset())
        if own in parents:
            subfolders.clear()
            continue
        above[here] = parents | {own}
        subfolders[:] = filter(_is_visible, subfolders)
        images = (file for file in files if _is_visible(file) and file.lower().endswith(SUFFIXES))
        inside = Path(here).relative_to(folder).as_posix()
        found += [f"{inside}/{file}" for file in images]
    return sorted(found)


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _require_same_classes(train: Listing, test: Listing) -> None:
    if train.class_names == test.class_names:
        return
    differences = [
        f"{name!r} is only in {str(have.folder)!r}"
        for have, lack in ((train, test), (test, train))
        for name in have.class_names
        if name not in lack.class_names
    ]
    more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
    raise DataError(f"the class folders of the two splits differ: {', '.join(differences[:3])}{more}")
