"""`prune prune --method sketch`, typed out."""

import json
import re
from pathlib import Path

import pytest
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network

pytestmark = pytest.mark.usefixtures("few_digits")

SKETCH = ("prune", "base.hdf5", "--method", "sketch")
RATES = ("--keep-rate", "[0.5]*9")
DIGITS = ("--dataset", "digits", "--recalibrate", "5")


@pytest.fixture
def without_images(tmp_path: Path) -> None:
    """A base network that names no images, whose sketches are the same."""
    save_network(tmp_path / "base.hdf5", new_network("resnet20", input_size=16))


def test_it_says_what_it_did_and_writes_the_narrow_network(prune, file: Path):
    ended = prune(*SKETCH, *RATES, *DIGITS)
    assert ended.code == 0, ended.err
    assert re.search(r"^stage1.block0.conv1.conv\s+16\s+8\s+50\.0%$", ended.out, re.M)
    assert re.search(r"^before\s.*\n^sketched\s.*\n^BN re-estimated\s", ended.out, re.M)
    assert "not sketched, its outputs are added into a residual stream: stage1.conv1.conv" in ended.err
    assert "proven: read back from a file, it differs by 0.0e+00" in ended.err
    network = load_network("base-pruned.hdf5")
    assert len(network.model.state_dict()["stage3.block0.conv1.conv.weight"]) == 32


def test_json_has_the_stable_keys(prune, file: Path):
    ended = prune(
        *SKETCH, *RATES, *DIGITS, "--json", "--quiet", "--procedure", "released", "--weight-norm", "l2"
    )
    facts = json.loads(ended.out)
    assert {"arch", "macs", "params", "baseline", "layers", "kept", "residual", "pinned"} <= facts.keys()
    assert [len(facts["kept"][layer["name"]]) for layer in facts["layers"][:-1]] == [
        layer["out"] for layer in facts["layers"][:-1]
    ]
    assert len(facts["sketched"]) == 9
    assert (facts["procedure"], facts["weight_norm"]) == ("released", "l2")
    assert list(facts["accuracy"]) == ["before", "pruned", "recalibrated"]
    assert facts["difference"] == 0
    step = load_network("base-pruned.hdf5").history[-1]["options"]
    assert (step["method"], step["procedure"], step["weight_norm"]) == ("sketch", "released", "l2")


def test_the_procedures_differ(prune, resnet8: None):
    """And the default is the one that the help names."""
    save_network("base.hdf5", new_network("resnet8", input_size=16))
    found = {}
    for procedure in ((), ("--procedure", "paper"), ("--procedure", "released")):
        assert prune(*SKETCH, "--keep-rate", "[0.5]*3", *procedure, "--force", "--quiet").code == 0
        found[procedure] = load_network("base-pruned.hdf5").model.state_dict()[
            "stage1.block0.conv2.conv.weight"
        ]
    default, paper, released = found.values()
    assert paper.equal(default)
    assert not paper.equal(released)


def test_without_images_it_says_what_is_missing(prune, without_images: None):
    ended = prune(*SKETCH, *RATES)
    assert ended.code == 0
    assert "not re-estimated (there are no images): finetune before use" in ended.err
    assert "BN re-estimated" not in ended.out


def test_a_start_leaves_the_blocks_before_it_alone(prune, without_images: None):
    for start in ("7", "stage3.block0.conv1.conv"):
        ended = prune(*SKETCH, "--keep-rate", "[0.5]*3", "--start-conv", start, "--json", "--force")
        assert json.loads(ended.out)["sketched"] == [f"stage3.block{i}.conv1.conv" for i in range(3)]


def test_a_dry_run_counts_and_writes_nothing(prune, file: Path):
    facts = json.loads(prune(*SKETCH, *RATES, "--dry-run", "--json").out)
    assert facts["channels"]["stage2.block1.conv1.conv"] == [16, 32]
    assert facts["macs"] < 0.52 * facts["baseline"]["macs"]
    assert [path.name for path in Path().iterdir()] == ["base.hdf5"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--method sketch needs --keep-rate, such as '[0.6]*27'"),
        (("--keep-rate", "[0.5]*8"), "8 rates given; with --start-conv 1 this network takes 9"),
        (("--keep-rate", "9*[0.5]"), "write '[0.5]*9'"),
        (("--keep-rate", "[1.5]*9"), "a share that is kept lies above 0 and goes up to 1"),
        ((*RATES, "--residual", "coupled"), "--residual coupled has no effect with --method sketch"),
        ((*RATES, "--criterion", "l1"), "--criterion has no effect with --method sketch; leave it out"),
        ((*RATES, "--flops", "0.5"), "--flops has no effect with --method sketch; leave it out"),
        ((*RATES, "--schedule", "soft"), "--schedule has no effect with --method sketch; leave it out"),
        ((*RATES, "--start-conv", "12"), "--start-conv 12: the last place with something to sketch is 9"),
        ((*RATES, "--out", "base.hdf5", "--force"), "base.hdf5"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(prune, file: Path, words: tuple, message: str):
    ended = prune(*SKETCH, *words)
    assert ended.code == 2
    assert message in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
    assert [path.name for path in Path().iterdir()] == ["base.hdf5"]


def test_an_existing_output_stays(prune, file: Path):
    Path("base-pruned.hdf5").write_text("mine")
    assert prune(*SKETCH, *RATES).code == 2
    assert Path("base-pruned.hdf5").read_text() == "mine"
