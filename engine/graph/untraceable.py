"""What torch.export stumbled over, in words of the network's code: the line, what it does, what to write."""

import re
from typing import NamedTuple

from torch import nn

from ...weights.errors import first_line
from .places import raised_at


class _Symptom(NamedTuple):
    """How torch says that it cannot follow, and what stands in the network's code then.

    Attributes:
        words: found in what torch says, the exception's type first.
        code: found in the line of code.
        does: what the code does.
        instead: what to write instead.
    """

    words: str
    code: str
    does: str
    instead: str


_BRANCH = r"data-dependent expression (Eq|Ne)\(u\d+, 1\)|^DataDependentOutput"
_SIZE = r"Size-like symbols: u"
_NUMBER = r"data-dependent expression|^DataDependentOutput|aten\._local_scalar_dense"

# The first that fits is the one.
SYMPTOMS = (
    _Symptom(
        _BRANCH,
        r"^while\b",
        "Python loops as long as values of a tensor say",
        "loop a fixed number of times, and choose with torch.where",
    ),
    _Symptom(
        _BRANCH,
        r"^assert\b",
        "Python asserts something about values of a tensor",
        "check shapes alone, or check behind `if self.training:`",
    ),
    _Symptom(
        _BRANCH, r"", "Python chooses by values of a tensor", "choose with torch.where, or by x.shape alone"
    ),
    _Symptom(
        _SIZE,
        r"",
        "as many elements or turns as values of a tensor say",
        "keep the shape fixed: multiply by a mask, or take torch.topk",
    ),
    _Symptom(
        _NUMBER,
        r"\brange\(",
        "Python loops as often as a value of a tensor says",
        "loop a fixed number of times, or as x.shape says",
    ),
    _Symptom(
        _NUMBER,
        r"",
        "a value of a tensor becomes a Python number",
        "keep it a tensor and compute with torch, with sizes from x.shape",
    ),
    _Symptom(r"\.numpy\(\) is not supported", r"", "values leave torch for numpy", "compute with torch"),
    _Symptom(
        r"data is not allocated yet",
        r"",
        "a new tensor is made from values of others",
        "join them with torch.stack or torch.cat",
    ),
    _Symptom(
        r"format string passed to \w*Tensor",
        r"",
        "values of a tensor become text",
        "leave it out, or write behind `if self.training:`",
    ),
)


def what_stopped(error: Exception, model: nn.Module) -> str:
    """One line on an exception that running or exporting `model` raised: what, where, and the way out.

    A symptom that is known is told in words of the network's own code; else torch's first line is.
    """
    raised = raised_at(error, model)
    told = f"{type(error).__name__}: {error}"
    for symptom in SYMPTOMS:
        if re.search(symptom.words, told) and re.search(symptom.code, raised.code):
            code = f", `{raised.code}`" if raised.code else ""
            return f"{symptom.does}, {raised}{code}; {symptom.instead}"
    return ", raised ".join(filter(None, (first_line(error), str(raised))))
