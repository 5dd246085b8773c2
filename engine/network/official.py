"""torchvision's official ImageNet weights: from torch's download cache, or from the network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...archs import registry
from ..errors import EngineError

PREFIX = "torchvision:"


@dataclass(frozen=True)
class Official:
    """A checkpoint file, and what its publisher says about it."""

    path: Path
    arch: str
    class_names: tuple[str, ...]


def official_weights(name: str) -> Official:
    """Find the weights of `torchvision:NAME`, downloading them if they are not in torch's cache.

    Where there are several versions, the first one is taken: papers that compare with torchvision mean it.
    ResNet-18 to -152 become the built-in archs of that name; all others keep torchvision's.

    Raises:
        UnknownArch, ArchError: torchvision has no such classification network.
        EngineError: the file is not there, and cannot be downloaded.
    """
    import torch
    from torchvision import models

    arch = registry.get(name).name
    short = arch.removeprefix(PREFIX)
    versions: Any = models.get_model_weights(short)
    weights = next(iter(versions))
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rpartition("-")[2]  # a file's name ends in the first digits of its hash
        try:
            torch.hub.download_url_to_file(weights.url, str(path), hash_prefix=digest, progress=False)
        except (OSError, RuntimeError) as error:
            raise EngineError(
                f"{weights.url} cannot be downloaded ({error}); fetch it where there is a network, "
                f"then convert {path.name} with `arch` {_ours(short) or arch}"
            ) from error
    return Official(path, _ours(short) or arch, tuple(weights.meta["categories"]))


def _ours(short: str) -> str | None:
    """The built-in network that has the same tensors under our names."""
    return short if short in registry.names() else None
