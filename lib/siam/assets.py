"""A Sphinx extension that puts beside the pages, before they are built, what they load and git does not keep: MathJax, fetched
once and verified, and the scripts of the live page, made anew from what they are made of.
"""

import hashlib
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.errors import ExtensionError

from siam import live
from siam.cifar10 import npm_archive
from siam.files import writing

MATHJAX = "mathjax-tex-svg-full.js"  # one script that needs no fonts
MATHJAX_PACKAGE = "mathjax@3.2.2"
MATHJAX_SHA256 = "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6"


def fetch_mathjax(path):
    """Put MathJax at `path`; what is there already is verified and kept.

    Raises ValueError where the file is not the script it should be, OSError where npm fails.
    """
    path = Path(path)
    if path.exists():
        _verify(path.read_bytes(), path)
        return
    with TemporaryDirectory() as folder, tarfile.open(npm_archive(MATHJAX_PACKAGE, Path(folder))) as package:
        script = package.extractfile("package/es5/tex-svg-full.js").read()
    _verify(script, MATHJAX_PACKAGE)
    with writing(path) as part:
        part.write_bytes(script)


def _verify(script, origin):
    digest = hashlib.sha256(script).hexdigest()
    if digest != MATHJAX_SHA256:
        raise ValueError(f"{origin} is not {MATHJAX_PACKAGE}: SHA-256 {digest[:16]}, expected {MATHJAX_SHA256[:16]}")


def make(folder):
    """Put all of it into `folder`. Raises ValueError or OSError, one line, where something is not what it should be."""
    fetch_mathjax(Path(folder) / MATHJAX)
    live.write(Path(folder) / "live")


def _make(app):
    try:
        make(Path(app.srcdir) / "assets")
    except (OSError, ValueError) as error:
        raise ExtensionError(str(error)) from error


def setup(app):
    app.connect("builder-inited", _make)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
