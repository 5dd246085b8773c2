"""What a user sees of the command line is what `tests/golden/frozen` records, until a change is meant.

`PRUNE_ACCEPT=1 pytest tests/cli/test_frozen.py` records it anew.
"""

import difflib
import json
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from prune.weights import store

FROZEN = Path(__file__).parents[1] / "golden" / "frozen"
ACCEPT = os.environ.get("PRUNE_ACCEPT") == "1"
COMMANDS = ("train-base", "rank", "prune", "finetune", "convert", "inspect", "flops", "recipes", "evaluate")

TINY = """
from torch import nn

def tiny(num_classes):
    layers = [nn.Conv2d(3, 8, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes))
"""
OURS = "--arch frozen_tiny:tiny --dataset digits"
SHORT = "--epochs 2 --batch-size 120 --precision fp32 --threads 1 --seed 3 --json --quiet"
RUNS = {  # kind -> words
    "train-base": f"train-base {OURS} --milestones 1 {SHORT}",
    "finetune": f"finetune tiny.hdf5 {OURS} --recalibrate 1 {SHORT}",
    "finetune distill": f"finetune tiny.hdf5 {OURS} --distill base.hdf5 --distill-alpha 0.7 {SHORT}",
    "layer-by-layer": f"prune tiny.hdf5 {OURS} --schedule layer-by-layer --rate 0.5 --start-conv 2 {SHORT}",
    "soft": f"prune tiny.hdf5 {OURS} --schedule soft --rate-dist 0.4 {SHORT}",
    "hard": f"prune {OURS} --scratch --schedule hard --flops 0.8 --prune-every 2 {SHORT}",
    "resrep": f"prune tiny.hdf5 {OURS} --method resrep --flops 0.5 --mask-after 0 --mask-interval 2 {SHORT}",
}
RESULTS = {  # command lines that answer with one object
    "rank": "rank base.hdf5 --criterion l1 --out scores.hdf5",
    "prune": "prune base.hdf5 --rate 0.5 --recalibrate 1 --out narrow.hdf5",
    "prune sketch": "prune unmeasured.hdf5 --method sketch --keep-rate [0.6]*3 --out y.hdf5",
    "dry run": f"prune tiny.hdf5 {OURS} --rate 0.5 --dry-run",
    "dry run that trains": f"prune tiny.hdf5 {OURS} --schedule soft --rate-dist 0.4 --dry-run",
    "dry run of train-base": "train-base --arch resnet20 --dry-run",
    "convert": "convert base.hdf5 new.pth",
    "inspect": "inspect base.hdf5",
    "inspect diff": "inspect base.hdf5 --diff narrow.hdf5",
    "flops": "flops --arch resnet20",
    "flops of rates": "flops --arch resnet20 --rate 0.5",
    "flops of a recipe": "flops --recipe fpgm/resnet20-40",
    "recipes": "recipes fpgm/*",
    "recipe": "recipes hrank/resnet56",
    "evaluate": "evaluate base.hdf5",
}


def hold(name: str, found: Mapping[str, Any]) -> None:
    """Compare with what is recorded under this name, or record it."""
    path = FROZEN / f"{name}.json"
    text = json.dumps(found, indent=1, ensure_ascii=False, default=str) + "\n"
    if ACCEPT:
        path.write_text(text)
    recorded = path.read_text() if path.exists() else ""
    told = difflib.unified_diff(
        recorded.splitlines(), text.splitlines(), "recorded", "found", lineterm="", n=2
    )
    assert text == recorded, "\n".join(told)
    assert len(text) < 50_000


def commands() -> dict[str, Any]:
    """Every command as Typer builds it."""
    from prune.cli.main import app

    group = typer.main.get_command(app)
    with group.make_context("prune", [], resilient_parsing=True) as context:
        return {
            name: group.get_command(context, name)  # the name and one line; its context is the real one's
            .make_context(name, [], parent=context, resilient_parsing=True)
            .command
            for name in group.list_commands(context)
        }


