"""Data sets by name: digits, CIFAR where it is missing or present, normalisation, and wrong names."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from prune.engine.data import cifar, digits, names, open_data
from prune.engine.errors import DataError


def test_unknown_names():
    assert names() == ("cifar10", "cifar100", "digits", "imagefolder", "imagenet")
    with pytest.raises(DataError, match=r"no data set 'cifar_10'; did you mean 'cifar10'\?"):
        open_data("cifar_10")
    with pytest.raises(
        DataError, match="no data set 'xyz'; choose one of cifar10, cifar100, digits, imagefolder"
    ):
        open_data("xyz")


def test_digits_are_split_by_class_and_doubled():
    from sklearn.datasets import load_digits

    data = open_data("digits")
    assert data.info.input_size == (3, 16, 16)
    assert data.info.class_names == tuple("0123456789")
    assert (data.size("train"), data.size("test")) == (1437, 360)
    images, labels = {}, {}
    for split in ("train", "test"):
        images[split], labels[split] = next(data.batches(split, 2000))
        share = labels[split].bincount(minlength=10).numpy() / np.bincount(load_digits().target)
        assert np.abs(share - len(labels[split]) / 1797).max() < 0.01
    mean, std = images["train"].mean(), images["train"].std()
    assert abs(mean) < 0.01
    assert abs(std - 1) < 0.01

    raw = np.concatenate([images["train"], images["test"]]) * data.info.std[0] + data.info.mean[0]
    sixteenths = np.rint(raw[:, 0, ::2, ::2] * 16).reshape(1797, 64)
    assert np.abs(raw[:, 0, ::2, ::2] * 16 - sixteenths.reshape(-1, 8, 8)).max() < 0.04
    assert {tuple(row) for row in sixteenths} == {tuple(row) for row in load_digits().data}, "each digit once"
    for odd_y, odd_x, channel in ((1, 0, 0), (0, 1, 1), (1, 1, 2)):
        assert np.array_equal(raw[:, channel, odd_y::2, odd_x::2], raw[:, 0, ::2, ::2])


def test_digits_are_augmented_by_one_pixel_without_flips():
    data = open_data("digits")
    plain, _ = next(data.batches("train", 300))
    moved, _ = next(data.batches("train", 300, augment=True, shuffle_seed=None))
    black = float(-data.info.mean[0] / data.info.std[0])
    padded = torch.nn.functional.pad(plain, (1, 1, 1, 1), value=black)
    shifts = [padded[:, :, y : y + 16, x : x + 16] for y in range(3) for x in range(3)]
    matches = torch.stack([(shift - moved).abs().amax((1, 2, 3)) < 1e-5 for shift in shifts])
    assert matches.any(0).all()
    assert matches.any(1).all(), "all nine shifts occur"


@pytest.mark.parametrize("place", ["where it is", "elsewhere"])
def test_digits_are_those_of_scikit_learn_wherever_it_keeps_them(monkeypatch, tmp_path, place):
    from sklearn.datasets import load_digits

    if place == "elsewhere":
        monkeypatch.setattr(
            digits, "find_spec", lambda _: SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        )
    expected_ND, expected_N = load_digits(return_X_y=True)
    grey_ND, labels_N = digits._table()
    assert np.array_equal(grey_ND, expected_ND)
    assert np.array_equal(labels_N, expected_N)
    assert labels_N.dtype == expected_N.dtype


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match=r"pip install 'prune-cnn\[digits\]'"):
        open_data("digits")


def test_normalisation_can_be_given():
    own = open_data("digits").info
    data = open_data("digits", mean=(0.0, 0.0, 0.0), std=[1.0, 0.5, 0.25])
    assert data.info.mean == (0.0, 0.0, 0.0)
    assert data.info.std == (1.0, 0.5, 0.25)
    images, _ = next(data.batches("test", 10))
    assert images[:, 0].max() == 1
    torch.testing.assert_close(images[:, 0] * 4, images[:, 2])
    assert open_data("digits", mean=(0.0, 0.0, 0.0)).info.std == own.std
    with pytest.raises(DataError, match=r"normalisation mean \(0.5,\); 3 numbers"):
        open_data("digits", mean=[0.5])
    with pytest.raises(DataError, match=r"normalisation std \(1.0, 0.0, 1.0\); 3 numbers, std above 0"):
        open_data("digits", std=[1.0, 0.0, 1.0])


def test_image_size_where_it_means_nothing():
    assert open_data("digits", image_size=16).info.input_size == (3, 16, 16)
    with pytest.raises(DataError, match="`image_size` 32, but data set 'digits' has images of 16x16"):
        open_data("digits", image_size=32)
    with pytest.raises(DataError, match="image size 0; it must be at least 1 pixel"):
        open_data("digits", image_size=0)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_cifar_says_what_to_do(name, tmp_path):
    with pytest.raises(DataError) as caught:
        open_data(name, tmp_path)
    message = str(caught.value)
    assert message.startswith(
        f"{name} in {str(tmp_path)!r} is not there or incomplete; pass `download`, or unpack "
    )
    assert message.endswith("or use `dataset` imagefolder `data_dir` DIR")


def test_a_failed_download_says_so(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(cifar.datasets.CIFAR10, "download", offline)
    with pytest.raises(
        DataError, match=r"could not be downloaded \(no route to host\); pass `download`, or unpack"
    ):
        open_data("cifar10", tmp_path, download=True)


def test_cifar_in_its_own_format(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (6, 4, 3072), dtype=np.uint8)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        (folder / name).write_bytes(pickle.dumps({"data": rows[number], "labels": [0, 1, 2, 3]}))
    classes = [f"class {i}" for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    data = open_data("cifar10", tmp_path)
    assert (data.size("train"), data.size("test")) == (20, 4)
    assert data.info.class_names == tuple(classes)
    assert data.info.mean == (0.4914, 0.4822, 0.4465)
    images, labels = next(data.batches("test", 4))
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.info.mean, data.info.std))
    wanted = (torch.from_numpy(rows[5]).view(4, 3, 32, 32) / 255 - mean) / std
    torch.testing.assert_close(images, wanted)
    assert labels.tolist() == [0, 1, 2, 3]
    assert capsys.readouterr().out == ""
