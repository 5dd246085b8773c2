"""The Python interface, as its users call it: networks and images in memory, files, and what it says."""

from dataclasses import replace

import prune
import pytest
import torch
from prune.archs.errors import ArchError
from prune.engine.errors import AllocationError, CriterionError, DataError, FitError
from torch import Tensor, nn

SIZE = (3, 16, 16)


class Net(nn.Sequential):
    """Two convolutions and a head, as a user may have them in memory."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 10),
        )


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    model = Net()
    for norm in (model[1], model[4]):
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.running_mean)
    return model


@pytest.fixture
def net(model: nn.Module):
    return prune.wrap(model, SIZE)


@pytest.fixture
def loader() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(6, *SIZE, generator=generator), torch.arange(6)) for _ in range(3)]


@pytest.fixture(scope="module")
def resnet():
    from prune.engine.network.fresh import new_network

    return new_network("resnet20", seed=0)


def test_a_module_in_memory_becomes_a_narrow_module(net, model, loader):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores = prune.rank(net, "hrank", images=loader, limit=2)
    plan = prune.plan(net, scores, rate=0.5)
    thin = prune.prune(net, plan)
    assert isinstance(thin.model, Net)
    assert (thin.model[0].out_channels, thin.model[3].out_channels) == (4, 6)
    assert thin.difference < 1e-12
    assert thin.after.macs == prune.count(thin).macs < thin.before.macs == prune.count(net).macs
    assert thin.model(loader[0][0]).shape == (6, 10)
    lowest = scores["0"].argsort(stable=True)[:4]
    assert set(plan.groups["0"]).isdisjoint(lowest.tolist())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    again = prune.prune(thin, prune.plan(thin, rate=0.5))
    assert again.model[0].out_channels == 2


def test_images_may_come_in_any_form(net, loader):
    images = torch.cat([images_NCHW for images_NCHW, _ in loader])
    reference = prune.rank(net, "hrank", images=images)
    for form in (loader, [pair[0] for pair in loader], iter(loader), ([*pair, "name"] for pair in loader)):
        scores = prune.rank(net, "hrank", images=form)
        assert all(torch.equal(scores[name], reference[name]) for name in reference)
    assert prune.rank(net, "l1", images=loader).keys() == reference.keys()  # which needs none
    two = prune.rank(net, "hrank", images=images[:12])
    limited = prune.rank(net, "hrank", images=loader, limit=2)
    assert all(torch.equal(limited[name], two[name]) for name in two)


def test_a_data_set_goes_wherever_images_go(resnet):
    net = replace(resnet, input_size=(3, 16, 16))
    data = prune.images("digits", network=net)
    thin = prune.prune(net, prune.plan(net, prune.rank(net, "taylor", images=data, limit=1), flops=0.5))
    running = thin.model.get_submodule("stage1.conv1.bn").running_mean.clone()
    assert prune.recalibrate(thin, data, limit=2) == 19
    assert not torch.equal(running, thin.model.get_submodule("stage1.conv1.bn").running_mean)
    accuracy = prune.evaluate(thin, data)
    assert accuracy.images == 360
    assert 0 <= accuracy.top1 <= 100


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (None, CriterionError, "'taylor' looks at images"),
        ([], CriterionError, "there are none"),
        ([torch.randn(2, *SIZE)], CriterionError, "taylor needs a label for every image, and got 0 for 2"),
        (torch.randn(*SIZE), DataError, r"a batch has shape \(16, 16\)"),
        ([torch.randn(2, 3, 8, 8)], DataError, r"\(2, 3, 8, 8\); this network takes \(images, 3, 16, 16\)"),
        ([{"images": 1}], DataError, "a batch is made of dict"),
        ([(torch.randn(2, *SIZE), [0, 1])], DataError, "a batch is made of Tensor and list"),
        ([torch.zeros(2, *SIZE, dtype=torch.uint8)], DataError, "give floats, normalised"),
    ],
)
def test_images_that_cannot_be_used_are_told_apart(net, images, error, message):
    with pytest.raises(error, match=message):
        prune.rank(net, "taylor", images=images)


def test_a_network_without_arch_is_not_saved(net, tmp_path):
    thin = prune.prune(net, prune.plan(net, rate=0.5))
    with pytest.raises(ArchError, match=r"arch='package\.module:factory'"):
        prune.save(tmp_path / "thin.hdf5", thin)
    assert not list(tmp_path.iterdir())


def test_a_network_with_an_arch_is_saved_and_loads_alone(tmp_path, monkeypatch, loader):
    (tmp_path / "mynet_of_api.py").write_text(
        "from torch import nn\n"
        "def build(num_classes=10):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(8, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import mynet_of_api  # pyright: ignore[reportMissingImports]

    net = prune.wrap(mynet_of_api.build(), SIZE, arch="mynet_of_api:build")
    thin = prune.prune(net, prune.plan(net, rate=0.5))
    prune.save("thin.hdf5", thin)
    loaded = prune.load("thin.hdf5", "mynet_of_api:build")
    assert torch.equal(loaded.model(loader[0][0]), thin.model.eval()(loader[0][0]))
    assert loaded.history[-1]["options"] == {"plan": "in memory"}


def test_an_arch_that_makes_another_network_is_refused_at_once(model):
    with pytest.raises(FitError, match=r"'resnet20' makes another network: .* has no '0\.weight'"):
        prune.wrap(model, SIZE, arch="resnet20")
    with pytest.raises(ArchError, match="did you mean 'resnet20'"):
        prune.wrap(model, SIZE, arch="resnte20")


def test_what_does_not_run_cannot_be_wrapped(model):
    with pytest.raises(FitError, match="does not run on a 1x16x16 image in '0'"):
        prune.wrap(model, (1, 16, 16))
    with pytest.raises(FitError, match="give either `input_size`, of its images, or `inputs`"):
        prune.wrap(model)


def test_wrapping_leaves_the_modes_as_they_are(model):
    model.train()
    model[1].eval()
    prune.wrap(model, SIZE)
    assert model.training
    assert not model[1].training


def test_a_bare_module_is_told_how_to_be_wrapped(model):
    with pytest.raises(TypeError, match=r"wrap it: prune.wrap\(model, \(3, 32, 32\)\)"):
        prune.rank(model, "l1")
    with pytest.raises(TypeError, match=r"str is no network; prune\.load"):
        prune.count("base.hdf5")


def test_a_plan_is_for_its_own_network(resnet, net):
    with pytest.raises(
        AllocationError, match=r"the plan names group 'stage1\.conv1\.conv'|which this network"
    ):
        prune.prune(net, prune.plan(resnet, rate=0.5))
    with pytest.raises(AllocationError, match="plan 'in memory' is for arch 'resnet20'"):
        prune.prune(replace(resnet, arch="resnet32"), prune.plan(resnet, rate=0.5))


def test_a_plan_of_a_module_goes_with_it_whatever_it_is_called(model, net):
    plan = prune.plan(net, rate=0.5)
    named, own = replace(net, arch="mynets.small:build"), prune.prune(net, plan).after
    assert prune.prune(named, plan).after == own
    assert prune.prune(net, prune.plan(named, rate=0.5)).after == own


def test_what_is_printed_fits_on_a_screen(net, resnet):
    plan = prune.plan(resnet, rate=0.5)
    thin = prune.prune(resnet, plan)
    for thing, words in (
        (resnet, ("resnet20", "10 classes", "3x32x32", "params", "MACs", "random weights, seed 0")),
        (net, ("without arch", "a network in memory", "3x16x16")),
        (thin, ("resnet20", f"{thin.before.macs:,} -> {thin.after.macs:,}", "%")),
        (plan, ("resnet20", "groups")),
        (prune.trace(resnet), ("tensors", "groups")),
    ):
        text = repr(thing)
        assert text.count("\n") <= 2
        assert max(map(len, text.splitlines())) <= 100
        assert all(word in text for word in words), text


def test_an_own_function_is_a_criterion(net, model):
    seen = []
    scores = prune.rank(
        net, lambda weight_FCHW: seen.append(weight_FCHW.shape) or weight_FCHW.amax((1, 2, 3))
    )
    assert [tuple(shape) for shape in seen] == [(8, 3, 3, 3), (12, 8, 3, 3)]
    assert torch.equal(scores["0"], model[0].weight.detach().amax((1, 2, 3)).double())
    with pytest.raises(CriterionError, match=r"shape \(\) for '0'; 8 finite numbers, one per filter"):
        prune.rank(net, lambda weight_FCHW: weight_FCHW.sum())


def test_any_loader_is_evaluated_on(net, model, loader):
    accuracy = prune.evaluate(net, loader)
    with torch.no_grad():
        hits = [(model.eval()(images).argmax(1) == labels).float() for images, labels in loader]
    assert accuracy.images == 18
    assert accuracy.top1 == pytest.approx(100 * float(torch.cat(hits).mean()))
    dataset = torch.utils.data.TensorDataset(*map(torch.cat, zip(*loader, strict=True)))
    again = prune.evaluate(net, torch.utils.data.DataLoader(dataset, batch_size=5))
    assert (again.top1, again.images) == (accuracy.top1, 18)
    assert again.loss == pytest.approx(accuracy.loss)
    with pytest.raises(DataError, match="no images to evaluate on"):
        prune.evaluate(net, [])
    with pytest.raises(DataError, match="a batch has 6 images and 0 labels"):
        prune.evaluate(net, [loader[0][0]])


def test_images_are_iterated_over_as_they_are(resnet):
    data = prune.images("digits")
    first = [labels_N for images_NCHW, labels_N in data]
    assert sum(map(len, first)) == data.size("train")
    assert not torch.equal(torch.cat(first), torch.cat([labels_N for _, labels_N in data])), "a new order"


def test_a_side_is_a_size_and_names_are_counted(model):
    assert prune.wrap(model, 16).input_size == SIZE
    grey = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    assert prune.wrap(grey, 12).input_size == (1, 12, 12)
    with pytest.raises(FitError, match="2 class names, and it tells 10 classes apart"):
        prune.wrap(model, 16, class_names=["cat", "dog"])


def test_keywords_are_named_with_the_nearest(net, model, tmp_path):
    with pytest.raises(TypeError, match=r"prune\.prune takes no 'inplace'; did you mean 'in_place'"):
        prune.prune(net, prune.plan(net, rate=0.5), inplace=True)
    with pytest.raises(TypeError, match=r"prune\.rank takes no 'critrion'; did you mean 'criterion'"):
        prune.rank(net, critrion="l1")
    with pytest.raises(TypeError, match=r"prune\.wrap takes no 'class_name'; did you mean 'class_names'"):
        prune.wrap(model, 16, class_name=())


def test_progress_is_shown_to_those_who_ask(net, loader, capsys):
    asked = {"progress": True}
    scores = prune.rank(net, "hrank", images=loader, **asked)
    thin = prune.prune(net, prune.plan(net, scores, rate=0.5, **asked), **asked)
    assert prune.evaluate(thin, loader, **asked).images == 18
    assert scores.keys() == prune.rank(net, "l1").keys()
    assert capsys.readouterr().out == ""
