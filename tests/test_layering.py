"""Imports point one way, cli -> engine -> archs, weights, and libraries stay where they belong."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "cli": {"cli", "engine", "archs", "weights"},
    "engine": {"engine", "archs", "weights"},
    "archs": {"archs"},
    "weights": {"weights"},
}
SOURCES = sorted(path.relative_to(ROOT) for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
SHELL_ONLY = {"rich", "typer", "click"}


def imports(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import statement of a file, wherever it stands."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def outside(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The top-level packages an absolute import names."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if node.level == 0 else set()


def inside(path: Path, node: ast.Import | ast.ImportFrom) -> set[str]:
    """The packages of this repository a relative import reaches."""
    if isinstance(node, ast.Import) or node.level == 0:
        return set()
    parts = path.parts[: len(path.parts) - node.level]
    if node.module:
        parts += tuple(node.module.split("."))
    return {parts[0]} if parts else {alias.name for alias in node.names}


def at_import(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
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


def test_the_sources_were_found():
    assert {path.parts[0] for path in SOURCES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_one_way(path: Path):
    reached = {package for node in imports(path) for package in inside(path, node)}
    assert reached <= MAY_IMPORT[path.parts[0]]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_siblings_are_reached_by_relative_imports(path: Path):
    named = {package for node in imports(path) for package in outside(node)}
    assert not named & {"prune", *MAY_IMPORT}


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] != "cli"], ids=str)
def test_only_the_shell_knows_its_libraries(path: Path):
    named = {package for node in imports(path) for package in outside(node)}
    assert not named & SHELL_ONLY


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] in ("cli", "weights")], ids=str)
def test_shell_and_weights_import_torch_only_inside_functions(path: Path):
    tree = ast.parse((ROOT / path).read_text())
    named = {package for node in at_import(tree.body) for package in outside(node)}
    assert not named & {"torch", "torchvision"}
