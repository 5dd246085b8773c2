"""Every command as it is meant to be used, on a small network and the digits."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prune.weights import formats, store

COST_KEYS = {"arch", "macs", "params", "baseline", "layers"}
LAYER_KEYS = {"name", "in", "out", "kernel", "stride", "out_hw", "macs", "params"}
MACS, PARAMS = 10_138_240, 269_722  # of ResNet-20 on images of 16x16
SMALL_MACS, SMALL_PARAMS = 3_060_352, 75_290  # of ResNet-8
INNER, STREAM = "stage2.block0.conv1.conv", "stage2.block0.conv2.conv"

Facts = dict[str, Any]


@pytest.fixture
def facts(prune) -> Callable[..., Facts]:
    """Run a command with --json; its one object."""

    def run(*words: object) -> Facts:
        quiet = (
            [] if words[0] in ("inspect", "flops") else ["--quiet"]
        )  # these say nothing beside their results
        ended = prune(*words, "--json", *quiet)
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    return run


@pytest.fixture
def unmeasured(resnet8: None, tmp_path: Path) -> Path:
    """A small network in a file that names no images, so that pruning it looks at none."""
    from prune.engine.network.files import save_network
    from prune.engine.network.fresh import new_network

    path = tmp_path / "base.hdf5"
    save_network(path, new_network("resnet8", input_size=16).after("train-base", {}))
    return path


@pytest.fixture(scope="module")
def half(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base network with half of its multiply-accumulates."""
    from prune.cli.main import main

    path = tmp_path_factory.mktemp("half") / "narrow.hdf5"
    words = "--criterion l1 --flops 0.5 --recalibrate 0 --threads 1 --quiet --out"
    assert main(["prune", f"{base}/best.hdf5", *words.split(), str(path)]) == 0
    return path


@pytest.fixture
def narrow(half: Path, tmp_path: Path) -> Path:
    """A copy of it in the working folder."""
    return Path(shutil.copy(half, tmp_path / "narrow.hdf5"))


def check_costs(result: Mapping[str, Any]) -> None:
    """The stable keys, and layers that add up."""
    assert result.keys() >= COST_KEYS
    assert result["baseline"].keys() == {"macs", "params"}
    assert all(layer.keys() == LAYER_KEYS for layer in result["layers"])
    assert sum(layer["macs"] for layer in result["layers"]) == result["macs"]


def test_train_base_leaves_a_run_that_explains_itself(base: Path):
    assert {path.name for path in base.iterdir()} == {
        "best.hdf5",
        "checkpoint.pt",
        "config.json",
        "environment.json",
        "final.hdf5",
        "log.jsonl",
        "report.json",
    }
    meta = store.read(base / "best.hdf5").meta
    assert (meta["arch"], meta["num_classes"], meta["input_size"]) == ("resnet20", 10, [3, 16, 16])
    assert meta["accuracy"]["dataset"] == "digits"
    assert meta["accuracy"]["top1"] > 20
    assert [step["command"] for step in meta["history"]] == ["train-base"]


def test_train_base_on_a_terminal_of_words(prune, resnet8: None):
    words = "train-base --arch resnet8 --epochs 1 --batch-size 128 --precision fp32 --seed 3"
    code, out, err = prune(*words.split())
    assert code == 0
    folder = "runs/train-base-resnet8-digits-001"
    assert err.splitlines()[0] == f"training in {folder}: 1 epochs of 12 steps on cpu, fp32" + (
        ", channels last" if "channels last" in err else ""
    )
    assert re.match(r"epoch 1/1  loss \d\.\d{3}  train \d+\.\d\d%  test \d+\.\d\d%  lr ", err.splitlines()[1])
    heading, _, best, final, *_ = out.splitlines()
    assert heading.split() == ["file", "epoch", "top-1", "top-5", "loss"]
    assert best.split()[:3] == ["best", f"{folder}/best.hdf5", "1"]
    assert final.split()[:3] == ["final", f"{folder}/final.hdf5", "1"]


