"""ResRep's widths per convolution: read, checked, applied and counted."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from prune.cli.main import main
from prune.engine.allocations.deps import Deps, read_deps
from prune.engine.errors import AllocationError
from prune.engine.graph.cost import count
from prune.engine.graph.trace import trace
from prune.engine.narrowing.pruning import prune_network
from prune.engine.network.files import load_network, to_weight_file
from prune.engine.network.fresh import new_network
from prune.engine.selection.allocation import Prunable
from prune.engine.selection.selection import equal_scores
from prune.weights import store

torch.set_num_threads(1)

LENET = (7, 3)
ORDER = ("stem.conv1.conv", "stem.conv2.conv")


@cache
def network(name):
    return new_network(name)


@cache
def mapped(name):
    return trace(network(name).model, network(name).input_size).map


def widths_of(name):
    deps = to_weight_file(network(name)).deps
    assert deps is not None
    return deps.tolist()


def narrowed_by(name, deps):
    return by_deps(mapped(name), equal_scores(mapped(name)), deps, network(name).conv_order)


def by_deps(channel_map, scores, deps, conv_order):
    return Deps(deps=tuple(deps)).select(Prunable(map=channel_map, conv_order=conv_order), scores)


@pytest.mark.parametrize("text", ["16,10,16", " 16, 10 ,16 "])
def test_widths_written_out(text):
    assert read_deps(text) == (16, 10, 16)


def test_widths_a_file_carries(tmp_path):
    path = tmp_path / "narrow.hdf5"
    store.write(path, store.WeightFile({"w": np.zeros(1, np.float32)}, {}, np.array([4, 2])))
    assert read_deps(str(path)) == (4, 2)
    store.write(path, store.WeightFile({"w": np.zeros(1, np.float32)}), force=True)
    with pytest.raises(AllocationError, match=r"narrow\.hdf5' carries no deps; write the widths out"):
        read_deps(str(path))


@pytest.mark.parametrize("text", ["", "16,", "16;10", "16,-1", "0.5", "deps.txt"])
def test_what_is_neither_widths_nor_a_file(text):
    with pytest.raises(AllocationError, match=r"are neither widths, such as '16,10,16', nor an \.hdf5 file"):
        read_deps(text)


def test_the_smallest_scores_leave_and_of_equal_ones_the_lower_index():
    channel_map = mapped("lenet5")
    scores = equal_scores(channel_map) | {ORDER[1]: np.arange(50.0)[::-1]}
    selection = by_deps(channel_map, scores, LENET, ORDER)
    assert channel_map.kept(ORDER[0], selection.removed).tolist() == list(range(13, 20))
    assert channel_map.kept(ORDER[1], selection.removed).tolist() == [0, 1, 2]
    assert selection.counts == {ORDER[0]: (7, 20), ORDER[1]: (3, 50)}


def test_the_flattened_follower_narrows_too():
    cost = count(mapped("lenet5"), narrowed_by("lenet5", LENET).removed)
    assert cost.macs == 24 * 24 * 7 * 25 + 8 * 8 * 3 * 7 * 25 + 3 * 16 * 500 + 500 * 10


@pytest.mark.parametrize(
    ("case", "name"),
    [("src20_narrow", "src20"), ("src56", "src56"), ("vc_narrow", "vc"), ("sres50_narrow", "resnet50")],
)
def test_deps_of_the_authors_files_count_like_the_files_themselves(shared_golden, case, name):
    path = shared_golden / "authors" / f"resrep_{case}_converted.hdf5"
    file = load_network(path)
    by_file = count(trace(file.model, file.input_size).map)
    by_widths = count(mapped(name), narrowed_by(name, read_deps(str(path))).removed)
    assert by_widths.macs == by_file.macs < count(mapped(name)).macs
    assert {layer.name: layer.out for layer in by_widths.layers} == {
        layer.name: layer.out for layer in by_file.layers
    }


def test_the_published_resnet50(published_rows):
    rows = [row for row in published_rows.values() if row["method"] == "ResRep" and row["deps"]]
    assert [row["id"] for row in rows] == ["resrep-sres50"]
    row = rows[0]
    cost = count(mapped("resnet50"), narrowed_by("resnet50", row["deps"]).removed)
    exact = row["narrow"]["exact"]
    assert (cost.macs, cost.params) == (exact["macs"], exact["params"])
    found = {
        layer.name: [layer.in_, layer.out, layer.kernel[0], layer.stride[0], layer.out_hw[0]]
        for layer in cost.layers
        if layer.kernel
    }
    assert found == {name: shape for name, shape in exact["layers"].items() if name in found}
    assert len(found) == 53


def test_full_widths_change_nothing():
    for name in ("src20", "mobilenet_v1", "lenet5"):
        assert narrowed_by(name, widths_of(name)).removed == frozenset()


def test_a_depthwise_convolution_has_the_width_of_what_it_reads():
    deps = widths_of("mobilenet_v1")
    deps[0] = deps[1] = 20
    deps[2] = deps[3] = 11
    layers = {
        layer.name: (layer.in_, layer.out)
        for layer in count(mapped("mobilenet_v1"), narrowed_by("mobilenet_v1", deps).removed).layers
    }
    assert layers["stem.0.pointwise.conv"] == (20, 11)
    assert layers["stem.1.pointwise.conv"] == (11, 128)
    deps[3] = 12
    with pytest.raises(
        AllocationError, match=r"'stem\.0\.pointwise\.conv' 11 channels and 'stem\.1\.depthwise"
    ):
        narrowed_by("mobilenet_v1", deps)


def changed(name, **widths):
    deps = dict(zip(network(name).conv_order, widths_of(name), strict=True))
    return list((deps | {key.replace("__", "."): width for key, width in widths.items()}).values())


@pytest.mark.parametrize(
    ("deps", "message"),
    [
        (
            [16] * 20,
            r"20 deps given; this network takes 21, one width per convolution: stage1\.conv1\.conv, ",
        ),
        (
            changed("src20", stage1__block1__conv1__conv=17),
            "'stage1.block1.conv1.conv' 17 channels; it can have 1 to 16",
        ),
        (
            changed("src20", stage1__block1__conv1__conv=0),
            "'stage1.block1.conv1.conv' 0 channels; it can have 1 to 16",
        ),
        (
            changed("src20", stage2__block1__conv2__conv=30),
            "deps give 'stage2.projection.conv' 32 channels and 'stage2.block1.conv2.conv' 30, but",
        ),
    ],
)
def test_deps_that_do_not_fit_name_the_convolution(deps, message):
    with pytest.raises(AllocationError, match=message):
        narrowed_by("src20", deps)


def test_a_network_without_an_order_takes_no_deps():
    with pytest.raises(
        AllocationError, match="has no order of deps; say what leaves with `layer_rates` or `plan`"
    ):
        by_deps(mapped("lenet5"), {}, LENET, ())


def test_a_pinned_channel_that_would_have_to_leave_is_an_error():
    channel_map = mapped("lenet5")
    pinned = channel_map.pin(channel_map.layer(ORDER[0]).out_ids[:8], "something reads it")
    with pytest.raises(
        AllocationError, match=r"'stem\.conv1\.conv' 7 channels of 20, but something reads it"
    ):
        by_deps(pinned, equal_scores(channel_map), LENET, ORDER)


def test_pruning_by_deps_makes_a_network_of_these_widths():
    deps = changed("src20", stage1__block0__conv1__conv=5, stage3__block2__conv1__conv=1)
    allocation = Deps(deps=tuple(deps))
    assert allocation.needs_scores
    pruned = prune_network(network("src20"), allocation, equal_scores(mapped("src20")))
    assert to_weight_file(pruned.network).deps.tolist() == deps
    assert pruned.network.history[-1]["options"]["deps"] == tuple(deps)


@pytest.fixture
def flops(capsys):
    """Run the command; the facts it prints, or what it says is wrong."""

    def run(*arguments):
        status = main(["flops", *arguments, "--json"])
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 else printed.err

    return run


def test_the_command_counts_deps_written_out_and_deps_of_a_file(flops, tmp_path):
    facts = flops("--arch", "lenet5", "--deps", "7,3")
    assert facts["macs"] == 24 * 24 * 7 * 25 + 8 * 8 * 3 * 7 * 25 + 3 * 16 * 500 + 500 * 10
    assert facts["baseline"]["params"] == 431_150
    store.write(tmp_path / "d.hdf5", store.WeightFile({"w": np.zeros(1, np.float32)}, {}, np.array([7, 3])))
    assert flops("--arch", "lenet5", "--deps", str(tmp_path / "d.hdf5")) == facts


def test_the_command_says_in_one_line_what_is_wrong_with_deps(flops):
    assert flops("--arch", "resnet20", "--deps", "7,3").startswith(
        "error: this network has no order of deps;"
    )
    assert flops("--arch", "lenet5", "--deps", "7").startswith(
        "error: 1 deps given; this network takes 2, one"
    )
    assert "--rate and --deps exclude each other" in flops(
        "--arch", "lenet5", "--deps", "7,3", "--rate", "0.5"
    )


def test_the_command_prune_writes_a_file_of_these_widths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["prune", "--arch", "lenet5", "--deps", "7,3", "--out", "narrow.hdf5", "--quiet"]) == 0
    assert load_network("narrow.hdf5").input_size == (1, 28, 28)
    assert read_deps("narrow.hdf5") == LENET
