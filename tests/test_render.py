"""Rendered notebooks differ only where their content does; what the build fetches and writes is checked."""

import json

import nbformat
import pytest

from siam import book


def executed(identifiers, stamp):
    """A notebook as papermill leaves it: stamps, a progress bar, a warning, and widgets of random names."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["papermill"] = {"end_time": stamp, "input_path": "/somewhere/x.ipynb"}
    notebook.metadata["language_info"] = {"name": "python", "version": stamp}
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text=f"\r 50% {stamp}"),
        nbformat.v4.new_output("stream", name="stderr", text="\n"),
        nbformat.v4.new_output("stream", name="stdout", text="kept\n"),
    ]
    warned = [nbformat.v4.new_output("stream", name="stderr", text="a warning\n")]
    for number, output in enumerate((outputs, warned)):
        cell = nbformat.v4.new_code_cell("1", outputs=output, metadata={"papermill": {"duration": stamp}})
        cell["id"] = f"cell-{number}"
        notebook.cells.append(cell)
    state = {identifier: {"state": {"layout": identifiers[0]}} for identifier in identifiers}
    notebook.metadata["widgets"] = {book.WIDGET_STATE: {"state": state}}
    return notebook


def test_two_renders_are_one_text():
    one = book.cleaned(executed(["f" * 32, "0a" * 16], "2001"))
    assert one == book.cleaned(executed(["1" * 32, "2b" * 16], "2002"))
    for gone in ("2001", "papermill", "50%", "somewhere", "f" * 32):
        assert gone not in one
    cells = json.loads(one)["cells"]
    assert [output["text"] for cell in cells for output in cell["outputs"]] == [["kept\n"], ["a warning\n"]]


def test_readme_is_rewritten_between_its_marks(tmp_path):
    path = tmp_path / "README.md"
    marks = "<!-- results, by make render -->\n", "<!-- end of results -->\n"
    path.write_text(f"before\n{marks[0]}stale\n{marks[1]}after\n")
    book.between(path, "| fresh |")
    assert path.read_text() == f"before\n{marks[0]}\n| fresh |\n\n{marks[1]}after\n"
    path.write_text("no marks")
    with pytest.raises(ValueError, match="README.md lacks the marks"):
        book.between(path, "")


def test_the_command_says_what_is_wrong_in_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        book.main(["render", "lost.ipynb"])
    assert str(stopped.value).startswith("error: ") and "\n" not in str(stopped.value)
    with pytest.raises(SystemExit):
        book.main(["--help"])
    assert "render" in capsys.readouterr().out
