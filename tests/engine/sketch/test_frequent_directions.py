"""The sketch of a matrix: against a loop written from the paper, and at every odd size."""

import numpy as np
import pytest
import torch
from prune.engine.algebra.frequent_directions import PROCEDURES, frequent_directions, sketch_channels
from torch import Tensor


def row_by_row(rows_ND: Tensor, kept: int) -> Tensor:
    """Algorithm 1 with one insertion at a time, a full decomposition each time B is full, as published."""
    rows = rows_ND.double().numpy()
    sketch, filled = np.zeros((kept, rows.shape[1])), 0
    for number, row in enumerate(rows):
        if filled == kept:
            if len(rows) - number < kept // 2:
                break
            _, values, directions = np.linalg.svd(sketch, full_matrices=False)
            values = np.pad(values, (0, kept - len(values)))
            directions = np.pad(directions, ((0, kept - len(directions)), (0, 0)))
            shrunk = np.sqrt(np.maximum(values**2 - values[kept // 2] ** 2, 0))
            sketch, filled = shrunk[:, None] * directions, kept // 2
        sketch[filled] = row
        filled += 1
    return torch.from_numpy(sketch)


def gram(rows_LD: Tensor) -> Tensor:
    return rows_LD.T @ rows_LD


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize(
    ("total", "columns", "kept"),
    [(16, 144, 9), (64, 576, 6), (64, 9, 31), (30, 4, 12), (10, 7, 1), (10, 7, 2), (12, 5, 8), (7, 20, 7)],
)
def test_released_is_the_published_loop(total: int, columns: int, kept: int):
    rows_ND = normal(total, columns)
    ours_LD, theirs_LD = frequent_directions(rows_ND, kept, "released"), row_by_row(rows_ND, kept)
    scale = float(theirs_LD.abs().max())
    signs_L = (ours_LD * theirs_LD).sum(1).sign()[:, None]
    distinct_L1 = theirs_LD.norm(dim=1, keepdim=True) > 1e-6 * scale
    torch.testing.assert_close(
        signs_L * ours_LD * distinct_L1, theirs_LD * distinct_L1, rtol=0, atol=1e-6 * scale
    )
    torch.testing.assert_close(gram(ours_LD), gram(theirs_LD), rtol=0, atol=1e-7 * scale**2 * kept)


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize(("total", "columns"), [(40, 100), (40, 12), (13, 13)])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.6, 0.7, 0.9])
def test_the_error_is_bounded(procedure, total: int, columns: int, share: float):
    """Liberty 2013, theorem 1.1: 0 <= A^T A - B^T B, at most 2 |A|_F^2 / l.

    `released` ignores the last rows, so it is held to those it used; `paper` to all.
    """
    rows_ND, kept = normal(total, columns), max(1, int(share * total))
    used_ND = rows_ND if procedure == "paper" else rows_ND[: _used(total, kept)]
    sketch_LD = frequent_directions(rows_ND, kept, procedure)
    assert sketch_LD.shape == (kept, columns)
    error_DD = gram(used_ND) - gram(sketch_LD)
    values_D = torch.linalg.eigvalsh(error_DD)
    assert values_D.min() > -1e-9 * float(used_ND.norm()) ** 2
    assert values_D.max() <= 2 * float(used_ND.norm()) ** 2 / kept


def _used(total: int, kept: int) -> int:
    used, half = kept, kept // 2
    while used < total and total - used >= half:
        used = min(total, used + kept - half)
    return used


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_keeping_all_rows_changes_none(procedure):
    rows_ND = normal(9, 20)
    assert torch.equal(frequent_directions(rows_ND, 9, procedure), rows_ND)


@pytest.mark.parametrize("kept", [1, 2, 5, 8, 9, 10, 11])
def test_no_row_of_the_paper_is_lost_or_empty(kept: int):
    """Every row counts, the last too; and no row of the sketch is zero, a dead filter."""
    rows_ND = normal(12, 30)
    sketch_LD = frequent_directions(rows_ND, kept, "paper")
    assert (sketch_LD.norm(dim=1) > 0.1).all()
    for changed in (0, 11):
        other_ND = rows_ND.clone()
        other_ND[changed] *= 2
        assert not torch.allclose(gram(frequent_directions(other_ND, kept, "paper")), gram(sketch_LD))


def test_released_above_two_thirds_is_the_first_rows():
    rows_ND = normal(10, 30)
    assert torch.equal(frequent_directions(rows_ND, 8, "released"), rows_ND[:8])


def test_one_row_of_the_paper_is_the_main_direction():
    rows_ND = normal(12, 30)
    _, values_N, directions_ND = torch.linalg.svd(rows_ND, full_matrices=False)
    row_D = frequent_directions(rows_ND, 1, "paper")[0]
    expected_D = (values_N[0] ** 2 - values_N[1] ** 2).sqrt() * directions_ND[0]
    torch.testing.assert_close(row_D * (row_D @ expected_D).sign(), expected_D)


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize(
    "rows_ND",
    [
        torch.zeros(12, 8),
        torch.ones(12, 8),
        normal(12, 2) @ normal(2, 8),
        normal(3, 8).repeat(4, 1),
        normal(12, 8) * torch.logspace(0, -12, 12, dtype=torch.float64)[:, None],
        1e-30 * normal(12, 8),
        torch.eye(12),
    ],
    ids=["zeros", "constant", "rank 2", "repeated", "graded", "tiny", "no gaps"],
)
@pytest.mark.parametrize("kept", [1, 3, 5, 8, 11])
def test_degenerate_rows_stay_finite_and_bounded(procedure, rows_ND: Tensor, kept: int):
    sketch_LD = frequent_directions(rows_ND, kept, procedure)
    assert torch.isfinite(sketch_LD).all()
    largest = torch.linalg.eigvalsh(gram(rows_ND.double())).max().clamp_min(0)
    assert torch.linalg.eigvalsh(gram(sketch_LD)).max() <= largest * (1 + 1e-9) + 1e-300


def test_the_paper_keeps_what_fits():
    """With fewer directions than rows of the sketch, nothing is shrunk away."""
    rows_ND = normal(20, 3) @ normal(3, 40)
    torch.testing.assert_close(gram(frequent_directions(rows_ND, 8, "paper")), gram(rows_ND))


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_singular_directions_go_with_the_sum_of_the_rows(procedure):
    rows_ND = normal(16, 40)
    turned = frequent_directions(-rows_ND, 5, procedure)
    torch.testing.assert_close(turned, -frequent_directions(rows_ND, 5, procedure))
    assert (frequent_directions(normal(16, 40).abs(), 4, "paper")[0] > 0).all()


def test_the_order_of_channels_is_that_of_the_paper():
    """A row of `paper` is what all filters read from one channel; `released` cuts memory into runs."""
    weight_FCHW = normal(6, 8, 3, 3).float()
    rows_CD = weight_FCHW.transpose(0, 1).reshape(8, -1)
    expected_LD = frequent_directions(rows_CD, 5, "paper").float()
    sketch_FLHW = sketch_channels(weight_FCHW, 5, 8, "paper")
    assert sketch_FLHW.shape == (6, 5, 3, 3)
    assert sketch_FLHW.dtype == torch.float32
    assert torch.equal(sketch_FLHW.transpose(0, 1).reshape(5, -1), expected_LD)

    runs_LD = frequent_directions(weight_FCHW.reshape(8, -1), 5, "released").float()
    assert torch.equal(sketch_channels(weight_FCHW, 5, 8, "released").reshape(5, -1), runs_LD)


def test_a_linear_layer_reads_several_numbers_of_a_channel():
    """Its columns come channel by channel, as behind a flatten."""
    weight_KD = normal(4, 6 * 9)
    as_conv = sketch_channels(weight_KD.reshape(4, 6, 3, 3), 3, 6, "paper")
    assert torch.equal(sketch_channels(weight_KD, 3, 6, "paper"), as_conv.reshape(4, 27))
