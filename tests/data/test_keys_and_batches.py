"""Order, augmentation and batching: pure functions of seed, epoch and image, checked against plain Python."""

import pytest
import torch
from prune.engine.data.base import DataInfo
from prune.engine.data.keys import COLUMN, FLIP, ROW, draw, sample_keys, shuffled
from prune.engine.data.memory import MemoryData
from prune.engine.errors import DataError
from torch import Tensor

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
MASK = 2**64 - 1


def make_data(count: int = 23, test_count: int = 21, padding: int = 2, flip: bool = True) -> MemoryData:
    generator = torch.Generator().manual_seed(0)
    images = {
        split: torch.randint(0, 256, (n, 3, 6, 5), dtype=torch.uint8, generator=generator)
        for split, n in (("train", count), ("test", test_count))
    }
    labels = {split: torch.arange(len(tensor)) for split, tensor in images.items()}  # who is who
    info = DataInfo("made", 100, tuple(map(str, range(100))), (3, 6, 5), MEAN, STD)
    return MemoryData(info, images, labels, crop_padding=padding, flip=flip)


def read(data: MemoryData, split: str = "train", batch_size: int = 4, **options) -> dict[int, Tensor]:
    """Everything that is read, by label."""
    return {
        int(label): image
        for images, labels in data.batches(split, batch_size, **options)
        for image, label in zip(images, labels, strict=True)
    }


def split_mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def key_by_hand(seed: int, epoch: int, index: int) -> int:
    return split_mix((split_mix((split_mix(seed) + epoch) & MASK) + index) & MASK)


def draw_by_hand(key: int, purpose: int, below: int) -> int:
    return (split_mix((key + purpose) & MASK) >> 1) % below