@pytest.mark.usefixtures("few_digits")
def test_rank_an_arch_as_typed_without_a_base(prune):
    code, out, err = prune("rank", "--arch", "resnet20")
    assert code == 0
    said = [line for line in err.splitlines() if not line.startswith("scoring: ")]  # where it takes its time
    assert said == [
        "warning: no base run of resnet20 on digits in runs/: using random weights, seed 0; "
        "train one with `prune train-base`, or name a file",
        "images: digits, 240 to train on and 60 to test on, 3x16x16",
        "saved runs/rank-resnet20-hrank-001/scores.hdf5 (17.8 kB)",
    ]
    title, heading, _, *rows = out.rstrip().splitlines()
    assert (title, heading.split()) == (
        "hrank scores of resnet20",
        ["layer", "filters", "lowest", "mean", "highest"],
    )
    assert len(rows) == 19


def test_rank_an_arch_takes_the_newest_base(facts, base: Path):
    words = ["rank", "--arch", "resnet_20", "--criterion", "l1"]
    for name, finished in (("older", "2024-01-01"), ("newer", "2025-01-01"), ("oldest", "2023-01-01")):
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        for file in base.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        report = json.loads((base / "report.json").read_text())
        (folder / "report.json").write_text(json.dumps(report | {"finished_at": finished}))
    assert facts(*words)["weights_source"] == ("runs/newer/best.hdf5, the newest base of resnet20 on digits")
    assert facts(*words, "--num-classes", "10")["path"] == "runs/rank-resnet20-l1-002/scores.hdf5"


def test_rank_a_file(facts, file: Path):
    result = facts("rank", file, "--limit", "1", "--batch-size", "32", "--out", "scores.hdf5")
    assert result.keys() == {"arch", "criterion", "weights_source", "path", "scores"}
    assert (result["arch"], result["criterion"], result["weights_source"]) == ("resnet20", "hrank", str(file))
    assert len(result["scores"]) == 19
    assert all(0 <= score <= 16 for score in result["scores"]["stage1.conv1.conv"])
    saved = store.read("scores.hdf5").tensors
    assert {name: len(scores) for name, scores in result["scores"].items()} == {
        name: len(array) for name, array in saved.items()
    }


WAYS = {  # options -> filters kept of the inner and of the stream convolutions of stage 2
    "--rate 0.5": (16, 32),
    "--rate 0.5 --residual coupled": (16, 16),
    "--rate 0.5 --min-channels 20": (20, 32),
    "--rate 0.5 --skip stage2.*": (32, 32),
    "--layer-rate stage2.block0.*=0.25 --layer-rate stage3.*=0.7": (24, 32),
    "--compress-rate [0.1]+[0.75]*6": (8, 32),
    "--compress-rate [0.5]*3": (16, 32),
    "--keep-rate [0.75]*7": (24, 32),
    "--rate-norm 1.0 --rate-dist 0.5": (16, 32),
    "--rate-dist 0.25 --residual coupled": (24, 24),
}


@pytest.mark.parametrize("words", WAYS)
def test_every_way_of_saying_what_leaves(words: str, facts, unmeasured: Path):
    result = facts("prune", unmeasured, *words.split())
    kept = {name: len(filters) for name, filters in result["kept"].items()}
    assert (kept[INNER], kept[STREAM]) == WAYS[words]
    widths = {layer["name"]: layer["out"] for layer in result["layers"] if layer["kernel"]}
    assert widths == kept
    assert result["residual"] == ("coupled" if "coupled" in words else "internal")
    assert result["baseline"] == {"macs": SMALL_MACS, "params": SMALL_PARAMS}
    tensors = store.read(result["path"]).tensors
    assert tensors[f"{INNER}.weight"].shape[0] == kept[INNER]
    parameters = [array for name, array in tensors.items() if name.endswith((".weight", ".bias"))]
    assert sum(array.size for array in parameters) == result["params"]
    counted = facts("flops", unmeasured, *words.split())  # the same without weights
    assert (counted["macs"], counted["params"]) == (result["macs"], result["params"])
    assert counted["ignored"] == result["ignored"]


