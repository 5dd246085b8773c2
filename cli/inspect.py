"""`prune inspect`: what is in a weight file, what differs between two, or what can leave a network."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..weights import stats
from ..weights.errors import BadWeightFile
from ..weights.formats import read_any
from ..weights.metadata import believed_size, history_of
from ..weights.verify import verify_parents
from . import options as opt
from . import units
from .grouped import grouped
from .options.group import option
from .show import Format, Out

if TYPE_CHECKING:
    from ..engine.network.network import Network

HASH_DIGITS = 12  # enough to tell a parent's sha256 by

TENSOR_COLUMNS: dict[str, Format] = {
    "name": str,
    "shape": units.shape,
    "dtype": str,
    "min": units.real,
    "max": units.real,
    "mean": units.real,
    "std": units.real,
    "zeros": units.percent,
}


@grouped
def command(
    file: opt.File = None,
    diff: Annotated[
        Path | None, option(None, "--diff", "OTHER", "Show what differs in this file instead."), opt.Weights()
    ] = None,
    pattern: Annotated[
        str,
        option(
            None, "--filter", "GLOB", "Only tensors or layers it matches: 'stage1.*'.", show_default=False
        ),
    ] = "*",
    verify: Annotated[
        bool,
        option(None, "--verify", None, "Compare checksums, and look for the files it came from, instead."),
    ] = False,
    channels: Annotated[
        bool,
        option(
            None,
            "--channels",
            None,
            "Show which channels of the network can leave, and what holds the others, instead.",
        ),
    ] = False,
    arch: opt.Arch = None,
    num_classes: opt.NumClasses = None,
    image_size: opt.ImageSize = None,
    part: opt.Part = None,
    head_dims: opt.HeadDims = False,
    *,
    output: opt.Results,
) -> None:
    """Show the names, shapes and statistics of a weight file.

    HDF5 files are read without torch. The statistics are those of the numbers as they are read, float32 or
    int64; zeros is the share that is exactly zero.

    With --channels, the network itself is looked at, that of the file or, without weights, of --arch: the
    groups of channels that leave together, which op on which line of whose code holds those that cannot, and
    how small the network can get in each residual mode.
    """
    out = output.show()
    if channels:
        _refuse(("--diff", diff), ("--verify", verify), why="with --channels")
        from ..engine.network.widened import widened
        from .inspect_channels import show_channels

        network = _network(file, arch, num_classes, image_size, part)
        show_channels(out, widened(network, head_dims=head_dims), pattern)
        return
    borne_out = image_size is not None and any(_needs(path, image_size) for path in (file, diff) if path)
    _refuse(
        ("--arch", arch),
        ("--num-classes", num_classes),
        ("--image-size", None if borne_out else image_size),
        ("--part", part),
        ("--head-dims", head_dims),
        why="without --channels",
    )
    if file is None:
        raise typer.BadParameter("give a weight file", param_hint="FILE")
    if verify:
        if diff is not None:
            raise typer.BadParameter("--verify and --diff exclude each other")
        _verify(out, file)
    elif diff is None:
        _show(out, stats.describe(file), pattern)
    else:
        _show_difference(out, stats.compare(file, diff), pattern)


def _refuse(*given: tuple[str, object], why: str) -> None:
    """Refuse the first option that was given and has no effect."""
    for name, value in given:
        if value not in (None, False):
            raise typer.BadParameter(f"{name} has no effect {why}; leave it out")


def _needs(path: Path, image_size: int) -> bool:
    """Does a file speak of images of this size, and is that not taken without a word from the user?"""
    meta = read_any(path).meta
    try:
        believed_size(meta, str(path))
    except BadWeightFile:
        return meta["input_size"][-1] == image_size
    return False


def _network(
    file: Path | None, arch: str | None, num_classes: int | None, image_size: int | None, part: str | None
) -> "Network":
    from ..engine.errors import EngineError
    from ..engine.network.files import load_network
    from ..engine.network.fresh import new_network

    if file is not None:
        _refuse(("--num-classes", num_classes), why="with a file, which says it")
        return load_network(file, arch, input_size=image_size, part=part)
    if arch is None:
        raise EngineError("give a weight file, or the name of a network with `arch`")
    return new_network(arch, num_classes=num_classes, input_size=image_size, part=part or "")


def _show(out: Out, facts: dict[str, Any], pattern: str) -> None:
    facts["tensors"] = tensors = [
        tensor for tensor in facts["tensors"] if fnmatchcase(tensor["name"], pattern)
    ]
    if not tensors:
        raise typer.BadParameter(f"'{pattern}' matches no tensor in '{facts['path']}'", param_hint="--filter")
    out.json(facts)
    out.facts(
        {
            "file": facts["path"],
            "size": units.size(facts["bytes"]),
            "sha256": facts["sha256"],
            "form": facts["form"],
            "parameters": units.count(facts["params"]),
            "deps": _text(facts["deps"]),
            **{
                key.replace("_", " "): _text(value)
                for key, value in facts["meta"].items()
                if key != "history"
            },
        }
    )
    _show_history(out, facts["meta"].get("history"))
    rows = [[tensor[column] for column in TENSOR_COLUMNS] for tensor in tensors]
    out.table(f"{len(tensors)} tensors", TENSOR_COLUMNS, rows)
    broken = [tensor["name"] for tensor in tensors if tensor["nonfinite"]]
    if broken:
        out.warning(
            f"NaN or infinite values in {len(broken)} of {len(tensors)} tensors, the first {broken[0]}"
        )


def _verify(out: Out, file: Path) -> None:
    """Whatever is damaged has been said by now, as an error."""
    facts = stats.describe(file)
    history = history_of(facts["meta"], str(file))
    places = [file.absolute().parent, Path.cwd(), *Path("runs").glob("*/")]
    parents = verify_parents(file, history, places)
    kept = {name: facts[name] for name in ("path", "bytes", "sha256", "verified")}
    out.json({**kept, "tensors": len(facts["tensors"]), "parents": parents})
    as_written = f"{len(facts['tensors'])} tensors and what is said about them are as they were written"
    known = as_written if facts["verified"] else "it has none: of another program, or of an earlier prune"
    out.facts({"file": facts["path"], "sha256": facts["sha256"], "checksums": known})
    rows = [
        [step["command"], _history_cell("parent", step["parent"]), step["file"], step["verdict"]]
        for step in parents
    ]
    if rows:
        out.table("History", {"command": str, "parent": str, "file": str, "verdict": str}, rows)


def _show_history(out: Out, history: Any) -> None:
    """Show how the network came about, one step a row; a stranger's file may say anything here."""
    steps = [step for step in history if isinstance(step, dict)] if isinstance(history, list) else []
    if not steps:
        return
    columns: dict[str, Format] = dict.fromkeys((key for step in steps for key in step), str)
    out.table("History", columns, [[_history_cell(key, step.get(key)) for key in columns] for step in steps])


