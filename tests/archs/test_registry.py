"""Finding networks by name, and what is said when they are not found."""

import pytest
import torch
from prune.archs.errors import one_of
from prune.archs.from_torchvision import torchvision_names
from prune.archs.registry import ArchError, UnknownArch, get, names, register
from prune.engine.modules.blank import without_initialisation
from torch import nn


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Write a module into an otherwise empty current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text("from torch import nn\n" + text)

    return write


def test_names_are_unique_and_sorted_by_number():
    assert len(set(names())) == len(names())
    assert [name for name in names() if name.startswith("resnet")] == [
        f"resnet{depth}" for depth in (18, 20, 32, 34, 44, 50, 56, 101, 110, 152)
    ]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("resnet_56", "resnet56"),
        ("resnet_56_convwise", "resnet56"),
        ("resnet_110_convwise", "resnet110"),
        ("resnet_50_convwise", "resnet50"),
        ("vgg_16_bn", "vgg16_bn"),
        ("vgg", "vgg16"),
        ("densenet_40", "densenet40"),
        ("resnet_50", "resnet50"),
        ("sres50", "resnet50"),
        ("sres18", "resnet18"),
        ("mi1", "mobilenet_v1"),
        ("lenet5bn", "lenet5"),
    ],
)
def test_aliases(alias, name):
    assert get(alias) is get(name)
    assert get(name).name == name


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet20", 10),
        ("resnet56", 28),
        ("resnet110", 55),
        ("src56", 28),
        ("resnet18", 9),
        ("resnet50", 17),
        ("googlenet", 10),
        ("densenet40", 0),
        ("vgg16", 0),
    ],
)
def test_blocks_are_modules_and_hold_every_convolution_once(name, blocks):
    arch = get(name)
    with torch.device("meta"), without_initialisation():
        model = arch.build(2)
    convs = [at for at, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert len(arch.blocks) == blocks
    for modules in arch.blocks:
        assert all(model.get_submodule(module) for module in modules)
    assert {arch.block_of(conv) for conv in convs} == (set(range(blocks)) or {None})
    if blocks:
        assert arch.block_of(convs[0]) == 0
        assert arch.block_of("linear") is None


def test_a_projection_is_in_the_first_block_of_its_stage():
    arch = get("resnet50")
    assert arch.block_of("stage2.projection.conv") == arch.block_of("stage2.block0.conv1.conv") == 4
    assert arch.block_of("stage2.block1.conv1.conv") == 5
    assert get("resnet110").block_of("stage1.block10.conv1.conv") == 11  # not block1's


def test_a_name_can_be_taken_only_once():
    with pytest.raises(ArchError, match="two archs are called 'resnet_56': 'resnet56' and 'mine'"):
        register("mine", num_classes=2, input_size=(3, 8, 8), aliases=("resnet_56",), source="")(
            lambda n: nn.Linear(1, n)
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet65", "no arch 'resnet65'; did you mean 'resnet56'?"),
        ("mnasnet1_0", "no arch 'mnasnet1_0'; did you mean 'torchvision:mnasnet1_0'?"),
        (
            "torchvision:resnet51",
            "torchvision has no network 'resnet51'; did you mean 'torchvision:resnet50'?",
        ),
        ("torchvision:", "torchvision has no network ''; torchvision.models.list_models() lists them"),
        ("json:loadz", "module 'json' has no 'loadz'; did you mean 'load'?"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UnknownArch) as caught:
        get(name)
    assert str(caught.value) == message


def test_a_name_near_nothing_lists_what_there_is():
    with pytest.raises(
        UnknownArch, match=r"no arch 'xyz'; known are densenet40, .*vgg16_bn, torchvision:NAME and"
    ):
        get("xyz")


@pytest.mark.parametrize(
    ("name", "size", "classes", "images", "classifies"),
    [
        ("fasterrcnn_mobilenet_v3_large_fpn", (3, 320, 320), 91, 1, False),
        ("lraspp_mobilenet_v3_large", (3, 224, 224), 21, 1, False),
        ("r3d_18", (3, 16, 112, 112), 400, 1, True),
        ("quantized_resnet18", (3, 224, 224), 1000, 1, True),
        ("raft_small", (3, 128, 128), 0, 2, False),
    ],
)
def test_torchvision_networks_for_other_tasks_are_described(name, size, classes, images, classifies):
    arch = get(f"torchvision:{name}")
    assert (arch.input_size, arch.num_classes, arch.images, arch.classifies) == (
        size,
        classes,
        images,
        classifies,
    )
    assert sum(p.numel() for p in arch.build(7).parameters()) > 0


def test_every_torchvision_network_is_described():
    for name in torchvision_names():
        assert get(f"torchvision:{name}").input_size


def test_every_torchvision_classifier_is_described():
    from torchvision import models

    for name in models.list_models(module=models):
        arch = get(f"torchvision:{name}")
        assert arch.name == f"torchvision:{name}"
        assert arch.num_classes == 1000
        assert arch.input_size
    assert get("torchvision:inception_v3").input_size == (3, 299, 299)
    assert get("torchvision:resnet50").input_size == (3, 224, 224)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "mobilenet_v3_small"])
