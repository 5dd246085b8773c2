"""Make convolutional networks narrower.

The Python interface is what `_PUBLIC` names, `prune.load` and so on. Each name is imported when it is first
used, so `import prune` costs no torch.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "load": "engine.network:load_network",
    "save": "engine.network:save_network",
    "trace": "engine.graph.trace:trace",
    "count": "engine.cost:count",
    "score": "engine.criteria:score",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("prune-cnn")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__", *_PUBLIC])
