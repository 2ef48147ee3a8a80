"""What the book needs before Jupyter Book can build it: notebooks rendered from the records, and MathJax.

    python -m siam.book render NOTEBOOK...
    python -m siam.book readme
    python -m siam.book mathjax
"""

import argparse
import hashlib
import json
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import papermill
from traitlets.config import Config

from siam.cifar10 import npm_archive
from siam.files import writing
from siam.paths import ROOT

MATHJAX = ROOT / "book" / "assets" / "mathjax-tex-svg-full.js"
MATHJAX_PACKAGE = "mathjax@3.2.2"
MATHJAX_SHA256 = "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6"

# Else the kernel warns, on every page, that others on this machine could listen in.
KERNEL = Config({"KernelManager": {"transport_encryption": "auto"}})

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def render(path):
    """Execute the notebook at `path` and put the executed one in its place.

    It runs in its own folder, as in JupyterLab. Raises papermill.PapermillExecutionError, leaving the file as
    it was, where a cell fails.
    """
    import matplotlib.font_manager  # noqa: F401  builds the font cache, or the notebook shows that it is built

    path = Path(path)
    with TemporaryDirectory() as folder:
        executed = papermill.execute_notebook(path, Path(folder) / path.name, cwd=path.parent,
                                              progress_bar=False, config=KERNEL)
    with writing(path) as part:
        part.write_text(cleaned(executed), encoding="utf-8")


def cleaned(notebook):
    """The JSON text of an executed notebook without what differs from run to run or from machine to machine:
    time stamps, paths, progress bars, the Python version, random widget ids. Changes `notebook`."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if any("\r" in said.text for said in _errors(cell)):  # a progress bar: it says how fast this machine is
            cell.outputs = [output for output in cell.outputs if output not in _errors(cell)]
    # Renamed in the order of creation, and before writing, which sorts by name.
    text = json.dumps(notebook)
    widgets = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for number, identifier in enumerate(widgets):
        text = text.replace(identifier, f"{number:032x}")
    return nbformat.writes(nbformat.from_dict(json.loads(text))) + "\n"


def _errors(cell):
    return [output for output in cell.get("outputs", []) if output.get("name") == "stderr"]


def fetch_mathjax(path=MATHJAX):
    """Put MathJax, one script that needs no fonts, at `path`; what is there already is verified and kept.

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


def between(path, text, name="results"):
    """Put `text` between the two marks of `name` in the file at `path`. Raises ValueError where they are missing."""
    before, start, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name}, by make render -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    if not end:
        raise ValueError(f"{path.name} lacks the marks around its {name}")
    with writing(path) as part:
        part.write_text(f"{before}{start}\n{text}\n\n{end}{after}", encoding="utf-8")


def write_texts():
    """Put what the records say into the READMEs, and into those of the book's pages that are no notebooks."""
    from siam.pages import tables, ties, words_of_tables

    between(ROOT / "README.md", tables.summary())
    between(ROOT / "data" / "checkpoints" / "README.md", tables.cards())
    between(ROOT / "book" / "intro.md", words_of_tables.headlines())
    between(ROOT / "book" / "differences.md", f"{ties.in_words()}\n{words_of_tables.two_votes()}")


def _verify(script, origin):
    digest = hashlib.sha256(script).hexdigest()
    if digest != MATHJAX_SHA256:
        raise ValueError(f"{origin} is not {MATHJAX_PACKAGE}: SHA-256 {digest[:16]}, expected {MATHJAX_SHA256[:16]}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m siam.book", description="Prepare the book's sources.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("mathjax", help="fetch and verify MathJax")
    commands.add_parser("readme", help="write what the records say into the READMEs, the first page and that of the differences")
    rendering = commands.add_parser("render", help="execute notebooks in place")
    rendering.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "mathjax":
            fetch_mathjax()
        elif chosen.command == "readme":
            write_texts()
        else:
            for path in chosen.notebooks:
                render(path)
    except (OSError, ValueError, papermill.PapermillExecutionError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
