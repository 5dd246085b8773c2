"""Ids by themselves: classes as naive unions say, and patterns as the tensors that they stand for say."""

import math

import numpy as np
import pytest
import torch
from prune.engine.graph.channels import NO_ID
from prune.engine.graph.ids import IdPool, Value, compress, reshaped

SHAPES = [(), (1,), (6,), (2, 3), (3, 2), (1, 6, 1), (2, 1, 3), (6, 1), (1, 1, 1), (4, 6), (2, 2, 6), (3, 8)]
PAIRS = [(a, b) for a in SHAPES for b in SHAPES if math.prod(a) == math.prod(b)]


def test_classes_are_those_of_a_naive_union():
    draws = np.random.default_rng(0)
    pool, classes = IdPool(), []
    for _ in range(60):
        new = pool.new(int(draws.integers(0, 40)))
        classes += [{int(i)} for i in new]
        if classes:
            size = int(draws.choice([1, 3, 400]))  # few, and so many that they are looked at first
            first = draws.integers(0, len(classes), size)
            second = np.where(draws.random(size) < 0.01, draws.integers(0, len(classes), size), first)
            pool.unite(first, second)
            for a, b in zip(first.tolist(), second.tolist(), strict=True):
                both = classes[a] | classes[b]
                for i in both:
                    classes[i] = both
    everything = np.append(np.arange(len(classes)), NO_ID)
    assert pool.roots(everything).tolist() == [*(min(found) for found in classes), NO_ID]


@pytest.mark.parametrize(("shape", "made"), PAIRS)
def test_a_pattern_is_reshaped_as_the_ids_of_all_elements_are(shape, made):
    draws = np.random.default_rng(len(shape) + 10 * len(made))
    for _ in range(8):
        extents = [extent if draws.random() < 0.5 else 1 for extent in shape]
        ids = compress(torch.from_numpy(draws.integers(0, 3, extents)).expand(shape))
        value = Value(shape, ids)
        expected = compress(value.full().reshape(made).contiguous())
        found = reshaped(value, made)
        assert found.shape == expected.shape
        assert np.array_equal(found, expected)


def test_an_empty_tensor_has_a_pattern():
    assert reshaped(Value((2, 0, 3), np.full((1, 0, 1), NO_ID)), (0, 6)).shape == (0, 1)