@pytest.mark.parametrize(
    ("words", "key", "least", "most"),
    [
        ("", "macs", 0.48, 0.5),
        ("--flops 0.5", "macs", 0.48, 0.5),
        ("--flops 40%", "macs", 0.38, 0.4),
        ("--flops 2M", "macs", 0.63, 2e6 / SMALL_MACS),
        ("--params 0.5", "params", 0.48, 0.5),
        ("--flops 0.5 --ranking global --criterion random", "macs", 0.48, 0.5),
        ("--flops 0.5 --residual coupled --max-rate 0.6", "macs", 0.48, 0.5),
        ("--flops 0.6 --round-to 8", "macs", 0.4, 0.6),
    ],
)
def test_budgets_are_met_from_below(words: str, key: str, least: float, most: float, facts, unmeasured: Path):
    result = facts("prune", unmeasured, *words.split())
    assert least <= result[key] / result["baseline"][key] <= most
    if "--round-to 8" in words:
        assert {len(kept) % 8 for kept in result["kept"].values()} == {0}


def test_what_prune_says(prune, file: Path):
    words = "--rate 0.5 --recalibrate 2 --out narrow.hdf5 --plan-out plan.json"
    code, out, err = prune("prune", file, *words.split())
    assert code == 0
    lines = out.splitlines()
    assert lines[:4] == [
        "resnet20, residual internal",
        "layer                     channels  kept  removed",
        "─────────────────────────────────────────────────",
        "stage1.block0.conv1.conv        16     8    50.0%",
    ]
    heading, _, before, pruned, again = lines[13:18]
    assert heading.split() == ["MACs", "ΔMACs", "params", "Δparams", "top-1"]
    assert before.split()[:5] == ["before", "10.14M", "-", "269,722", "-"]
    assert pruned.split()[:5] == ["pruned", "5.12M", "-49.5%", "135,754", "-49.7%"]
    assert again.split()[:2] == ["BN", "re-estimated"]
    weights, images, proof, *saved = err.splitlines()
    assert weights == f"weights: {file}"
    assert images == "images: digits, 1,437 to train on and 360 to test on, 3x16x16"
    assert re.fullmatch(r"proven: narrow equals masked within \d\.\de[-+]\d\d \(relative, float64\)", proof)
    assert [line.split(" (")[0] for line in saved] == ["saved narrow.hdf5", "saved plan.json"]


@pytest.mark.usefixtures("few_digits")
def test_prune_json_has_its_stable_keys(facts, file: Path):
    result = facts("prune", file, "--scores", _scores(facts, file), "--residual", "coupled")
    check_costs(result)
    assert result.keys() - COST_KEYS == {
        "path",
        "kept",
        "residual",
        "pinned",
        "ignored",
        "difference",
        "accuracy",
    }
    assert result["difference"] < 1e-6
    assert set(result["accuracy"]) == {"before", "pruned", "recalibrated"}
    assert result["path"] == "base-pruned.hdf5"


def _scores(facts: Callable[..., Facts], file: Path) -> str:
    return facts("rank", file, "--criterion", "l2", "--out", "scores.hdf5")["path"]


def test_a_plan_can_be_written_edited_and_applied(facts, unmeasured: Path):
    words = ["--rate", "0.5", "--residual", "coupled", "--plan-out", "plan.json", "--out", "first.hdf5"]
    first = facts("prune", unmeasured, *words)
    again = facts("prune", unmeasured, "--plan", "plan.json", "--out", "again.hdf5")
    assert {key: again[key] for key in ("kept", "macs", "residual")} == {
        key: first[key] for key in ("kept", "macs", "residual")
    }
    tensors = store.read("first.hdf5").tensors
    for name, array in store.read("again.hdf5").tensors.items():
        np.testing.assert_array_equal(array, tensors[name])

    plan = json.loads(Path("plan.json").read_text())
    plan["groups"][INNER] = [3, 5, 8]
    Path("plan.json").write_text(json.dumps(plan))
    edited = facts("prune", unmeasured, "--plan", "plan.json", "--out", "edited.hdf5")
    assert edited["kept"] == first["kept"] | {INNER: [3, 5, 8]}
    assert facts("flops", unmeasured, "--plan", "plan.json")["macs"] == edited["macs"]


