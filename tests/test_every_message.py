"""Every error that the code raises is one that a test, or a record of what commands say, speaks of."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("engine", "weights", "archs", "cli")


def test_every_error_message_is_in_a_test():
    """Three words in a row of one of its fixed pieces, or two of a piece that has no more."""
    told, unknown = _told(), []
    for place, message in _raised():
        phrases = {phrase for piece in message for phrase in _phrases(piece, 3) or _phrases(piece, 2)}
        if phrases and not phrases & told:
            unknown.append(f"{place}: {' ... '.join(message)}")
    assert unknown == [], "no test speaks of these errors"


def _raised() -> Iterator[tuple[str, list[str]]]:
    """Where an error is raised, and the fixed pieces of what it says; ours alone, no assertions."""
    for path in (path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            if ast.unparse(node.exc.func) != "AssertionError":
                yield f"{path.relative_to(ROOT)}:{node.lineno}", list(_strings(node.exc))


def _told() -> set[tuple[str, ...]]:
    """What tests quote, patterns without their backslashes; and all that the frozen records hold."""
    here = Path(__file__)
    texts = [path.read_text() for path in (ROOT / "tests" / "golden" / "frozen").iterdir()]
    for path in (ROOT / "tests").rglob("*.py"):
        if path != here:
            tree = ast.parse(path.read_text())
            texts += [re.sub(r"\\(.)", r"\1", text) for text in _strings(tree)]
    return {phrase for text in texts for length in (2, 3) for phrase in _phrases(text, length)}


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _phrases(text: str, length: int) -> set[tuple[str, ...]]:
    """So many words in a row."""
    words = re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())
    return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}