def test_torchvision_networks_build_without_warnings(name):
    with torch.device("meta"):
        state = get(f"torchvision:{name}").build(7).state_dict()
    assert list(state.values())[-1].shape == (7,)


def test_users_own_factories(user_module):
    user_module(
        "own_networks",
        "def sized(num_classes=4): return nn.Linear(2, num_classes)\n"
        "def passed_on(**options): return nn.Linear(2, options['num_classes'])\n"
        "def fixed(): return nn.Linear(2, 9)\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_classes): super().__init__(2, num_classes)\n",
    )
    made = {name: get(f"own_networks:{name}") for name in ("sized", "passed_on", "fixed", "Net")}
    widths = {name: arch.build(5)(torch.zeros(1, 2)).shape[1] for name, arch in made.items()}
    assert widths == {"sized": 5, "passed_on": 5, "fixed": 9, "Net": 5}
    assert [arch.num_classes for arch in made.values()] == [4, None, 0, None]
    assert {arch.input_size for arch in made.values()} == {None}
    assert made["sized"].name == "own_networks:sized"


def test_users_own_modules_that_cannot_be_imported(user_module):
    user_module("lacks_something", "import nowhere_to_be_found\n")
    user_module("fails", "1 / 0\n")
    with pytest.raises(UnknownArch, match=r"no module 'absent' in .* or among the installed packages"):
        get("absent.models:net")
    with pytest.raises(
        ArchError, match=r"importing 'lacks_something' failed: .*No module named 'nowhere_to_be_found'"
    ):
        get("lacks_something:net")
    with pytest.raises(ArchError, match="importing 'fails' failed: ZeroDivisionError: division by zero"):
        get("fails:net")
    with pytest.raises(ArchError, match="importing '' failed"):
        get(":net")


def test_users_own_factories_that_do_not_make_a_network(user_module):
    user_module("odd", "answer = 42\ndef raises(): raise RuntimeError('no luck')\ndef text(): return 'net'\n")
    with pytest.raises(ArchError, match="odd:answer is of type int; name a function or class"):
        get("odd:answer")
    with pytest.raises(ArchError, match="odd:raises raised RuntimeError: no luck"):
        get("odd:raises").build(2)
    with pytest.raises(ArchError, match=r"odd:text returned str; a torch\.nn\.Module is needed"):
        get("odd:text").build(2)


@pytest.mark.parametrize(
    ("given", "otherwise", "message"),
    [
        ("resnte", None, "no thing 'resnte'; did you mean 'resnet'?"),
        ("zzz", None, "no thing 'zzz'; choose one of resnet, vgg"),
        ("zzz", "ask around", "no thing 'zzz'; ask around"),
    ],
)
def test_an_unknown_name_is_answered_by_the_nearest_or_by_all(given, otherwise, message):
    assert one_of("thing", given, ("resnet", "vgg"), otherwise) == message
