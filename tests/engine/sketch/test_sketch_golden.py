"""`released` is the authors' code, tensor by tensor; `paper` differs by the transpose and the last rows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from prune.engine.algebra.frequent_directions import frequent_directions, sketch_channels
from prune.engine.graph.trace import trace
from prune.engine.modules.fit import fit
from prune.engine.network.fresh import new_network
from prune.engine.network.network import Network
from prune.engine.sketching.targets import targets, widths
from prune.engine.transfers.sketch import sketch_weights
from prune.weights import names
from torch import Tensor

RATES = "[0.6]*27"
RECORDED_MEAN, RECORDED_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def ours(theirs: str) -> str:
    """Our name of one of the authors' tensors."""
    return next(iter(names.to_ours({theirs: None}, "hrank-resnet")))


def rows(weight: Tensor, dim: int, length: int) -> Tensor:
    """The rows of B in a sketched weight: filters, or runs of memory."""
    return weight.reshape(length if dim == 1 else len(weight), -1).double()


def aligned(found_LD: Tensor, expected_LD: Tensor) -> Tensor:
    """The rows turned round where that brings them nearer."""
    return found_LD * torch.where((found_LD * expected_LD).sum(1) < 0, -1.0, 1.0)[:, None]


@pytest.fixture(scope="module")
def layers(shared_golden: Path) -> list[dict]:
    """Facts of every sketched weight: `param`, `dim`, `l`, ..."""
    facts = json.loads((shared_golden / "authors" / "filtersketch_resnet56_0.6_info.json").read_text())
    return facts["layers"]


@pytest.fixture(scope="module")
def sketched(resnet56: Network) -> dict[str, Tensor]:
    """`released`, from float64 weights."""
    return _sketched(resnet56, "none")


def _sketched(network: Network, weight_norm) -> dict[str, Tensor]:
    channel_map = trace(network.model, network.input_size).map
    found, _ = targets(network.model, channel_map, network.block_of)
    state = {name: tensor.double() for name, tensor in network.model.state_dict().items()}
    return sketch_weights(state, widths(found, RATES), procedure="released", weight_norm=weight_norm)


def test_every_weight_is_the_recorded_one(recorded, layers, sketched):
    """Within 1e-6 of the float64 run where there is one, 2e-4 of the float32 run for all."""
    assert {ours(layer["param"]) for layer in layers} == sketched.keys()
    in_float64 = 0
    for layer in layers:
        found_LD = rows(sketched[ours(layer["param"])], layer["dim"], layer["l"])
        for prefix, tolerance in (("B_f64run:", 1e-6), ("sd:", 2e-4)):
            if (key := prefix + layer["param"]) in recorded:
                expected_LD = rows(torch.from_numpy(recorded[key]), layer["dim"], layer["l"])
                scale = float(expected_LD.abs().max())
                torch.testing.assert_close(
                    aligned(found_LD, expected_LD), expected_LD, rtol=0, atol=tolerance * scale
                )
                in_float64 += prefix == "B_f64run:"
        gram_DD = expected_LD.T @ expected_LD
        torch.testing.assert_close(
            found_LD.T @ found_LD, gram_DD, rtol=0, atol=1e-5 * float(gram_DD.abs().max())
        )
    assert in_float64 == 40


def test_copied_rows_are_copied(recorded, layers, sketched):
    for layer in layers:
        if (key := f"W:{layer['param']}") in recorded:
            weight = torch.from_numpy(recorded[key]).double()
            original_ND = weight.reshape(layer["n"], -1)
            found_LD = rows(sketched[ours(layer["param"])], layer["dim"], layer["l"])
            copied = [i for i, row in enumerate(found_LD) if (original_ND == row).all(1).any()]
            assert copied == layer["rows_copied_from_input"]


def test_the_norm_that_l2_divides_by(recorded, sketched, resnet56):
    by_norm = _sketched(resnet56, "l2")
    for name, norm in zip(recorded["conv_names"], recorded["l2_frobenius_norm"], strict=True):
        mine = ours(str(name))
        assert float(sketched[mine].norm()) == pytest.approx(norm, rel=1e-5)
        torch.testing.assert_close(by_norm[mine] * norm, sketched[mine], rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_rows_that_are_channels(recorded, stage: int):
    """The transpose of `paper`, with the row loop that was recorded."""
    weight_FCHW = torch.from_numpy(recorded[f"W:layer{stage}.0.conv2.weight"]).double()
    expected_FLHW = torch.from_numpy(
        recorded[f"variant_channel_rows_f64run:layer{stage}.0.conv2.weight"]
    ).double()
    filters, kept = expected_FLHW.shape[:2]
    expected_LD = expected_FLHW.transpose(0, 1).reshape(kept, -1)
    rows_CD = weight_FCHW.transpose(0, 1).reshape(filters, -1)
    found_LD = frequent_directions(rows_CD, kept, "released")
    scale = float(expected_LD.abs().max())
    torch.testing.assert_close(aligned(found_LD, expected_LD), expected_LD, rtol=0, atol=1e-6 * scale)

    paper_FLHW = sketch_channels(weight_FCHW, kept, filters, "paper")
    paper_LD = paper_FLHW.transpose(0, 1).reshape(kept, -1)
    assert torch.equal(paper_LD, frequent_directions(rows_CD, kept, "paper"))
    assert not torch.allclose(paper_LD.T @ paper_LD, found_LD.T @ found_LD, rtol=1e-2)  # the last rows count


def test_all_else_is_as_recorded(recorded, resnet56, sketch):
    """Copied entries are equal, batch norms behind sketched filters are at their initial values."""
    found = sketch(resnet56, RATES, procedure="released")[1].model.state_dict()
    sketched_names = {ours(str(name)) for name in recorded["conv_names"]}
    others = {ours(key[3:]): recorded[key] for key in recorded if key.startswith("sd:")}
    assert found.keys() >= others.keys()
    for name, expected in others.items():
        assert tuple(found[name].shape) == expected.shape, name
        if name not in sketched_names and not name.endswith("num_batches_tracked"):
            assert np.array_equal(found[name].numpy(), expected), name


def test_logits_of_the_recorded_network(recorded, resnet56):
    """Their sketched network in our house gives their logits, for both norms."""
    state = {
        ours(key[3:]): torch.from_numpy(np.asarray(recorded[key]))
        for key in recorded
        if key.startswith("sd:")
    }
    convs, norms = map(ours, recorded["conv_names"].tolist()), recorded["l2_frobenius_norm"].tolist()
    divisors = {"none": {}, "l2": dict(zip(convs, norms, strict=True))}
    pixels_NHWC = torch.from_numpy(recorded["images_uint8_nhwc"]).float() / 255
    images_NCHW = ((pixels_NHWC - torch.tensor(RECORDED_MEAN)) / torch.tensor(RECORDED_STD)).permute(
        0, 3, 1, 2
    )
    for norm, divisor in divisors.items():
        divided = {name: tensor / divisor.get(name, 1) for name, tensor in state.items()}
        model = fit(new_network("resnet56").model, divided).eval()
        expected_NK = torch.from_numpy(recorded[f"logits_sketched_{norm}_f32"])
        with torch.no_grad():
            found_NK = model(images_NCHW)
        torch.testing.assert_close(found_NK, expected_NK, rtol=0, atol=1e-5 * float(expected_NK.abs().max()))