def test_prune_again_what_was_pruned(facts, unmeasured: Path):
    first = facts("prune", unmeasured, "--flops", "0.7", "--out", "first.hdf5")
    second = facts("prune", "first.hdf5", "--flops", "0.7", "--out", "second.hdf5")
    assert second["baseline"]["macs"] == first["macs"]
    history = store.read("second.hdf5").meta["history"]
    assert [step["command"] for step in history] == ["train-base", "prune", "prune"]
    assert history[2]["parent"] == store.sha256("first.hdf5")


@pytest.mark.usefixtures("resnet8")
def test_finetune_learns_from_the_base_and_can_be_resumed(facts, prune, thin: Path):
    facts("prune", thin, "--criterion", "l1", "--flops", "0.5", "--out", "narrow.hdf5")
    words = "--epochs 2 --precision fp32 --recalibrate 2 --out tuned"
    whole = facts("finetune", "narrow.hdf5", "--distill", thin, *words.split())
    assert (whole["epochs"], whole["folder"]) == (2, "tuned")
    assert whole["best"]["top1"] > store.read("narrow.hdf5").meta["accuracy"]["top1"]
    history = store.read("tuned/best.hdf5").meta["history"]
    assert [step["command"] for step in history] == ["train-base", "prune", "finetune"]
    assert history[-1]["options"]["distill_alpha"] == 0.5

    for name in ("report.json", "final.hdf5"):  # as if it had been killed while it wrote the last file
        Path("tuned", name).unlink()
    resumed = facts("finetune", "--resume", "tuned")
    assert resumed["final"]["top1"] == whole["final"]["top1"]
    assert "is finished" in prune("finetune", "--resume", "tuned").err


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("style", [None, "akamaster"])
def test_convert_there_and_back(suffix: str, style: str | None, facts, file: Path):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    names = ["--names", style] if style else []
    there = facts("convert", file, f"there.{suffix}", *names)
    assert there["path"] == f"there.{suffix}"
    keys = list(formats.read_any(there["path"]).tensors)
    assert keys[0] == ("conv1.weight" if style else "stage1.conv1.conv.weight")
    back = facts("convert", f"there.{suffix}", "back.hdf5")
    assert back["meta"]["arch"] == "resnet20"
    old, new = store.read(file).tensors, store.read("back.hdf5").tensors
    assert list(old) == list(new)
    assert all(np.array_equal(old[name], new[name]) for name in old)


def test_convert_and_inspect_as_typed(prune, file: Path):
    code, out, err = prune("convert", "base.hdf5")
    assert (code, out) == (0, "")
    assert re.fullmatch(r"\S.*\nsaved base.pth \(1.1 MB\)\n", err)
    code, out, err = prune("inspect", "base.hdf5")
    assert (code, err) == (0, "")
    assert re.match(r"file +base.hdf5 *\nsize +1.1 MB *\nsha256 +[0-9a-f]{64} *\nform +plain *\n", out)
    assert "116 tensors" in out


def test_inspect_tells_two_files_apart(facts, unmeasured: Path):
    facts("prune", unmeasured, "--rate", "0.5", "--out", "narrow.hdf5")
    result = facts("inspect", unmeasured, "--diff", "narrow.hdf5")
    assert not result["identical"]
    assert {"name": f"{INNER}.weight", "a": [32, 16, 3, 3], "b": [16, 16, 3, 3]} in result["shapes"]
    assert facts("inspect", unmeasured, "--diff", unmeasured)["identical"]


RESNET20 = """\
resnet20, images 3x32x32
layer                     in  out  kernel  stride  output   MACs  params
────────────────────────────────────────────────────────────────────────
stage1.conv1.conv          3   16     3x3     1x1   32x32  0.44M     432
stage1.block0.conv1.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block0.conv2.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block1.conv1.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block1.conv2.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block2.conv1.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage1.block2.conv2.conv  16   16     3x3     1x1   32x32  2.36M   2,304
stage2.block0.conv1.conv  16   32     3x3     2x2   16x16  1.18M   4,608
stage2.block0.conv2.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block1.conv1.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block1.conv2.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block2.conv1.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage2.block2.conv2.conv  32   32     3x3     1x1   16x16  2.36M   9,216
stage3.block0.conv1.conv  32   64     3x3     2x2     8x8  1.18M  18,432
stage3.block0.conv2.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block1.conv1.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block1.conv2.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block2.conv1.conv  64   64     3x3     1x1     8x8  2.36M  36,864
stage3.block2.conv2.conv  64   64     3x3     1x1     8x8  2.36M  36,864
linear                    64   10       -       -       -    640     650

MACs    40,551,040 (40.55M)
params  269,722

"""


