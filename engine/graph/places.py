"""Where in whose code something happens: from a node of an exported graph, and from an exception.

Of many nested calls the innermost one outside of torch counts: it is the line that somebody can change.
"""

import linecache
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from traceback import StackSummary
from types import FrameType, SimpleNamespace
from unittest.mock import patch

import torch
from torch import fx, nn
from torch.fx import proxy

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH = str(Path(torch.__file__).parent)
_PACKAGE = Path(__file__).parents[2]
_ENGINE = str(_PACKAGE / "engine")
_INSTALLED = re.compile(r".*/(?:site|dist)-packages/")


@dataclass(frozen=True)
class Place:
    """An op of a network.

    Attributes:
        op: the ATen op, such as `softmax`.
        module: dotted path of the module it stands in; empty for the network itself.
        line: `file:line` of the code that calls it; empty where no code outside of torch does.
    """

    op: str
    module: str
    line: str

    def __str__(self) -> str:
        return f"{self.op} in {self.module or 'the top module'}{f', {self.line}' if self.line else ''}"


class Reason(str):
    """Why channels cannot leave, in words, and the place that is to blame, where there is one."""

    __slots__ = ("place",)
    place: Place | None

    def __new__(cls, words: str, place: Place | None = None) -> "Reason":
        """Text as it is shown; `place` is for those who take it apart."""
        reason = super().__new__(cls, words)
        reason.place = place
        return reason


@dataclass(frozen=True)
class Raised:
    """Where an exception came from.

    Attributes:
        module: dotted path of the innermost module that was running; empty for the network itself.
        line: `file:line` in its code, or empty.
        code: what stands there.
    """

    module: str = ""
    line: str = ""
    code: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.module and f"in {self.module}", self.line)))


@contextmanager
def lines_kept(caller: str) -> Iterator[None]:
    """Let what is exported meanwhile remember its innermost lines.

    torch.export by itself remembers those of methods called `forward`, not of the functions that these call;
    and it writes down all of some hundred frames for every node, an eighth of the time that an export takes.
    Where a version of it has other names for this, its own choice stays.

    Args:
        caller: the file that calls torch.export: frames outside of it belong to no network.
    """
    chosen = "_filter_traceback_frames"
    if not (hasattr(proxy, "CapturedTraceback") and hasattr(proxy.TracerBase, chosen)):
        yield
        return

    def innermost() -> StackSummary:
        stack = takewhile(
            lambda at: at[0].f_code.co_filename != caller, traceback.walk_stack(sys._getframe())
        )
        own = ((frame.f_code, line) for frame, line in stack if _is_ones_own(frame.f_code.co_filename))
        return StackSummary.from_list(
            [(code.co_filename, line, code.co_name, "") for code, line in islice(own, 1)]
        )

    frames = SimpleNamespace(extract=lambda: SimpleNamespace(summary=innermost))
    with (
        patch.object(proxy, "CapturedTraceback", frames),
        patch.object(proxy.TracerBase, chosen, lambda _, found: found),
    ):
        yield


def source_line(node: fx.Node) -> str:
    """`file:line` of the code that made a node of an exported graph, or nothing where none is known."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    return next((f"{shown(file)}:{line}" for file, line in reversed(frames) if _is_ones_own(file)), "")


def raised_at(error: BaseException, model: nn.Module) -> Raised:
    """The line outside of torch, and the module of `model`, from which an exception came."""
    names = {module: name for name, module in model.named_modules()}
    modules, lines = [""], [("", "")]
    while True:
        for frame, number in traceback.walk_tb(error.__traceback__):
            if (name := names.get(_owner(frame))) is not None:
                modules.append(name)
            file = frame.f_code.co_filename
            if _is_ones_own(file):
                lines.append((f"{shown(file)}:{number}", linecache.getline(file, number).strip()))
        inner = error.__cause__ or error.__context__
        if len(lines) > 1 or inner is None:
            return Raised(modules[-1], *lines[-1])
        error = inner


def shown(file: str) -> str:
    """A file's path as short as it stays clear: within its package, or from the current folder."""
    installed = _INSTALLED.match(file)
    if installed is not None:
        return file[installed.end() :]
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    if path.is_relative_to(_PACKAGE):
        return str(Path(__name__.partition(".")[0], path.relative_to(_PACKAGE)))  # any folder
    return file


def _is_ones_own(file: str) -> bool:
    """Is it a file, and neither torch's nor one of those that look at networks?"""
    return not file.startswith((_TORCH, _ENGINE, "<"))


def _owner(frame: FrameType) -> nn.Module | None:
    """The module whose method a frame runs."""
    owner = frame.f_locals.get("self")
    return owner if isinstance(owner, nn.Module) else None
