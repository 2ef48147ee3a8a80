"""The splits as tensors, and the augmentation against a loop over images."""

import numpy as np
import pytest
import torch

from siam import cifar10, data
from test_cifar10 import needs_cifar10


@pytest.mark.parametrize("split, n", [("sample-train", 300), ("sample-test", 500)])
def test_the_samples_need_no_download(split, n):
    x, y = data.images(split)
    assert x.shape == (n, 3, 32, 32) and x.dtype == torch.uint8 and x.is_contiguous()
    assert y.shape == (n,) and y.dtype == torch.int64
    stored = cifar10.sample()[f"{split.removeprefix('sample-')}_images"]
    np.testing.assert_array_equal(x.permute(0, 2, 3, 1).numpy(), stored)


@pytest.mark.parametrize("split", ["sample-test", "test"])
def test_what_a_caller_does_to_images_does_not_reach_the_next(monkeypatch, split):
    arrays = np.ones((20, 32, 32, 3), np.uint8), np.ones(20, np.int64)
    for name in ("_sample", "_full"):
        monkeypatch.setattr(data, name, lambda split: arrays)
    for part in data.images(split, 10):
        part.zero_()
    assert all(part.all() for part in data.images(split))


@needs_cifar10
@pytest.mark.parametrize("split, size", [("train", 49_000), ("heldout", 1_000), ("test", 10_000)])
def test_splits_are_balanced_and_nested(split, size):
    x, y = data.images(split)
    assert x.shape == (size, 3, 32, 32) and x.dtype == torch.uint8 and x.is_contiguous()
    assert (y.bincount() == size // 10).all()
    fewer, labels = data.images(split, 510)
    assert (labels.bincount() == 51).all()
    assert (fewer == x[:510]).all() and (labels == y[:510]).all()
    if split != "heldout":
        sample, labels = data.images(f"sample-{split}")
        assert (sample == x[: len(sample)]).all() and (labels == y[: len(labels)]).all()


@needs_cifar10
def test_heldout_and_train_partition_the_training_images():
    images, _ = cifar10.load("train")
    heldout, _ = data.images("heldout")
    recorded = images[cifar10.sample()["heldout_indices"]]
    np.testing.assert_array_equal(heldout.permute(0, 2, 3, 1).numpy(), recorded)

    def hashes(x):  # of each image, as a multiset: CIFAR-10 holds no two equal training images
        return {image.tobytes() for image in x}

    everything = hashes(images)
    train = hashes(data.images("train")[0].permute(0, 2, 3, 1).contiguous().numpy())
    assert len(everything) == 50_000 and len(train) == 49_000
    assert everything - train == hashes(recorded)


def test_bad_arguments_name_the_allowed_ones():
    allowed = "train, heldout, test, sample-train, sample-test"
    with pytest.raises(ValueError, match=f"split = 'validation': choose one of {allowed}"):
        data.images("validation")
    with pytest.raises(ValueError, match="images = 501: choose 1 to 500 for the split 'sample-test'"):
        data.images("sample-test", 501)
    for n in (0, -1, 2.5, "8", True):
        with pytest.raises(ValueError, match=f"^images = {n!r} is not allowed: give a whole number, 1 or more$"):
            data.images("sample-test", n)


def test_pixels():
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    shown = data.pixels(x)
    assert shown.dtype == torch.float32 and shown.shape == x.shape
    assert shown.min() == 0 and shown.max() == 1
    assert torch.equal((shown * 255).round().to(torch.uint8), x)


def augmentations(image):
    """All 9 × 9 × 2 crops and flips of an image [C, H, W], step by step: {bytes: (dy, dx, flip)}."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 8, width + 8), image.dtype)
    padded[:, 4:-4, 4:-4] = image
    found = {}
    for dy in range(9):
        for dx in range(9):
            crop = padded[:, dy:dy + height, dx:dx + width]
            found[crop.tobytes()] = dy, dx, 0
            found[crop[:, :, ::-1].tobytes()] = dy, dx, 1
    return found


@pytest.mark.parametrize("shape, dtype", [((3, 32, 32), torch.uint8), ((2, 8, 12), torch.float32)])
def test_crop_and_flip_draws_every_crop_equally_often(shape, dtype):
    torch.manual_seed(0)
    image = torch.randint(1, 256, shape).to(dtype)
    n = 16_200  # 100 of each of the 162 expected
    out = data.crop_and_flip(image.expand(n, *shape))
    assert out.shape == (n, *shape) and out.dtype == dtype and out.is_contiguous()
    possible = augmentations(image.numpy())
    assert len(possible) == 162
    counts = dict.fromkeys(possible.values(), 0)
    for one in out.numpy():
        counts[possible[one.tobytes()]] += 1  # a KeyError here is an image no crop and flip gives
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert 100 < chi_square < 236  # 161 degrees of freedom: both tails beyond 1 in 10,000


def test_crop_and_flip_keeps_images_apart_and_its_input_untouched():
    x, _ = data.images("sample-train", 100)
    before = x.clone()
    out = data.crop_and_flip(x)
    assert torch.equal(x, before)
    for image, augmented in zip(x.numpy(), out.numpy()):
        assert augmented.tobytes() in augmentations(image)


def test_crop_and_flip_takes_its_draws_from_the_global_generator():
    x, _ = data.images("sample-train", 50)
    torch.manual_seed(3)
    first = data.crop_and_flip(x)
    torch.manual_seed(3)
    assert torch.equal(data.crop_and_flip(x), first) and not torch.equal(data.crop_and_flip(x), first)


def test_torchvision_imports_on_this_build_of_torch():
    from siam._torchvision import torchvision
    from torchvision.transforms import v2

    assert v2.functional.horizontal_flip(torch.arange(3).reshape(1, 1, 3)).tolist() == [[[2, 1, 0]]]
    assert torchvision.models.resnet18(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