def described(parameter: Any) -> dict[str, Any]:
    """What can be said about an option, but for what it leaves at Typer's default."""
    facts = {
        "spelt": " ".join([*parameter.opts, *parameter.secondary_opts]),
        "takes": "nothing" if getattr(parameter, "is_flag", False) else parameter.metavar,
        "of": _type(parameter),
        "from": getattr(parameter, "min", None),
        "to": getattr(parameter, "max", None),
        "default": parameter.default,
        "required": parameter.required or None,
        "repeatable": getattr(parameter, "multiple", None) or parameter.nargs != 1 or None,
        "panel": getattr(parameter, "rich_help_panel", None),
        "help": parameter.help,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _type(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("pathlib._local.", "pathlib.")  # where Python 3.13 has it


def shape(value: Any) -> Any:
    """The keys of an object and the kinds of its values; by one entry where keys are names of layers."""
    if isinstance(value, dict):
        if value and all("." in key or key.isdigit() for key in value):
            return {"<layer>": shape(next(iter(value.values())))}
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        kinds = [json.dumps(shape(item)) for item in value]
        return [json.loads(kind) for kind in dict.fromkeys(kinds)]
    return "null" if value is None else type(value).__name__


@pytest.fixture
def folder(prune, thin: Path, resnet8: None) -> Callable[..., Any]:
    """Run commands in a folder with a base network, one that names no images, and a small one."""
    from prune.engine.network.files import save_network
    from prune.engine.network.fresh import new_network

    whole = store.read(thin)
    store.write("base.hdf5", whole)
    store.write("unmeasured.hdf5", store.WeightFile(whole.tensors, {**whole.meta, "accuracy": None}))
    Path("frozen_tiny.py").write_text(TINY)
    save_network("tiny.hdf5", new_network("frozen_tiny:tiny", num_classes=10, input_size=(3, 16, 16)))
    return prune


@pytest.mark.parametrize("name", COMMANDS)
def test_options(name: str):
    command = commands()[name]
    options = {parameter.name: described(parameter) for parameter in command.params}
    hold(f"options-{name}", {"help": command.help.split("\n\n"), "options": options})


def test_the_list_of_commands():
    assert tuple(commands()) == COMMANDS


@pytest.mark.usefixtures("few_digits")
def test_shapes_of_results(folder):
    shapes = {}
    for name, words in RESULTS.items():
        quiet = (
            "--quiet" if words.split()[0] in ("rank", "prune", "finetune", "evaluate", "train-base") else ""
        )
        ended = folder(*shlex.split(f"{words.replace(' --json --quiet', '')} --json {quiet}"))
        assert ended.code == 0, ended.err
        shapes[name] = shape(json.loads(ended.out))
    hold("results", shapes)


def test_error_lines(prune, file: Path, tmp_path: Path):
    Path("mine.hdf5").write_text("mine")
    Path("run").mkdir()
    Path("run/mine").write_text("mine")
    recorded = json.loads((FROZEN / "errors.json").read_text())
    found = {}
    for words in recorded:
        ended = prune(*shlex.split(words))
        assert (ended.code, ended.out) == (2, ""), words
        found[words] = ended.err.splitlines()[-1].replace(str(tmp_path), "<here>")
    assert len(found) > 40
    hold("errors", found)


@pytest.mark.usefixtures("few_digits")
def test_settings_of_runs_and_same_numbers_from_the_same_seed(folder, tmp_path: Path):
    """Every kind of run writes down the same settings, and twice the same networks, bit by bit."""
    settings, results = {}, {}
    for kind, words in RUNS.items():
        ended = folder(*words.split(), "--out", "once")
        assert ended.code == 0, ended.err
        results[kind] = shape(json.loads(ended.out))
        settings[kind] = json.loads(Path("once/config.json").read_text().replace(str(tmp_path), "<here>"))
        inputs = settings[kind]["inputs"]  # digests of weights, which no two machines need share
        settings[kind]["inputs"] = {name: digest and "<digest>" for name, digest in inputs.items()}
        assert folder(*words.split(), "--out", "again").code == 0
        networks = sorted(path.name for path in Path("once").glob("*.hdf5"))
        assert networks
        for name in networks:
            once, again = store.read(f"once/{name}").tensors, store.read(f"again/{name}").tensors
            assert {key: array.tobytes() for key, array in once.items()} == {
                key: array.tobytes() for key, array in again.items()
            }, (kind, name)
        for run in ("once", "again"):
            Path(run).rename(f"{run} {kind}")
    hold("settings", settings)
    hold("results-of-runs", results)
