"""The package as it is installed and imported."""

import subprocess
import sys
import tomllib
from pathlib import Path

import prune
import pytest
from prune.cli import main as shell
from prune.engine.errors import EngineError

ROOT = Path(__file__).parents[1]
PACKAGES = {"cli", "engine", "archs", "weights"}


def test_importing_it_costs_no_torch():
    code = "import sys, prune; assert prune.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent).returncode == 0


@pytest.mark.parametrize("name", prune.__all__)
def test_every_public_name_is_there(name: str):
    assert callable(getattr(prune, name))
    assert name in dir(prune)


def test_no_public_name_hides_a_subpackage():
    assert not PACKAGES & set(prune.__all__)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="'prune' has no attribute 'nonsense'"):
        prune.nonsense  # noqa: B018


def test_every_subpackage_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")]
    assert sorted(listed) == sorted(["prune", *(".".join(["prune", *init.parts[:-1]]) for init in inits)])


def test_the_oldest_versions_that_are_allowed_are_those_that_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    allowed = [*project["dependencies"], *extras["digits"], *extras["safetensors"], *extras["dev"]]
    bounds = dict(line.split(">=") for line in allowed if ">=" in line)
    pinned = (ROOT / "tests" / "lower-bounds.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in pinned if not line.startswith("#"))
    tools = {"ruff", "basedpyright"}  # they look at the code, and do not run it
    assert tested.keys() == bounds.keys() - tools
    assert all(f"{tested[name]}.0".startswith(f"{bounds[name]}.") for name in tested)


def test_tests_and_shell_share_one_copy_of_the_package():
    assert (EngineError.__module__, EngineError.__qualname__) in shell.KNOWN_ERRORS
    copies = [
        name
        for name, module in sys.modules.items()
        if (file := getattr(module, "__file__", None))
        and Path(file).is_relative_to(ROOT)
        and Path(file).relative_to(ROOT).parts[0] in PACKAGES
        and not name.startswith("prune.")
    ]
    assert not copies