def test_flops_of_an_arch(prune):
    assert prune("flops", "--arch", "resnet20") == (0, RESNET20, "")


def test_flops_of_a_specification(prune, facts):
    rates = "[0.1]+[0.60]*18"
    code, out, err = prune("flops", "--arch", "resnet20", "--compress-rate", rates)
    assert code == 0
    assert re.search(r"^MACs    (\S+) \(\S+M\)   -\d+\.\d% of 40,551,040\s*$", out, re.M)
    assert re.fullmatch(r"rates of 10 convs have no effect, they are left alone: .*\n", err)
    result = facts("flops", "--arch", "resnet20", "--compress-rate", rates)
    check_costs(result)
    assert result["baseline"] == {"macs": 40_551_040, "params": PARAMS}
    assert len(result["ignored"]) == 10


@pytest.mark.usefixtures("file", "narrow")
def test_evaluate_several_files(prune, monkeypatch: pytest.MonkeyPatch):
    from prune.engine.measure import comparison

    monkeypatch.setattr(comparison, "measure", partial(comparison.measure, repeats=5))
    code, out, err = prune("evaluate", "base.hdf5", "narrow.hdf5", "--latency")
    assert code == 0
    assert err == ("images: digits, 360 to test on, 3x16x16\ntiming forward passes of 1 and 128 images\n")
    title, heading, _, base_row, narrow_row, _, against, changes, _, change_row, *_ = out.splitlines()
    assert (title, against) == ("on digits, ms per batch", "against base.hdf5")
    assert heading.split() == ["file", "top-1", "top-5", "MACs", "params", "size", "ms/1", "ms/128"]
    assert changes.split() == ["file", "top-1", "MACs", "params", "size", "speed-up/1", "speed-up/128"]
    assert base_row.split()[:1] + base_row.split()[3:7] == ["base.hdf5", "10.14M", "0.27M", "1.1", "MB"]
    assert re.match(r"narrow.hdf5 +[+-]\d+\.\d\d  -\d\d\.\d%  -\d\d\.\d%  -\d\d\.\d% ", change_row)
    assert max(map(len, out.splitlines())) <= 80
    assert narrow_row.startswith("narrow.hdf5 ")


@pytest.mark.usefixtures("narrow")
def test_evaluate_json(facts, file: Path):
    result = facts("evaluate", file, "narrow.hdf5")
    assert result.keys() == {"dataset", "networks"}
    assert result["dataset"] == "digits"
    for network, path in zip(result["networks"], (str(file), "narrow.hdf5"), strict=True):
        check_costs(network)
        assert network.keys() - COST_KEYS == {"path", "bytes", "accuracy", "latency"}
        assert network["path"] == path
        assert network["baseline"] == {"macs": MACS, "params": PARAMS}
        stored = store.read(path).meta["accuracy"]
        assert network["accuracy"]["top1"] == pytest.approx(stored["top1"])


@pytest.mark.usefixtures("few_digits")
def test_evaluate_opens_the_images_once_per_normalisation(facts, file: Path, monkeypatch: pytest.MonkeyPatch):
    from prune.engine.network import sources

    opened: list[object] = []
    open_data = sources.open_data

    def counting(*args: Any, **options: Any) -> Any:
        opened.append(options["mean"])
        return open_data(*args, **options)

    monkeypatch.setattr(sources, "open_data", counting)
    whole = store.read(file)
    store.write("copy.hdf5", whole)
    other = {"mean": [0.5] * 3, "std": [0.5] * 3}
    store.write("other.hdf5", store.WeightFile(whole.tensors, {**whole.meta, "normalization": other}))
    result = facts("evaluate", file, "other.hdf5", "copy.hdf5")
    assert opened == [whole.meta["normalization"]["mean"], other["mean"]]
    first, second, third = (network["accuracy"]["loss"] for network in result["networks"])
    assert first == third != second
