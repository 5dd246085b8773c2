"""Small changes to the code that everything rests on: which of them does no test notice?

    python benchmarks/mutation_testing.py [MODULE ...] [--most N] [--seed S]

Comparisons, sums, logic, numbers and errors of a module are changed one at a time (all of them, or N drawn at
random), and its tests run in a forked process. What survives is printed with its line; RELIABILITY.md says
which survivors are known and why they are no holes.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # seconds; a mutant that takes longer is noticed
TESTS = {
    "engine/narrowing/surgery.py": ["engine/test_checks_parts.py", "engine/test_surgery.py"],
    "engine/narrowing/structure.py": ["engine/test_checks_parts.py", "engine/test_checks.py"],
    "engine/narrowing/values.py": [
        "engine/test_checks_parts.py",
        "engine/test_checks.py",
        "engine/test_value_proof.py",
    ],
    "engine/graph/channels.py": [
        "engine/test_groups.py",
        "engine/test_checks_parts.py",
        "engine/test_checks.py",
        "engine/test_budget.py",
    ],
    "engine/allocations/budget.py": ["engine/test_budget.py", "engine/test_allocations.py"],
    "engine/selection/removal_order.py": ["engine/test_budget.py"],
    "engine/selection/selection.py": [
        "engine/test_allocation.py",
        "engine/test_budget.py",
        "engine/test_streams_asked_apart.py::test_a_refusal_says_which_rates_may_differ",
    ],
    "engine/selection/allocation.py": [
        "engine/test_allocations.py",
        "engine/test_allocation.py",
        "engine/test_budget.py",
    ],
    "engine/selection/rates.py": ["engine/test_rates.py", "engine/test_allocation.py"],
    "engine/selection/plan.py": ["engine/test_plan.py"],
    "engine/selection/amounts.py": ["engine/test_amounts.py"],
    "engine/selection/reach.py": ["engine/test_budget.py", "engine/test_reach.py"],
    "engine/selection/layer_settings.py": ["engine/test_layer_settings.py"],
    "engine/selection/least_loss.py": ["engine/test_least_loss.py"],
    "engine/compactors/folding.py": ["engine/resrep/test_folding.py"],
    "weights/store.py": [
        "weights/test_store.py",
        "weights/test_store_hostile.py",
        "weights/test_checksums.py",
    ],
    "weights/checksums.py": ["weights/test_checksums.py"],
    "weights/files.py": ["weights/test_atomic_write.py", "weights/test_file_refusals.py"],
}
_SWAPS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("modules", nargs="*", default=list(TESTS))
    options.add_argument("--most", type=int)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    import pytest  # noqa: F401, once for all children
    import torch.export  # noqa: F401

    for module in asked.modules:
        began, source = time.monotonic(), (ROOT / module).read_text()
        found = list(mutants(source))
        if asked.most is not None and asked.most < len(found):
            found = sorted(random.Random(asked.seed).sample(found, asked.most))
        assert passes(module, source), f"the tests of {module} fail as it is"
        survivors = [(line, how) for line, how, changed in found if passes(module, changed)]
        seconds = time.monotonic() - began
        print(f"{module}: {len(found)} mutants, {len(survivors)} survive, {seconds:.0f} s", flush=True)
        for line, how in survivors:
            print(f"    {line}: {how}: {source.splitlines()[line - 1].strip()}", flush=True)


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Every mutant of a module: the line, what was changed, and the whole source."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    # What decorators and annotations say computes nothing.
    beside = [part for node in nodes for part in (*getattr(node, "decorator_list", ()), *_annotations(node))]
    idle = {id(inner) for part in beside for inner in ast.walk(part)}
    for number, node in enumerate(nodes):
        for how in () if id(node) in idle else _ways(node):
            changed = copy.deepcopy(tree)
            _change(list(ast.walk(changed))[number], how)
            yield node.lineno, how, ast.unparse(ast.fix_missing_locations(changed))


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    for name in ("annotation", "returns"):
        said = getattr(node, name, None)
        if isinstance(said, ast.AST):
            yield said


def _ways(node: ast.AST) -> Sequence[str]:
    match node:
        case ast.Compare(ops=[op]) | ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _SWAPS:
            return (f"{type(op).__name__} to {_SWAPS[type(op)].__name__}",)
        case ast.UnaryOp(op=ast.Not()):
            return ("without not",)
        case ast.Constant(value=bool()):
            return ("true for false",)
        case ast.Constant(value=int()):
            return ("one more",)
        case ast.Raise(exc=ast.Call()):
            return ("no error",)
        case ast.If(test=ast.Name() | ast.Call() | ast.Attribute()):
            return ("always",)
        case _:
            return ()


def _change(node: ast.AST, how: str) -> None:
    match node:
        case ast.Compare():
            node.ops = [_SWAPS[type(node.ops[0])]()]
        case ast.BinOp() | ast.BoolOp():
            node.op = _SWAPS[type(node.op)]()
        case ast.UnaryOp():  # two of them are none
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ast.Constant():
            node.value = not node.value if how == "true for false" else node.value + 1
        case ast.Raise():  # an error that nobody sees
            node.exc, node.cause = ast.Call(ast.Name("_unraised", ast.Load()), [], []), None
        case ast.If():
            node.test = ast.Constant(True)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from another source than its file."""

    def __init__(self, module: str, source: str) -> None:
        self.name = "prune." + module.removesuffix(".py").replace("/", ".")
        self.path, self.source = ROOT / module, source

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        return (
            importlib.util.spec_from_file_location(name, self.path, loader=self)
            if name == self.name
            else None
        )

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def passes(module: str, source: str) -> bool:
    """Do the tests of a module pass with this source in its place?"""
    pid = os.fork()
    if pid == 0:
        _run_tests(module, source)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _run_tests(module: str, source: str) -> None:
    """Never returns."""
    import pytest

    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        os.chdir(ROOT)
        sys.meta_path.insert(0, Changed(module, source))
        files = [str(ROOT / "tests" / file) for file in TESTS[module]]
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not soak", *files]))
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
