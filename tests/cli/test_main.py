"""The frame around all commands: help, version, and what becomes of errors."""

import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from prune.archs.errors import UnknownArch
from prune.cli.main import COMMANDS, KNOWN_ERRORS, main
from prune.engine.errors import DataError
from prune.weights import stats, store
from prune.weights.store import WeightFile

ORDER = ["train-base", "rank", "prune", "finetune", "convert", "inspect", "flops", "recipes", "evaluate"]
HERE = Path(importlib.import_module("prune.cli").__path__[0])
WRITTEN = [name for name in COMMANDS if (HERE / f"{name.replace('-', '_')}.py").exists()]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, weight_file: str) -> Callable[[BaseException], int]:
    """Run a command whose work ends in this error."""

    def run(error: BaseException) -> int:
        def describe(path: Path) -> None:
            raise error

        monkeypatch.setattr(stats, "describe", describe)
        return main(["inspect", weight_file, "--json"])

    return run


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_the_commands_in_working_order(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 0
    output = capsys.readouterr()
    listed = [name for name in re.findall(r"^│ (\S+)", output.out, re.M) if name in COMMANDS]
    assert listed == ORDER
    assert not output.err


@pytest.mark.parametrize("name", WRITTEN)
def test_a_commands_own_help_opens_with_the_listed_line(name: str, capsys: pytest.CaptureFixture[str]):
    assert main([name, "--help"]) == 0
    assert COMMANDS[name] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", WRITTEN)
def test_help_fits_eighty_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    main([name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_the_text_of_help_is_folded_by_the_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    main(["flops", "--help"])
    text = capsys.readouterr().out.partition("╭─")[0]
    paragraphs = [p.splitlines() for p in re.split(r"\n\s*\n", text)[2:] if p.strip()]
    assert any(len(lines) > 1 for lines in paragraphs)
    for lines in paragraphs:
        for line, following in itertools.pairwise(lines):
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > 79, line


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"prune {version('prune-cnn')}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["inspekt"], "error: No such command 'inspekt'. Did you mean 'inspect'? (see prune --help)"),
        (["xyz"], "error: No such command 'xyz'. (see prune --help)"),
        (["--foo"], "error: No such option: --foo (see prune --help)"),
        (["inspect"], "error: Invalid value for FILE: give a weight file (see prune inspect --help)"),
        (["inspect", "a", "b"], "error: Got unexpected extra argument(s) (b) (see prune inspect --help)"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(words: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    assert capsys.readouterr() == ("", line + "\n")


@pytest.mark.parametrize("known", KNOWN_ERRORS, ids=".".join)
def test_every_error_in_the_table_exists_under_its_own_name(known: tuple[str, str]):
    module, name = known
    error = getattr(importlib.import_module(module), name)
    assert issubclass(error, Exception)
    assert (error.__module__, error.__qualname__) == known


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("no images in 'x';\n  use --download"), "error: no images in 'x'; use --download"),
        (UnknownArch("no arch 'resnet65'"), "error: no arch 'resnet65'"),
        (PermissionError(13, "Permission denied", "x"), "error: [Errno 13] Permission denied: 'x'"),
    ],
)
def test_known_errors_are_one_line_and_exit_2(
    error: Exception,
    line: str,
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
):
    assert failing(error) == 2
    assert capsys.readouterr() == ("", line + "\n")


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(tmp_path / "none.hdf5"), "--json"]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert re.fullmatch(r"error: no file '.*none\.hdf5'.*\n", output.err)


def test_debugging_shows_where_a_known_error_came_from(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("PRUNE_DEBUG", "1")
    assert failing(DataError("no images")) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith("error: no images\n")


def test_unknown_errors_show_where_they_came_from_and_exit_1(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
):
    assert failing(ZeroDivisionError("by zero")) == 1
    output = capsys.readouterr()
    assert not output.out
    assert output.err.startswith("Traceback")
    assert "ZeroDivisionError: by zero" in output.err
    assert output.err.splitlines()[-1].startswith("This is a fault in prune. Please report it")


def test_interrupted(failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]):
    assert failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_interrupted_where_it_can_go_on(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
):
    interrupt = KeyboardInterrupt("interrupted after epoch 3")
    interrupt.add_note("go on with: prune finetune --resume run")
    assert failing(interrupt) == 130
    assert capsys.readouterr().err == "interrupted after epoch 3; go on with: prune finetune --resume run\n"


def test_json_is_one_object_and_nothing_else(weight_file: str, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", weight_file, "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["tensors"][0]["name"] == "conv.weight"
    assert not output.err


def test_a_closed_pipe_is_no_error(weight_file: str):
    prune = subprocess.Popen(
        [sys.executable, "-c", "import prune.cli.main as m; input(); raise SystemExit(m.main(['--help']))"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert prune.stdout
    prune.stdout.close()
    prune.stdout = None
    _, shown = prune.communicate(b"\n")
    assert shown == b""
    assert prune.returncode == 141


SRC = str(Path(__file__).parents[3])


@pytest.mark.parametrize(
    ("redirection", "message"),
    [(">&-", "error: stdout is closed"), (">/dev/full", "No space left on device")],
)
def test_a_closed_or_full_stdout_is_one_line(tmp_path, redirection, message):
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}))
    ended = subprocess.run(
        f"{sys.executable} -m prune inspect x.hdf5 {redirection}",
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": SRC},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "error: memory is used up; use a smaller --batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "error: memory is used up"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."), "use fewer --workers"),
    ],
)
def test_faults_of_the_machine_are_one_line(monkeypatch, capsys, tmp_path, error, message):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("prune.weights.stats.describe", fail)
    store.write(tmp_path / "x.hdf5", WeightFile({"w": np.ones(3)}))
    assert main(["inspect", str(tmp_path / "x.hdf5")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
