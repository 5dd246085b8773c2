"""torchvision's official weights become files of ours; the cache stands in for the network."""

import pytest
import torch
from prune.engine.conversion import convert
from prune.engine.errors import EngineError
from prune.engine.network.files import load_network
from prune.weights import store
from torchvision import models


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty torch cache, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def refuse(url, *_args, **_options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "cache" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(("name", "file"), [("resnet18", "resnet18-f37072fd.pth"), ("squeezenet1_1", None)])
def test_logits_equal_torchvisions(name, file, cache, tmp_path):
    url = next(iter(models.get_model_weights(name))).url
    file = file or url.rpartition("/")[2]
    assert url.endswith(file)
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None).eval()
    torch.save(theirs.state_dict(), cache / file)
    converted = convert(torch_name := tmp_path / f"torchvision:{name}")
    assert torch_name.name.startswith("torchvision:")
    assert converted.destination.name == file.replace(".pth", ".hdf5")
    store.write(converted.destination, converted.weight_file)
    ours = load_network(converted.destination)
    assert ours.arch == ("resnet18" if name == "resnet18" else f"torchvision:{name}")
    assert len(ours.class_names) == 1000
    assert ours.class_names[0] == "tench"
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(ours.model(images), theirs(images))


def test_without_a_network_the_way_out_is_named(cache, tmp_path):
    with pytest.raises(
        EngineError, match=r"cannot be downloaded .*then convert resnet50-.* with `arch` resnet50"
    ):
        convert(tmp_path / "torchvision:resnet50")
    assert not list(cache.iterdir())
