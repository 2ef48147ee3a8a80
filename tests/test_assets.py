"""What the book loads and git does not keep is put there by the build itself."""

import hashlib
import shutil

import pytest
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from test_live import OWN

from siam import assets


def test_a_build_makes_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(assets, "MATHJAX_SHA256", hashlib.sha256(b"the script").hexdigest())
    (tmp_path / "assets" / assets.MATHJAX).write_bytes(b"the script")

    def build():
        Sphinx(tmp_path, None, tmp_path / "out", tmp_path / "trees", "html", {"extensions": ["siam.assets"]}, status=None)
        return {path.name: path.read_bytes() for path in (tmp_path / "assets" / "live").iterdir()}

    first = build()
    assert set(first) == {f"{name}.js" for name in OWN}
    (tmp_path / "assets" / "live" / "coarse.js").write_text("stale")
    assert build() == first
    monkeypatch.setattr(assets.live.records, "CHECKPOINT", "nothing")
    with pytest.raises(ExtensionError, match="nothing"):
        build()


def test_mathjax_is_verified(tmp_path, monkeypatch):
    archive, path = tmp_path / "package.tgz", tmp_path / "mathjax.js"

    def pack(content):
        (tmp_path / "package" / "es5").mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / "es5" / "tex-svg-full.js").write_bytes(content)
        shutil.make_archive(str(tmp_path / "package"), "gztar", tmp_path, "package")
        (tmp_path / "package.tar.gz").replace(archive)

    monkeypatch.setattr(assets, "MATHJAX_SHA256", hashlib.sha256(b"the script").hexdigest())
    monkeypatch.setattr(assets, "npm_archive", lambda package, folder: archive)
    pack(b"another script")
    with pytest.raises(ValueError, match="mathjax@3.2.2 is not mathjax@3.2.2: SHA-256"):
        assets.fetch_mathjax(path)
    assert not path.exists()
    pack(b"the script")
    assets.fetch_mathjax(path)
    assert path.read_bytes() == b"the script"
    monkeypatch.setattr(assets, "npm_archive", lambda *_: pytest.fail("it was there"))
    assets.fetch_mathjax(path)
    path.write_bytes(b"a foreign script")
    with pytest.raises(ValueError, match="mathjax.js is not"):
        assets.fetch_mathjax(path)
    assert path.read_bytes() == b"a foreign script"
