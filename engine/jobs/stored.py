"""Settings as `config.json` keeps them, plain values only, and back."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data import ImageData
from ..network.sources import Images
from ..training.config import TrainConfig


def stored_images(images: Images, data: ImageData) -> dict[str, Any]:
    """How the images are found again, the data set's name filled in."""
    folder = None if images.data_dir is None else str(images.data_dir.resolve())
    return {**asdict(images), "data_dir": folder, "dataset": data.info.name}


def images_of(fields: Mapping[str, Any]) -> Images:
    """What `stored_images` was given."""
    return Images(**{**fields, "data_dir": path_of(fields["data_dir"])})


def training_of(fields: Mapping[str, Any]) -> TrainConfig:
    """The training whose `asdict` was stored."""
    return TrainConfig(**{**fields, "milestones": tuple(fields["milestones"])})


def path_of(text: str | None) -> Path | None:
    """The path that was stored as text, if there was one."""
    return None if text is None else Path(text)
