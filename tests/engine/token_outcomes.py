"""What holds of every network of `token_networks` that was pruned, whatever left it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import prune
import token_networks
import torch
import warm
from prune.engine.modules.numbers import numbers_of
from prune.engine.network.files import load_network, save_network

SIZE = (3, 16, 16)
IMAGES = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def wrapped(name, **asked):
    """One of `token_networks`."""
    return prune.wrap(getattr(token_networks, f"make_{name}")(), SIZE, **asked)


def pruned(names, **asked):
    """Name -> the network, and what it is at half of all that may leave."""
    made = {}
    for name in names:
        net = wrapped(name, **asked)
        skip = ("stem*", "*MBconv*") if name == "maxvit" else ()
        made[name] = net, prune.prune(net, prune.plan(net, rate=0.5, skip=skip))
    return made


def loaded(name, outcome, folder):
    """The narrow network, out of a file."""
    path = folder / f"{name}.hdf5"
    save_network(path, replace(outcome.network, arch=f"token_networks:make_{name}"))
    return load_network(path, f"token_networks:make_{name}", input_size=SIZE)


def check_against_zeros(name, net, outcome):
    """The narrow network computes what a fresh one does whose rows and biases are zero where they left."""
    assert outcome.difference < 1e-12
    zeroed = {key: tensor.clone().double() for key, tensor in net.model.state_dict().items()}
    for layer in outcome.map.layers:  # by what it says is kept
        if layer.name in outcome.kept and layer.kind != "depthwise":
            gone = np.setdiff1d(np.arange(layer.shape[0]), outcome.kept[layer.name])
            zeroed[layer.weight][gone] = 0
            if layer.bias:
                zeroed[layer.bias][gone] = 0
    full = getattr(token_networks, f"make_{name}")().double()
    full.load_state_dict(zeroed)
    with torch.no_grad():
        wide, thin = full(IMAGES), outcome.model.double()(IMAGES)
    outcome.model.float()
    assert wide.std() > 1e-3
    assert (wide - thin).abs().max() < 1e-10 * wide.abs().max()


def check_files(outcomes, folder):
    """Files compute the same, here and in a new process, and keep what heads count; returns them loaded."""
    again = {name: loaded(name, outcome, folder) for name, (_, outcome) in outcomes.items()}
    for name, (_, outcome) in outcomes.items():
        assert torch.equal(again[name].model(IMAGES.float()), outcome.model(IMAGES.float()))
        assert numbers_of(again[name].model) == numbers_of(outcome.model)
    script = (
        "import json, sys, torch\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from prune.engine.network.files import load_network\n"
        "torch.set_num_threads(1)\n"
        "x = torch.linspace(-2, 2, 768).sin().reshape(1, 3, 16, 16)\n"
        "nets = {p.stem: load_network(p, f'token_networks:make_{p.stem}', input_size=(3, 16, 16))\n"
        "        for p in Path(sys.argv[1]).glob('*.hdf5')}\n"
        "print(json.dumps({name: net.model(x).tolist() for name, net in nets.items()}))\n"
    )
    found = json.loads(warm.run(["-c", script, folder, Path(__file__).parent], check=True).stdout)
    x = torch.linspace(-2, 2, 768).sin().reshape(1, 3, 16, 16)
    for name, (_, outcome) in outcomes.items():
        assert torch.allclose(torch.tensor(found[name]), outcome.model(x), rtol=1e-5, atol=1e-6), name
    return again
