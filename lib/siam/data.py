"""The splits of CIFAR-10 as tensors on a device, and the augmentation of training, done there too.

Every split is cut from one fixed balanced order of the images (`siam.cifar10.balanced_order`), so that the
first n images of a split are balanced over the classes, and contain the first m for every m < n:

| split          | images | what for                                                   |
|----------------|--------|------------------------------------------------------------|
| `train`        | 49,000 | training                                                   |
| `heldout`      |  1,000 | training images kept apart to select models, σ and M       |
| `test`         | 10,000 | what is reported                                           |
| `sample-train` |    300 | the first of `train`, shipped: the smoke tier              |
| `sample-test`  |    500 | the first of `test`, shipped: the smoke tier               |
"""

from functools import lru_cache

import torch

from siam import cifar10, runs

SPLITS = ("train", "heldout", "test", "sample-train", "sample-test")


def images(split, n=None, device="cpu"):
    """The first n images of a split (all of them by default) on `device`.

    Returns (x uint8 [n, 3, 32, 32], y int64 [n]), the caller's own to change. Raises ValueError, one line, for an unknown split,
    an n beyond it or one that is no whole number, FileNotFoundError where CIFAR-10 has not been fetched (the two samples need no
    fetching).
    """
    if split not in SPLITS:
        raise ValueError(f"split = {split!r}: choose one of {', '.join(SPLITS)}")
    x, y = _sample(split) if split.startswith("sample-") else _full(split)
    n = len(y) if n is None else runs.whole("images", n, 1)
    if n > len(y):
        raise ValueError(f"images = {n}: choose 1 to {len(y):,} for the split {split!r}")
    x, y = torch.from_numpy(x[:n]).to(device), torch.from_numpy(y[:n]).to(device, copy=True)  # x becomes a copy as it is permuted
    return x.permute(0, 3, 1, 2).contiguous(), y


def _sample(split):
    part, sample = split.removeprefix("sample-"), cifar10.sample()
    return sample[f"{part}_images"], sample[f"{part}_labels"]


def _full(split):
    x, y = _ordered("test" if split == "test" else "train")
    part = {"heldout": slice(cifar10.HELDOUT), "train": slice(cifar10.HELDOUT, None), "test": slice(None)}[split]
    return x[part], y[part]


@lru_cache(maxsize=1)  # reading and verifying takes as long as a short evaluation on a GPU, and training needs both parts of a file
def _ordered(file):
    x, y = cifar10.load(file)
    order = cifar10.balanced_order(y)
    return x[order], y[order]


def pixels(x):
    """Bytes as pixels: uint8 of any shape to float32 in [0, 1]."""
    return x.float() / 255


def crop_and_flip(x):
    """Each image moved by up to 4 pixels both ways, over zeros, and mirrored left to right half of the time.

    x: [N, C, H, W] of any type and device; the result is like it, contiguous. The draws come from torch's global generator for
    x's device.
    """
    padding = 4
    n, channels, height, width = x.shape
    dy, dx = torch.randint(2 * padding + 1, (2, n, 1), device=x.device)
    mirrored = torch.randint(2, (n, 1), device=x.device).bool()
    rows = dy + torch.arange(height, device=x.device)
    columns = dx + torch.arange(width, device=x.device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    # A gather from the flattened planes: several times as fast as indexing four dimensions at once.
    source = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    padded = torch.nn.functional.pad(x, (padding,) * 4).flatten(2)
    return padded.gather(2, source.view(n, 1, -1).expand(-1, channels, -1)).view_as(x)
