"""Groups of options become a command's parameters, as if each had been written there."""

import re
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import prune.cli
import pytest
import typer
from prune.cli.commands import COMMANDS, load
from prune.cli.grouped import grouped
from prune.cli.options import After, Group
from prune.cli.options.group import option, setting
from prune.cli.spelling import typed
from typer.testing import CliRunner


@dataclass(frozen=True)
class Paint(Group):
    colour: Annotated[str, option("Paint", "--colour --color", "NAME", "What it looks like.")] = "red"
    gloss: Annotated[bool, option("Paint", "--gloss", None, "It shines.")] = False
    coats: Annotated[int | None, option("Paint", "--coats", "N", "How often.", min=1), After("primer")] = None


@dataclass(frozen=True)
class Wood(Group):
    kind: Annotated[str | None, option("Wood", "--kind", "NAME", "Which tree.")] = None
    boards: Annotated[list[str] | None, option("Wood", "--board", "NAME", "One of them.")] = None


@dataclass(frozen=True)
class OldWood(Wood):
    age: Annotated[int, option("Wood", "--age", "YEARS", "How old."), After("kind")] = 100
    kind: Annotated[str | None, option("Wood", "--kind", "NAME", "Which old tree.")] = None


calls: list[dict[str, Any]] = []


@grouped
def build(
    context: typer.Context,
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN")] = None,
    *,
    wood: OldWood,
    paint: Paint,
    primer: Annotated[bool, option("Paint", "--primer", None, "Something under it.")] = False,
) -> None:
    """Build a thing."""
    calls.append({"plan": plan, "wood": wood, "paint": paint, "primer": primer, "typed": typed(context)})


def run(*words: str, **more: Any) -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(build)
    calls.clear()
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "80"}, **more)
    return calls[0] if calls else result


def test_the_groups_come_built():
    called = run(
        "drawing", "--kind", "oak", "--board", "a", "--board", "b", "--color", "blue", "--coats", "2"
    )
    assert called["plan"] == Path("drawing")
    assert called["wood"] == OldWood(kind="oak", boards=["a", "b"], age=100)
    assert called["paint"] == Paint(colour="blue", coats=2)
    assert called["primer"] is False


def test_defaults_are_those_of_the_fields():
    called = run()
    assert (called["wood"], called["paint"]) == (OldWood(), Paint())
    assert called["typed"] == []


def test_what_was_typed_is_known_even_where_it_is_the_default():
    assert run("--colour", "red", "--age", "100")["typed"] == ["colour", "age"]


def test_defaults_can_be_set_as_a_recipe_sets_them():
    called = run("--gloss", default_map={"colour": "green", "age": "7"})
    assert called["paint"] == Paint(colour="green", gloss=True)
    assert called["wood"].age == 7
    assert called["typed"] == ["gloss"]


def test_the_signature_is_flat_and_in_place():
    parameters = signature(build).parameters
    order = ["context", "plan", "kind", "age", "boards", "colour", "gloss", "primer", "coats"]
    assert list(parameters) == order
    assert parameters["age"].default == 100
    assert parameters["context"].default is Parameter.empty
    assert build.__doc__ == "Build a thing."


def test_the_help_has_panels_in_order_and_each_option_once():
    text = run("--help").stdout
    assert re.findall(r"─ (\w+) ─", text) == ["Arguments", "Options", "Wood", "Paint"]
    options = re.findall(r"│ +(--[a-z]+)", text)
    assert options == ["--help", "--kind", "--age", "--board", "--colour", "--gloss", "--primer", "--coats"]
    assert "Which old tree." in text


def test_limits_hold():
    result = run("--coats", "0")
    assert result.exit_code == 2
    assert "--coats" in result.output


def test_an_option_whose_neighbours_are_not_there_stays_in_its_group():
    @grouped
    def other(*, paint: Paint, last: bool = False) -> None: ...

    assert list(signature(other).parameters) == ["colour", "gloss", "coats", "last"]


def test_a_setting_is_called_like_its_field_and_stands_in_the_panel_of_its_group():
    @dataclass(frozen=True)
    class Varnish(Group, panel="Varnish"):
        dry_for: int = setting("HOURS", "How long.", default=1, also="--drying", min=1)
        matt: bool = setting(None, "It does not shine.", After("gloss"), default=False, panel="Paint")

    class OldVarnish(Varnish): ...

    @grouped
    def command(*, varnish: OldVarnish, paint: Paint) -> None:
        print(varnish)

    app = typer.Typer(add_completion=False)
    app.command()(command)
    assert list(signature(command).parameters) == ["dry_for", "colour", "gloss", "matt", "coats"]
    for words in (["--dry-for", "2"], ["--drying", "2", "--matt"]):
        called = CliRunner().invoke(app, words)
        assert called.stdout.endswith(f"OldVarnish(dry_for=2, matt={len(words) > 2})\n")
    assert CliRunner().invoke(app, ["--dry-for", "0"]).exit_code == 2
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert re.findall(r"─ (\w+) ─", text) == ["Options", "Varnish", "Paint"]
    assert text.index("--dry-for") < text.index("─ Paint ─") < text.index("--matt") < text.index("--coats")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_options_of_a_command_are_spelled_alike(name: str):
    single = typer.Typer(add_completion=False)
    single.command(name)(load(name))
    spelled = [text for parameter in typer.main.get_command(single).params for text in parameter.opts]
    assert len(spelled) == len(set(spelled))


def test_no_command_hands_on_its_local_variables():
    sources = sorted(Path(prune.cli.__path__[0]).rglob("*.py"))
    assert len(sources) > 20
    assert [str(path) for path in sources if "locals()" in path.read_text(encoding="utf-8")] == []
