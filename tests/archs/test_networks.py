"""The built-in networks: sizes, shapes, names, and the logits of weights trained by others."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from prune.archs.registry import get, names
from prune.engine.modules.blank import without_initialisation
from torch import Tensor

SHARED = Path(__file__).parents[2].parent / "shared"

# As counted by the papers that prune these networks. HRank's VGG-16 (vgg16_bn) has convolution biases; FPGM's
# (vgg16) has none, 4,224 parameters fewer.
PARAMETERS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "vgg16_bn": 14_991_946,
    "vgg16": 14_987_722,
    "densenet40": 1_059_298,
    "googlenet": 6_166_250,
    "src20": 272_474,
    "src56": 855_770,
    "src110": 1_730_714,
    "src164": 2_605_658,
    "vc": 14_986_698,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "lenet5": 431_150,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("name", names())
def test_every_network_builds_runs_and_has_its_published_size(name):
    arch = get(name)
    assert arch.num_classes
    assert arch.input_size
    with torch.device("meta"), torch.no_grad():  # shapes alone: numbers are those of the tests below
        model = arch.build(arch.num_classes).eval()
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
        assert model(torch.zeros(1, *arch.input_size)).shape == (1, arch.num_classes)
        with without_initialisation():
            assert arch.build(3).state_dict().keys() == model.state_dict().keys()
    assert arch.source


@cache
def built(name):
    return get(name).build(7).eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "vgg16_bn", "densenet40", "googlenet"])
@pytest.mark.parametrize("side", [16, 32, 40])
def test_small_image_networks_take_any_size(name, side):
    assert built(name)(torch.zeros(2, 3, side, side)).shape == (2, 7)


def test_he_initialisation():
    model = get("resnet20").build(10)
    deviation = model.state_dict()["stage3.block1.conv1.conv.weight"].std().item()
    assert deviation == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "vgg16_bn", "densenet40", "googlenet"])
def test_gradients_reach_every_parameter(name):
    arch = get(name)
    model = arch.build(5)
    model(torch.randn(2, 3, 33, 33)).square().sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "bias" not in n
    )


def test_resnet_names_are_those_of_resrep():
    cifar = get("resnet56").build(10).state_dict()
    wanted = {
        "stage1.conv1.conv.weight",
        "stage1.block0.conv1.bn.running_var",
        "stage3.block8.conv2.conv.weight",
    }
    assert wanted | {"linear.weight", "linear.bias"} <= cifar.keys()
    imagenet = get("resnet50").build(1000).state_dict()
    assert len(imagenet) == 320
    wanted = {
        "conv1.bn.weight",
        "stage1.projection.conv.weight",
        "stage4.block2.conv3.conv.weight",
        "fc.bias",
    }
    assert wanted <= imagenet.keys()


def test_resnet50_agrees_with_torchvision():
    """Same logits as an independent implementation, its weights under our names."""
    torchvision = pytest.importorskip("torchvision")
    theirs = randomise_bn(torchvision.models.resnet50(weights=None)).eval()
    ours = get("resnet50").build(1000).eval()
    ours.load_state_dict({_from_torchvision(name): t for name, t in theirs.state_dict().items()})
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [20, 56])
def test_resnet_with_trained_weights_gives_the_logits_of_an_independent_forward(depth):
    files = list((SHARED / "data" / "weights").glob(f"resnet{depth}-*.th"))
    if not files:
        pytest.skip("the trained weights are not here (../shared/data/weights)")
    state = torch.load(files[0], map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    model = get(f"resnet{depth}").build(10).eval()
    missing = model.load_state_dict({_from_akamaster(name): t for name, t in state.items()}, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), akamaster_forward(state, x), rtol=1e-4, atol=1e-4)


def akamaster_forward(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The CIFAR ResNet written again, from the paper, over the weights' own names."""

    def conv_bn(x: Tensor, conv: str, bn: str, stride: int) -> Tensor:
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=1)
        statistics = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        return F.batch_norm(x, *statistics, state[f"{bn}.weight"], state[f"{bn}.bias"])

    x = conv_bn(x, "conv1", "bn1", 1).relu()
    for layer in (1, 2, 3):
        blocks = {int(m[1]) for name in state if (m := re.match(rf"layer{layer}\.(\d+)\.", name))}
        for block in sorted(blocks):
            stride = 2 if layer > 1 and block == 0 else 1
            at = f"layer{layer}.{block}"
            branch = conv_bn(x, f"{at}.conv1", f"{at}.bn1", stride).relu()
            branch = conv_bn(branch, f"{at}.conv2", f"{at}.bn2", 1)
            if stride == 2:
                zeros = torch.zeros_like(branch[:, : branch.shape[1] // 4])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)
            x = (x + branch).relu()
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


def randomise_bn(model: torch.nn.Module) -> torch.nn.Module:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)  # pyright: ignore[reportOptionalMemberAccess]
            module.bias.data.uniform_(-0.3, 0.3)
    return model


def _from_akamaster(name: str) -> str:
    name = re.sub(r"layer(\d)\.(\d+)\.", r"stage\1.block\2.", name)
    name = re.sub(r"conv(\d)\.", r"conv\1.conv.", name)
    name = re.sub(r"bn(\d)\.", r"conv\1.bn.", name)
    return name if name.startswith(("stage", "linear")) else f"stage1.{name}"


def _from_torchvision(name: str) -> str:
    name = re.sub(r"layer(\d)\.0\.downsample\.", r"stage\1.projection.", name)
    name = name.replace("projection.0", "projection.conv").replace("projection.1", "projection.bn")
    name = re.sub(r"layer(\d)\.(\d+)\.", r"stage\1.block\2.", name)
    if "projection" in name or name.startswith("fc"):
        return name
    return re.sub(r"bn(\d)\.", r"conv\1.bn.", re.sub(r"conv(\d)\.", r"conv\1.conv.", name))
