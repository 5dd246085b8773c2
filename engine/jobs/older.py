"""Settings of runs that were begun before all jobs were kept in one form."""

from collections.abc import Mapping
from typing import Any


def in_todays_form(known: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's `config.json` says, in the form in which it is written today.

    ResRep's runs kept their target and how it is reached in one `penalty`, and had no specification; runs
    that prune said nothing of teachers, and of what weights become no more than their method does.
    """
    unsaid = {"like": None, "teacher": None, "num_classes": None}
    today = {**unsaid, **known}
    if "penalty" in known:
        penalty = dict(known["penalty"])
        flops = penalty.pop("flops_target")
        wanted = {"flops": flops, "residual": known["residual"], "skip": known["skip"]}
        today |= {"schedule": "gradient-resetting", "specification": wanted, **penalty}
    if "method" in today:
        today.setdefault("transfer", {"select": "slice", "resrep": "fold"}.get(today["method"]))
    return today
