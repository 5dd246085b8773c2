"""Make convolutional networks narrower.

The Python interface is what `__all__` names: `prune.load`, `prune.rank`, `prune.plan` and so on, as
`engine/api` describes them. They are imported when one is first used, so `import prune` costs no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.api import (
        Inputs,
        carry_over,
        compensate,
        count,
        evaluate,
        images,
        load,
        plan,
        prune,
        rank,
        reach,
        recalibrate,
        save,
        trace,
        wrap,
    )

__all__ = [
    "Inputs",
    "carry_over",
    "compensate",
    "count",
    "evaluate",
    "images",
    "load",
    "plan",
    "prune",
    "rank",
    "reach",
    "recalibrate",
    "save",
    "trace",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("prune-cnn")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .engine import api
    from .engine.api import progress

    progress.draw = _draw
    return getattr(api, name)


def _draw(events: Any) -> Any:
    """Show how far a call is, for those who ask for it."""
    from rich.console import Console

    from .cli.progress import draw

    return draw(Console(stderr=True), events)


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__", *__all__])
