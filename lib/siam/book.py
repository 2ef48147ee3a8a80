"""What is written from the records before Jupyter Book builds: the notebooks, and numbers between the marks of other texts.

    python -m siam.book render NOTEBOOK...
    python -m siam.book readme
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import papermill
from traitlets.config import Config

from siam.files import write_text
from siam.paths import ROOT

# Else the kernel warns, on every page, that others on this machine could listen in.
KERNEL = Config({"KernelManager": {"transport_encryption": "auto"}})

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
OVERVIEW = ROOT / "book" / "overview.html"  # which intro.md includes


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
    write_text(path, cleaned(executed))


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


def between(path, text, name="results"):
    """Put `text` between the two marks of `name` in the file at `path`. Raises ValueError where they are missing."""
    before, start, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name}, by make render -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    if not end:
        raise ValueError(f"{path.name} lacks the marks around its {name}")
    write_text(path, f"{before}{start}\n{text}\n\n{end}{after}")


def overview():
    """The figure of the first page as HTML, which that page includes: what it links to lies beside it."""
    from siam.pages import adaptive

    return adaptive.overview()._repr_html_().replace('"../data/', '"data/') + "\n"


def write_texts():
    """Put what the records say into the READMEs, and into those of the book's pages that are no notebooks."""
    from siam.pages import tables, ties, words_of_tables

    between(ROOT / "README.md", tables.summary())
    between(ROOT / "data" / "checkpoints" / "README.md", tables.cards())
    short = words_of_tables.in_short()
    between(ROOT / "README.md", short, "summary")
    between(ROOT / "book" / "intro.md", short, "summary")
    between(ROOT / "book" / "intro.md", words_of_tables.headlines())
    write_text(OVERVIEW, overview())
    between(ROOT / "book" / "differences.md", f"{ties.in_words()}\n{words_of_tables.two_votes()}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m siam.book", description="Prepare the book's sources.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("readme", help="write what the records say into the READMEs, the first page and the page on differences")
    rendering = commands.add_parser("render", help="execute notebooks in place")
    rendering.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "readme":
            write_texts()
        else:
            for path in chosen.notebooks:
                render(path)
    except (OSError, ValueError, papermill.PapermillExecutionError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
