"""Large images are decoded as they are needed: the same whatever the batches, by however many processes."""

import pytest
import torch
from image_folders import pixels_of, refusal, save_image
from PIL import Image
from prune.engine.data import open_data

# Python 3.12 and later warn of any fork of a process with threads, and a data loader's workers are forks.
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture
def large_root(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        for split in ("train", "val"):
            for number in range(3):
                size = {"height": 80 + 7 * number, "width": 100 - 5 * number}
                save_image(tmp_path / "large" / split / name / f"{number}.jpg", seed=label + number, **size)
    return tmp_path / "large"


@forks
@pytest.mark.parametrize("workers", [0, 2])
def test_large_images_are_streamed_the_same_whatever_the_batches(large_root, workers):
    data = open_data("imagenet", large_root, image_size=70, workers=workers)
    assert data.info.input_size == (3, 70, 70)
    options = {"augment": True, "shuffle_seed": 2, "epoch": 1}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    by_batch_size = []
    for batch_size in (6, 4):
        batches = list(data.batches("train", batch_size, **options))
        by_batch_size.append((torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])))
    assert torch.equal(by_batch_size[0][0], by_batch_size[1][0])
    assert torch.equal(by_batch_size[0][1], by_batch_size[1][1])
    assert torch.equal(torch.get_rng_state(), state), "nobody else's random numbers are used up"
    other_epoch, _ = next(data.batches("train", 6, augment=True, shuffle_seed=2, epoch=2))
    assert not torch.equal(other_epoch, by_batch_size[0][0])
    in_process = open_data("imagenet", large_root, image_size=70)
    assert torch.equal(next(in_process.batches("train", 6, **options))[0], by_batch_size[0][0])


def test_large_images_are_tested_on_the_usual_crop(large_root):
    from torchvision.transforms import v2

    data = open_data("imagefolder", large_root, image_size=70)
    usual = v2.Compose([v2.Resize(80), v2.CenterCrop(70), v2.PILToTensor()])
    files = sorted((large_root / "val").rglob("*.jpg"))
    wanted = torch.stack([usual(Image.open(file)) for file in files])
    assert torch.equal(pixels_of(data, "test"), wanted)


def test_streaming_is_the_default_for_large_images(large_root):
    assert open_data("imagefolder", large_root).info.input_size == (3, 224, 224)


@forks
@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_large_images_are_named_in_one_line(large_root, workers):
    path = large_root / "train" / "dog" / "1.jpg"
    path.write_bytes(path.read_bytes()[:300])
    message = refusal(large_root, image_size=70, workers=workers)
    assert message.startswith(f"cannot read image {str(path)!r}: ")
    assert "\n" not in message
