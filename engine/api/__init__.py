"""What `import prune` offers: from a network in memory over scores and a plan to a narrow network.

Each function takes a `Network`, as `load` and `wrap` return, or an `Outcome`, as `prune` does.
"""

from ..modules.inputs import Inputs
from .choosing import plan, rank
from .cutting import carry_over, prune
from .measuring import evaluate, recalibrate
from .mending import compensate
from .networks import count, images, load, reach, save, trace, wrap

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
