import pytest
import torch
from prune.engine.algebra.matrix_rank import feature_map_ranks

torch.set_num_threads(1)


def ranks_by_svd(maps_NCHW):
    return torch.linalg.matrix_rank(maps_NCHW.float())


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (32, 32), (5, 9), (9, 5), (1, 1), (1, 6), (6, 1), (2, 2)])
def test_equals_matrix_rank_on_sparse_maps(size):
    maps = torch.randn(16, 6, *size, generator=generator()).relu()
    maps[:, 1] *= torch.rand(16, *size, generator=generator()) < 0.2
    maps[:, 2, 0] = 0
    maps[:, 3, :, 0] = 0
    maps[:, 4] = 0
    assert torch.equal(feature_map_ranks(maps), ranks_by_svd(maps))
    assert not feature_map_ranks(maps)[:, 4].any()


@pytest.mark.parametrize("rank", range(9))
def test_counts_a_known_rank(rank):
    left = torch.randn(4, 3, 8, rank, generator=generator())
    maps = left @ torch.randn(4, 3, rank, 8, generator=generator())
    assert (feature_map_ranks(maps) == rank).all()


def test_singular_values_at_the_tolerance_are_decided_by_matrix_rank():
    n = 16
    basis, _ = torch.linalg.qr(torch.randn(n, n, generator=generator(), dtype=torch.float64))
    tolerance = n * torch.finfo(torch.float32).eps
    smallest = tolerance * torch.logspace(-1.0, 1.0, 200, dtype=torch.float64)
    values = torch.ones(200, n, dtype=torch.float64)
    values[:, -1] = smallest
    maps = ((basis * values[:, None, :]) @ basis.mT).float().reshape(20, 10, n, n)
    expected = ranks_by_svd(maps)
    assert set(expected.unique().tolist()) == {n - 1, n}
    assert torch.equal(feature_map_ranks(maps), expected)


def test_scale_and_memory_format_do_not_matter():
    maps = torch.randn(4, 8, 12, 12, generator=generator()).relu()
    ranks = feature_map_ranks(maps)
    assert torch.equal(feature_map_ranks(maps * 2.0**60), ranks)
    assert torch.equal(feature_map_ranks(maps * 2.0**-60), ranks)
    assert torch.equal(feature_map_ranks(maps.to(memory_format=torch.channels_last)), ranks)


def test_chunks_join_in_order():
    maps = torch.zeros(40, 20, 24, 24)  # several chunks
    for image in range(40):
        maps[image, :, range(image % 24), range(image % 24)] = 1.0
    ranks = feature_map_ranks(maps)
    assert ranks.dtype == torch.int64
    assert ranks.tolist() == [[image % 24] * 20 for image in range(40)]
