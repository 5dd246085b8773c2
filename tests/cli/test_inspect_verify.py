"""`prune inspect --verify`: what was written is compared with what is there, and with what it came from."""

import json
from pathlib import Path

import h5py
import numpy as np
import torch


def test_verify_finds_the_files_that_a_file_came_from(prune, tmp_path):
    from prune.engine.network.files import load_network, save_network
    from prune.engine.network.fresh import new_network

    save_network(tmp_path / "base.hdf5", new_network("resnet20").after("train-base", {}))
    base = load_network(tmp_path / "base.hdf5")
    save_network(tmp_path / "narrow.hdf5", base.after("prune", {"rate": 0.5}))
    code, out, _ = prune("inspect", "--verify", "narrow.hdf5", "--json")
    assert code == 0
    first, second = json.loads(out)["parents"]
    assert (first["parent"], first["verdict"]) == (None, "began here")
    assert (Path(second["file"]).name, second["verdict"]) == ("base.hdf5", "as it was written")
    assert "as they were written" in prune("inspect", "--verify", "narrow.hdf5").out
    content = bytearray((tmp_path / "base.hdf5").read_bytes())
    place = content.index(base.model.state_dict()["linear.weight"].numpy().tobytes())
    content[place] ^= 1
    (tmp_path / "base.hdf5").write_bytes(content)
    _, out, _ = prune("inspect", "--verify", "narrow.hdf5", "--json")
    assert json.loads(out)["parents"][1]["verdict"] == "not found here"
    code, _, err = prune("inspect", "--verify", "base.hdf5")
    assert code == 2
    assert "'linear.weight' in 'base.hdf5' is not what was written" in err


def test_verify_says_where_there_is_nothing_to_compare(prune, tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["w"] = np.ones(3)
    assert "it has none" in prune("inspect", "--verify", "x.hdf5").out
    torch.save({"w": torch.ones(3)}, tmp_path / "x.pth")
    assert "as they were written" in prune("inspect", "--verify", "x.pth").out
