"""What was typed, as against what is a default."""

import typer


def typed(context: typer.Context) -> list[str]:
    """The parameters that were typed, in that order but for --recipe, which comes first."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def option(name: str) -> str:
    """A parameter as it is typed."""
    return "FILE" if name == "file" else f"--{name.replace('_', '-')}"