def test_split_mix_gives_the_published_numbers():
    """The first outputs for the seed 1234567, as listed with the reference implementation."""
    gamma = 0x9E3779B97F4A7C15
    outputs = [split_mix((1234567 + i * gamma) & MASK) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_keys_and_draws_equal_python_integers():
    keys = sample_keys(7, 3, torch.arange(50))
    by_hand = [key_by_hand(7, 3, i) for i in range(50)]
    assert [key & MASK for key in keys.tolist()] == by_hand
    for purpose in (ROW, COLUMN, FLIP):
        assert draw(keys, purpose, below=9).tolist() == [draw_by_hand(key, purpose, 9) for key in by_hand]


def test_draws_are_uniform_and_independent_between_purposes_and_epochs():
    keys = sample_keys(0, 0, torch.arange(81_000))
    rows, columns = draw(keys, ROW, below=9), draw(keys, COLUMN, below=9)
    cells = (rows * 9 + columns).bincount(minlength=81).double()
    chi_squared = float(((cells - 1000) ** 2 / 1000).sum())
    assert chi_squared < 125, "80 degrees of freedom, 0.1 % level"
    later = draw(sample_keys(0, 1, torch.arange(81_000)), ROW, below=9)
    assert abs(float((rows == later).double().mean()) - 1 / 9) < 0.005


def test_shuffling_depends_on_seed_and_epoch_alone():
    orders = {(s, e): tuple(shuffled(200, s, e).tolist()) for s in (0, 1) for e in (0, 1)}
    assert all(sorted(order) == list(range(200)) for order in orders.values())
    assert len(set(orders.values())) == 4
    assert tuple(shuffled(200, 1, 1).tolist()) == orders[1, 1]


@pytest.mark.parametrize("flip", [True, False])
def test_augmentation_equals_a_loop_over_images_and_pixels(flip):
    data, padding = make_data(flip=flip), 2
    got = read(data, augment=True, shuffle_seed=5, epoch=2)
    flips = set()
    for index, image in got.items():
        key = key_by_hand(5, 2, index)
        down, right = (draw_by_hand(key, purpose, 2 * padding + 1) - padding for purpose in (ROW, COLUMN))
        mirrored = flip and draw_by_hand(key, FLIP, 2) == 1
        flips.add(mirrored)
        original = data._images["train"][index].tolist()
        for channel in range(3):
            for y in range(6):
                for x in range(5):
                    source_y, source_x = y + down, (4 - x if mirrored else x) + right
                    inside = 0 <= source_y < 6 and 0 <= source_x < 5
                    value = original[channel][source_y][source_x] if inside else 0
                    wanted = (value / 255 - MEAN[channel]) / STD[channel]
                    assert float(image[channel, y, x]) == pytest.approx(wanted, abs=1e-5)
    assert flips == ({True, False} if flip else {False})


def test_what_is_read_does_not_depend_on_batch_size_or_shards():
    data = make_data(count=24)
    options = {"augment": True, "shuffle_seed": 1, "epoch": 4}
    whole = read(data, batch_size=24, **options)
    assert len(whole) == 24
    shards = [read(data, batch_size=2, shard=(rank, 3), **options) for rank in range(3)]
    for other in (read(data, batch_size=5, **options), {k: v for shard in shards for k, v in shard.items()}):
        assert other.keys() == whole.keys()
        assert all(torch.equal(other[label], whole[label]) for label in whole)
    other_epoch = read(data, batch_size=24, augment=True, shuffle_seed=1, epoch=5)
    assert any(not torch.equal(other_epoch[label], whole[label]) for label in whole)


def test_shards_together_read_the_batches_of_one_process():
    data = make_data(count=24)
    single = [labels.tolist() for _, labels in data.batches("train", 6, shuffle_seed=3)]
    parts = [
        [labels.tolist() for _, labels in data.batches("train", 3, shuffle_seed=3, shard=(r, 2))]
        for r in (0, 1)
    ]
    together = [sorted(left + right) for left, right in zip(*parts, strict=True)]
    assert together == [sorted(labels) for labels in single]


def test_training_shards_are_equal_and_test_shards_complete():
    data = make_data(count=23, test_count=21)
    train = [read(data, "train", batch_size=3, shard=(rank, 4)) for rank in range(4)]
    assert [len(part) for part in train] == [5, 5, 5, 5]
    test = [read(data, "test", shard=(rank, 4)) for rank in range(4)]
    assert [len(part) for part in test] == [6, 5, 5, 5]
    assert sorted(label for part in test for label in part) == list(range(21))


def test_last_batches():
    data = make_data(count=21, test_count=21)
    sizes = {split: [len(labels) for _, labels in data.batches(split, 5)] for split in ("train", "test")}
    assert sizes == {"train": [5, 5, 5, 5], "test": [5, 5, 5, 5, 1]}
    assert [len(labels) for _, labels in data.batches("train", 6)] == [6, 6, 6, 3]
    assert [len(labels) for _, labels in data.batches("test", 5, limit=2)] == [5, 5]
    assert len(read(data, "train", batch_size=1)) == 21
    for options in ({"limit": 2}, {"shard": (0, 2)}, {}):
        for split in ("train", "test"):
            assert data.count_batches(split, 5, **options) == len(list(data.batches(split, 5, **options)))


def test_more_shards_than_images():
    assert list(make_data(count=2).batches("train", 4, shard=(0, 3))) == []
    assert list(make_data(test_count=2).batches("test", 4, shard=(2, 3))) == []


def test_plain_reading_is_in_order_normalised_and_in_the_format_asked_for():
    data = make_data()
    images, labels = next(data.batches("test", 4, memory_format=torch.channels_last))
    wanted = (data._images["test"][:4] / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    torch.testing.assert_close(images, wanted)
    assert images.dtype == torch.float32
    assert labels.tolist() == [0, 1, 2, 3]
    assert labels.dtype == torch.int64
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_reading_leaves_the_stored_images_alone():
    data = make_data()
    before = data._images["train"].clone()
    read(data, augment=True)
    assert torch.equal(data._images["train"], before)


def test_wrong_arguments_are_refused_at_once():
    with pytest.raises(DataError, match="no split 'val'; there are 'train' and 'test'"):
        make_data().batches("val", 4)
    with pytest.raises(DataError, match="batch size 0; it must be at least 1"):
        make_data().batches("train", 0)
