"""Imports point one way, cli -> engine -> archs, weights, and in no circle; libraries stay where they belong.

Each test lists every offender, so that one run says all there is to mend.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "cli": {"cli", "engine", "archs", "weights"},
    "engine": {"engine", "archs", "weights"},
    "archs": {"archs"},
    "weights": {"weights"},
}
SOURCES = sorted(path.relative_to(ROOT) for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
SHELL_ONLY = {"rich", "typer", "click"}
FLAT_FILES = 6  # of engine/, beside its __init__

Import = ast.Import | ast.ImportFrom
Graph = dict[str, set[str]]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imports(path: Path) -> Iterator[Import]:
    """Every import statement of a file, wherever it stands."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, Import))


def outside(node: Import) -> set[str]:
    """The top-level packages an absolute import names."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if node.level == 0 else set()


def inside(path: Path, node: Import) -> set[Path]:
    """The files of this repository that a relative import reaches: submodules, and packages for all else."""
    if isinstance(node, ast.Import) or node.level == 0:
        return set()
    place = Path(*path.parts[: len(path.parts) - node.level], *(node.module or "").split("."))
    if (ROOT / place).with_suffix(".py").is_file():
        return {place.with_suffix(".py")}
    reached = set()
    for alias in node.names:
        module, package = place / f"{alias.name}.py", place / alias.name / "__init__.py"
        reached |= {file for file in (module, package) if (ROOT / file).is_file()} or {place / "__init__.py"}
    return reached


def at_import(body: list[ast.stmt]) -> Iterator[Import]:
    """The imports that run when the file is imported: not those in functions, not those for type checkers."""
    for node in body:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield node
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from at_import(node.orelse)
            case ast.If() | ast.Try() | ast.With() | ast.ClassDef():
                for part in ("body", "orelse", "finalbody"):
                    yield from at_import(getattr(node, part, []))


@cache
def arrows() -> dict[Path, set[Path]]:
    """From each file to those it imports, at once or in a function, or to name their types."""
    return {
        path: {file for node in imports(path) for file in inside(path, node) if file.parts[0] in MAY_IMPORT}
        for path in SOURCES
    }


def room(path: Path) -> str:
    """What a file belongs to: a folder of engine/, another top-level package, or, flat in engine/, itself."""
    if path.parts[0] != "engine":
        return path.parts[0]
    return "/".join(path.parts[:2])


def between(names: Iterable[tuple[str, str]]) -> Graph:
    """The arrows that lead from one to another."""
    graph: Graph = {}
    for start, end in names:
        graph.setdefault(start, set())
        graph.setdefault(end, set())
        if start != end:
            graph[start].add(end)
    return graph


def circles(graph: Graph) -> list[str]:
    """The largest sets in which each reaches each, and the arrows within them (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[str] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            members = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(members) > 1:
                within = [f"{a} -> {b}" for a in sorted(members) for b in sorted(graph[a] & members)]
                found.append("; ".join(within))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def literals(path: Path) -> Iterator[ast.Constant]:
    """Every string of a file but docstrings and words for git, fixed parts of f-strings too."""
    others: set[ast.AST] = set()
    for node in ast.walk(tree(path)):
        match node:
            case ast.Expr(value=ast.Constant() as docstring):
                others.add(docstring)
            case ast.List(elts=[ast.Constant(value="git"), *words]):
                others |= set(words)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in others:
            yield node


def test_the_sources_were_found():
    assert {path.parts[0] for path in SOURCES} == set(MAY_IMPORT)


def test_circles_would_be_found():
    a_circle_and_its_tail = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert circles(a_circle_and_its_tail) == ["a -> b; b -> c; c -> a"]


def test_imports_point_one_way():
    """And siblings are reached by relative imports."""
    offenders = [
        f"{path}:{node.lineno} imports {reached}"
        for path in SOURCES
        for node in imports(path)
        for reached in {file.parts[0] for file in inside(path, node)} | outside(node) & {"prune", *MAY_IMPORT}
        if reached not in MAY_IMPORT[path.parts[0]] or reached in outside(node)
    ]
    assert not offenders, "\n".join(offenders)


def test_libraries_stay_where_they_belong():
    """Only the shell knows its own; the shell and the weights import torch in functions alone."""
    offenders = []
    for path in SOURCES:
        if path.parts[0] != "cli":
            offenders += [
                f"{path} imports {name}" for node in imports(path) for name in outside(node) & SHELL_ONLY
            ]
        if path.parts[0] in ("cli", "weights"):
            named = {name for node in at_import(tree(path).body) for name in outside(node)}
            offenders += [f"{path} imports {name}" for name in named & {"torch", "torchvision"}]
    assert not offenders, "\n".join(offenders)


def test_rooms_form_no_circle():
    assert not circles(
        between((room(path), room(file)) for path, files in arrows().items() for file in files)
    )


def test_files_form_no_circle():
    found = circles(between((str(path), str(file)) for path, files in arrows().items() for file in files))
    assert not found, "\n".join(found)


def test_the_engine_is_rooms():
    flat = [path.name for path in SOURCES if path.parts[:-1] == ("engine",) and path.name != "__init__.py"]
    assert len(flat) <= FLAT_FILES, flat


def test_only_the_shell_knows_how_options_are_spelt():
    offenders = [
        f"{path}:{node.lineno} says {node.value!r}"
        for path in SOURCES
        if path.parts[0] != "cli"
        for node in literals(path)
        if re.search(r"(?<![\w-])--[a-z]", node.value)
    ]
    assert not offenders, "\n".join(offenders)


def imported_with(start: str) -> set[Path]:
    """The files that importing one imports, those of its packages too; not what its functions import."""
    reached, due = set(), [Path(start)]
    while due:
        path = due.pop()
        if path not in reached and path.parts[0] in MAY_IMPORT:
            reached.add(path)
            due += [folder / "__init__.py" for folder in path.parents if folder.parts]
            due += [file for node in at_import(tree(path).body) for file in inside(path, node)]
    return reached


def test_what_cuts_at_once_imports_nothing_that_trains_compensates_or_sketches():
    reached = imported_with("engine/jobs/run.py")
    assert Path("engine/jobs/at_once.py") in reached
    rooms = {room(path) for path in reached}
    others = {f"engine/{name}" for name in ("compensation", "compactors", "masking", "recipes", "sketching")}
    assert not rooms & others
    assert Path("engine/training/loop.py") not in reached
