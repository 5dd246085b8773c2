"""Networks come back from their files alone; what files say is checked, never run."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from prune.archs import registry
from prune.archs.errors import ArchError
from prune.engine.network.files import load_network, save_network
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.weights.errors import BadWeightFile
from prune.weights.store import WeightFile, read, write
from torch import nn

# Others with more blocks; ResNet-50 comes back as one of HRankPlus' too.
DEEPER = ("resnet34", "resnet50", "resnet101", "resnet152", "resnet110", "src110", "src164")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.soak) if n in DEEPER else n for n in registry.names()]
)
def test_every_arch_comes_back_from_its_file_alone(name, tmp_path):
    network = new_network(name, seed=3)
    save_network(tmp_path / "network.hdf5", network)
    again = load_network(tmp_path / "network.hdf5")
    assert (again.arch, again.num_classes, again.input_size) == (
        network.arch,
        network.num_classes,
        network.input_size,
    )
    state = network.model.state_dict()
    assert list(again.model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in again.model.state_dict().items())
    assert not again.model.training


@pytest.mark.parametrize("name", ["resnet20", pytest.param("resnet56", marks=pytest.mark.soak), "vgg16_bn"])
def test_bare_files_are_recognised_by_their_names(name, tmp_path):
    save_network(tmp_path / "full.hdf5", new_network(name))
    write(tmp_path / "bare.hdf5", WeightFile(read(tmp_path / "full.hdf5").tensors, {}))
    assert load_network(tmp_path / "bare.hdf5").arch == name


def test_a_file_nobody_recognises_asks_for_its_arch(tmp_path):
    write(tmp_path / "odd.hdf5", WeightFile({"odd.weight": np.zeros((3, 3), np.float32)}, {}))
    with pytest.raises(ArchError, match=r"does not say its arch.*`arch`"):
        load_network(tmp_path / "odd.hdf5")


def test_a_factory_in_a_file_is_printed_and_never_imported(tmp_path, monkeypatch):
    (tmp_path / "evil_factory.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    save_network(tmp_path / "evil.hdf5", Network(nn.Linear(2, 2), "evil_factory:make", 2, (2,)))
    with pytest.raises(ArchError, match="'evil_factory:make', which is not imported unasked"):
        load_network(tmp_path / "evil.hdf5")
    assert "evil_factory" not in sys.modules


def test_loading_fills_no_weights_at_random(tmp_path, monkeypatch):
    """Initialisation is skipped, and afterwards it is back; the random state is where it was."""
    save_network(tmp_path / "network.hdf5", new_network("resnet20"))
    kaiming, state = nn.init.kaiming_normal_, torch.get_rng_state()
    load_network(tmp_path / "network.hdf5")
    assert nn.init.kaiming_normal_ is kaiming
    assert torch.equal(torch.get_rng_state(), state)


def test_tensors_that_are_no_parameters_are_still_made(tmp_path, monkeypatch):
    """A table that the constructor fills, and that no file keeps, is filled when loading too."""
    (tmp_path / "table_arch.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(3, 4)\n"
        "        self.register_buffer('table', nn.init.constant_(torch.empty(4), 7.0), persistent=False)\n"
        "    def forward(self, x):\n"
        "        return self.fc(x.mean((2, 3))) + self.table\n"
        "def make():\n"
        "    return Net()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = new_network("table_arch:make", num_classes=4, input_size=(3, 8, 8))
    save_network(tmp_path / "table.hdf5", network)
    again = load_network(tmp_path / "table.hdf5", "table_arch:make")
    assert again.model.table.tolist() == [7.0] * 4
    images_NCHW = torch.ones(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.model(images_NCHW), network.model.eval()(images_NCHW))


def test_bfloat16_weights_are_kept_as_float32(tmp_path):
    network = new_network("resnet20")
    network.model.bfloat16()
    save_network(tmp_path / "network.hdf5", network)
    again = load_network(tmp_path / "network.hdf5").model.linear.weight
    assert again.dtype == torch.float32
    assert torch.equal(again, network.model.linear.weight.float())


def accuracy(network: Network, images_folder, limit: int | None = None) -> float:
    """Top-1 in per cent over a tree of class folders."""
    from prune.engine.data import open_data

    mean, std = (network.normalization[key] for key in ("mean", "std"))
    data = open_data("imagefolder", images_folder, image_size=32, mean=mean, std=std)
    right = seen = 0
    with torch.no_grad():
        for images_NCHW, labels_N in data.batches("test", 250, device=torch.device("cpu"), limit=limit):
            right += int((network.model(images_NCHW).argmax(1) == labels_N).sum())
            seen += len(labels_N)
    return 100 * right / seen


@pytest.mark.soak
def test_akamaster_weights_have_their_accuracy(shared_data, tmp_path):
    script = [sys.executable, str(shared_data / "unpack_cifar10.py"), str(tmp_path / "cifar")]
    subprocess.run(script, check=True, capture_output=True)
    network = load_network(shared_data / "weights" / "resnet20-12fca82f.th")
    assert accuracy(network, tmp_path / "cifar") == pytest.approx(81.03, abs=0.1)


def test_the_size_of_images_is_believed_within_reason(tmp_path):
    """One number in a file is not to cost minutes."""
    save_network(tmp_path / "x.hdf5", replace(new_network("resnet20"), input_size=(3, 6000, 6000)))
    with pytest.raises(BadWeightFile, match=r"images are 3x6000x6000; .* give `image_size` 6000 if it is so"):
        load_network(tmp_path / "x.hdf5")
    assert load_network(tmp_path / "x.hdf5", input_size=32).input_size == (3, 32, 32)