def _history_cell(key: str, value: Any) -> str | None:
    text = _text(value)
    return text[:HASH_DIGITS] if text and key == "parent" else text


def _show_difference(out: Out, facts: dict[str, Any], pattern: str) -> None:
    for key in ("only_in_a", "only_in_b"):
        facts[key] = [name for name in facts[key] if fnmatchcase(name, pattern)]
    facts["shapes"] = [entry for entry in facts["shapes"] if fnmatchcase(entry["name"], pattern)]
    facts["max_abs"] = {name: far for name, far in facts["max_abs"].items() if fnmatchcase(name, pattern)}
    out.json(facts)
    out.facts({"a": facts["a"], "b": facts["b"], "identical": _text(facts["identical"])})
    for side in ("a", "b"):
        if facts[f"only_in_{side}"]:
            out.table(f"Only in {side}", {"name": str}, [[name] for name in facts[f"only_in_{side}"]])
    if facts["shapes"]:
        rows = [(entry["name"], entry["a"], entry["b"]) for entry in facts["shapes"]]
        out.table("Shapes that differ", {"name": str, "a": units.shape, "b": units.shape}, rows)
    if facts["max_abs"]:
        columns: dict[str, Format] = {"name": str, "largest difference": units.real}
        out.table("Values that differ", columns, facts["max_abs"].items())


def _text(value: Any) -> str | None:
    """A value of any JSON type in one line; None where there is nothing to say."""
    if value in (None, [], {}):
        return None
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return units.real(value)
        case list():
            return " ".join(str(_text(item)) for item in value)
        case dict():
            return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
        case _:
            return str(value)
