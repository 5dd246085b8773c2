"""ResRep's networks: its files load by themselves, its order of convolutions, and narrowing."""

import numpy as np
import pytest
import torch
from prune.archs.registry import ArchError, get, names
from prune.archs.units import ConvBN
from prune.engine.allocations.budget import Budget
from prune.engine.errors import FitError
from prune.engine.graph.cost import count
from prune.engine.graph.trace import trace
from prune.engine.modules.blank import without_initialisation
from prune.engine.narrowing.pruning import prune_network
from prune.engine.narrowing.surgery import mask
from prune.engine.network import recognition
from prune.engine.network.files import load_network, save_network, to_weight_file
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.engine.network.recognition import recognise
from prune.engine.selection.selection import equal_scores
from prune.weights import store
from recorded import arrays
from torch import nn

CASES = {"src20_narrow": "src20", "src56": "src56", "vc_narrow": "vc", "sres50_narrow": "resnet50"}
PARAMS_OF_CONVERTED = {"src20_narrow": 41303, "src56": 423140, "vc_narrow": 42656, "sres50_narrow": 66598}
WITH_ORDER = [name for name in names() if get(name).conv_order]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def converted(shared_golden):
    """Path of a file that the authors' conversion wrote, and what goes with it."""

    def find(case):
        folder = shared_golden / "authors"
        return folder / f"resrep_{case}_converted.hdf5", arrays(folder / f"resrep_{case}_io.npz")

    return find


def network_of(name: str, input_size=None) -> Network:
    """Seeded, with BN that does something: on a fresh one even wrong channels give the right numbers."""
    network = new_network(name, num_classes=7, input_size=input_size)
    generator = torch.Generator().manual_seed(1)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
    network.model.eval()
    return network


