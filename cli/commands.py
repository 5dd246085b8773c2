"""The commands there are, and where each lies.

A command is a file `cli/<name>.py` with one function, `command`. The file is imported when the command runs
or shows its own help, never before: `prune --help` must not pay for torch.
"""

import importlib
from collections.abc import Callable

COMMANDS = {
    "train-base": "Train a base network.",
    "rank": "Score every filter of a network.",
    "prune": "Choose filters, remove them and write the narrow network.",
    "finetune": "Train a narrow network further.",
    "convert": "Turn a weight file into another: fold, narrow or change its format.",
    "inspect": "Show the names, shapes and statistics of a weight file.",
    "flops": "Count multiply-accumulates and parameters, layer by layer.",
    "recipes": "List the published rows that can be run, or show one of them.",
    "evaluate": "Measure accuracy and latency of networks side by side.",
}


def module_of(name: str) -> str:
    """The full name of a command's file."""
    return f"{__package__}.{name.replace('-', '_')}"


def load(name: str) -> Callable[..., None]:
    """The function of one command."""
    return importlib.import_module(module_of(name)).command