@pytest.mark.parametrize("case", CASES)
def test_a_converted_file_of_the_authors_loads_alone_and_gives_their_logits(case, converted):
    path, recorded = converted(case)
    network = load_network(path)
    assert network.arch == CASES[case]
    images = torch.from_numpy(recorded["input"])
    with torch.no_grad():
        single = network.model(images).numpy()
        double = network.model.double()(images.double()).numpy()
    np.testing.assert_allclose(single, recorded["logits_converted"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(double, recorded["logits_converted_f64"], rtol=0, atol=1e-10)
    assert count(trace(network.model, network.input_size).map).params == PARAMS_OF_CONVERTED[case]


@pytest.mark.parametrize("case", CASES)
def test_what_was_loaded_is_written_with_the_same_deps_and_tensors(case, converted, tmp_path):
    path, recorded = converted(case)
    save_network(tmp_path / "again.hdf5", load_network(path))
    theirs, ours = store.read(path), store.read(tmp_path / "again.hdf5")
    assert ours.deps is not None
    assert ours.deps.dtype == np.int64
    assert ours.deps.tolist() == recorded["deps_after"].tolist()
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert all(np.array_equal(array, theirs.tensors[name]) for name, array in ours.tensors.items())


@pytest.mark.parametrize("case", CASES)
def test_training_form_is_recognised_too(case, converted):
    path, _ = converted(case)
    trained = store.read(path.with_name(path.name.replace("converted", "train")))
    assert recognise(trained.tensors) == (CASES[case],)


@pytest.mark.parametrize("name", names())
def test_every_built_in_network_is_recognised_by_its_names_alone(name):
    with torch.device("meta"), without_initialisation():
        state = get(name).build(3).state_dict()
    assert recognise(state) == (name,)
    assert recognise(list(state)[1:]) == ()


def test_a_file_that_fits_several_archs_or_none_asks_for_the_name(tmp_path, monkeypatch, converted):
    path, _ = converted("vc_narrow")
    frame = recognition._lasting_by_arch()["vc"]
    monkeypatch.setattr(recognition, "_lasting_by_arch", lambda: {"vc": frame, "vd": frame})
    with pytest.raises(
        ArchError, match="does not say its arch, and its names fit vc and vd; name it with `arch`"
    ):
        load_network(path)
    monkeypatch.setattr(recognition, "_lasting_by_arch", dict)
    with pytest.raises(ArchError, match="does not say its arch, and its names are not recognised"):
        load_network(path)
    assert load_network(path, "vc").arch == "vc"


def test_a_unit_that_is_folded_in_part_is_refused_by_name(tmp_path, converted):
    path, _ = converted("src20_narrow")
    half = store.read(path)
    half.tensors["stage2.projection.bn.weight"] = np.ones(20, np.float32)
    store.write(tmp_path / "half.hdf5", half)
    with pytest.raises(FitError, match=r"stage2\.projection\.bn\.bias is missing, but .*bn\.weight is there"):
        load_network(tmp_path / "half.hdf5")


@pytest.mark.parametrize(("row_id", "name"), [("resrep-sres50", "sres50"), ("resrep-src56", "src56")])
def test_published_order_and_widths_of_the_full_networks(published_rows, row_id, name):
    """What they cost, `engine/recipes/test_published_rows` says of each."""
    row = published_rows[row_id]
    network = new_network(name)
    assert list(network.conv_order) == row["deps_conv_names"]
    deps = to_weight_file(network).deps
    assert deps is not None
    assert deps.tolist() == row["deps_baseline"]


@pytest.mark.parametrize("name", WITH_ORDER)
def test_the_order_names_every_convolution_once(name):
    arch = get(name)
    with torch.device("meta"), without_initialisation():
        model = arch.build(3)
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert sorted(arch.conv_order) == sorted(convolutions)


def test_orders_by_hand():
    assert get("resnet18").conv_order[:7] == (
        "conv1.conv",
        *(f"stage1.block{i}.conv{j}.conv" for i in (0, 1) for j in (1, 2)),
        "stage2.projection.conv",
        "stage2.block0.conv1.conv",
    )
    assert get("mobilenet_v1").conv_order[:4] == (
        "conv1.conv",
        "stem.0.depthwise.conv",
        "stem.0.pointwise.conv",
        "stem.1.depthwise.conv",
    )
    assert {name: len(get(name).conv_order) for name in ("src164", "resnet101", "mi1", "lenet5", "vc")} == {
        "src164": 165,
        "resnet101": 104,
        "mi1": 27,
        "lenet5": 2,
        "vc": 13,
    }


def test_deps_are_left_out_where_they_would_not_say_what_the_network_is():
    network = network_of("src20")
    assert to_weight_file(network).deps is not None
    block = network.model.get_submodule("stage1.block0.merge")
    block.index = torch.arange(16)
    assert to_weight_file(network).deps is None
    block.index = None
    unit = network.model.get_submodule("stage1.block0.conv1")
    assert isinstance(unit, ConvBN)
    unit.compactor = nn.Conv2d(16, 16, 1, bias=False)
    assert to_weight_file(network).deps is None
    assert to_weight_file(network_of("resnet20")).deps is None, "option A has no order in ResRep"


@pytest.mark.parametrize(
    ("name", "input_size", "residual"),
    [
        ("src20", (3, 16, 16), "internal"),
        ("src20", (3, 16, 16), "coupled"),
        ("vc", (3, 32, 32), "internal"),
        ("sres18", (3, 32, 32), "coupled"),
        ("mobilenet_v1", (3, 32, 32), "internal"),
        ("lenet5", (1, 28, 28), "internal"),
        # As src20, with more blocks.
        pytest.param("src56", (3, 8, 8), "coupled", marks=pytest.mark.soak),
        pytest.param("src110", (3, 8, 8), "internal", marks=pytest.mark.soak),
        pytest.param("src164", (3, 8, 8), "internal", marks=pytest.mark.soak),
        # Narrow bottlenecks, the authors' files have, above and in `engine/resrep/test_folding`.
        pytest.param("sres50", (3, 32, 32), "internal", marks=pytest.mark.soak),
        pytest.param("sres50", (3, 32, 32), "coupled", marks=pytest.mark.soak),
    ],
)
def test_half_the_macs_leave_and_the_file_computes_what_the_masked_network_does(
    name, input_size, residual, tmp_path
):
    network = network_of(name, input_size)
    allocation = Budget(flops=0.5, residual=residual)
    traced = trace(network.model, input_size)
    scores = {layer.name: np.random.default_rng(2).random(len(layer.out_ids)) for layer in traced.map.layers}
    pruned = prune_network(network, allocation, scores, traced=traced)
    assert 0.45 < pruned.after.macs / pruned.before.macs <= 0.5
    assert not any("left alone" in note for note in pruned.notes)
    save_network(tmp_path / "narrow.hdf5", pruned.network)
    narrow = load_network(tmp_path / "narrow.hdf5").model.double()
    masked = network.model
    masked.load_state_dict(mask(masked.state_dict(), pruned.map, pruned.removed))
    images = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        torch.testing.assert_close(narrow(images), masked.double()(images), rtol=1e-9, atol=1e-9)
    deps = store.read(tmp_path / "narrow.hdf5").deps
    assert deps is not None
    assert deps.tolist() == [len(pruned.kept[conv]) for conv in network.conv_order]


def test_every_filter_of_mobilenet_before_its_linear_layer_can_be_chosen():
    network = new_network("mobilenet_v1", input_size=32)
    channel_map = trace(network.model, network.input_size).map
    narrowable = [g for g in channel_map.groups if g.producers and g.free.all() and not g.stream]
    assert len(narrowable) == 14, "the stem and 13 pointwise convolutions; depthwise ones pass channels on"
    assert set(equal_scores(channel_map)) >= {g.name for g in narrowable}


def test_one_channel_images_keep_their_channel_when_only_the_side_is_given(tmp_path):
    save_network(tmp_path / "lenet5.hdf5", network_of("lenet5"))
    assert load_network(tmp_path / "lenet5.hdf5", input_size=28).input_size == (1, 28, 28)
    assert new_network("src20", input_size=16).input_size == (3, 16, 16)
    with pytest.raises(FitError, match="does not run on a 1x32x32 image"):
        load_network(tmp_path / "lenet5.hdf5", input_size=32)
