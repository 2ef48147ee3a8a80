"""The flow is one way: what computes draws nothing, and what draws needs no torch."""

import json
import os
import re
import subprocess
import sys

import yaml
from sphinx.util.matching import Matcher

from siam.paths import ROOT

PAGES = ("assets", "pages", "claims", "explorer", "live", "paired", "report")


def imported(*parts):
    """What is imported with each `siam.<part>`, with all its modules where it is a package."""
    code = ("import importlib, json, pkgutil, sys\n"
            "for name in sys.argv[1:]:\n"
            "    part = importlib.import_module(name)\n"
            "    for module in pkgutil.iter_modules(getattr(part, '__path__', [])):\n"
            "        if module.name not in ('build', 'choose'): importlib.import_module(f'{name}.{module.name}')\n"
            "print(json.dumps(sorted(sys.modules)))")
    command = [sys.executable, "-c", code, *(f"siam.{part}" for part in parts)]
    return set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def test_names_and_lines():
    """Unused and unknown names, and lines that are too long: pyproject.toml says which rules."""
    said = subprocess.run([sys.executable, "-m", "ruff", "check", ROOT], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


def test_what_draws_needs_no_torch():
    found = imported(*PAGES)
    assert "torch" not in found and {f"siam.{part}" for part in PAGES} <= found


def test_what_computes_draws_nothing():
    found = imported("studies")
    assert "torch" in found and {"siam.studies.svm", "siam.studies.learnt"} <= found
    assert "matplotlib" not in found and not any(name.startswith("siam.pages") for name in found)


def test_every_study_has_a_page_that_reads_it():
    studies, pages = ({path.stem for path in (ROOT / "lib/siam" / part).glob("[a-z]*.py")} for part in ("studies", "pages"))
    assert studies and studies <= pages
    for name in studies:
        command = re.search(r"python -m (siam\.[a-z.]+)", (ROOT / "lib/siam/studies" / f"{name}.py").read_text())[1]
        assert command == f"siam.studies.{name}" and f"-m {command}" in (ROOT / "notebooks" / f"{name}.ipynb").read_text()


def test_every_notebook_is_in_the_contents_and_is_rendered_and_tested():
    """By the Makefile: pages are rendered, the other two only tried."""
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    said = subprocess.run(["make", "-sn", "-f", "-", "shown"], cwd=ROOT, capture_output=True, text=True, check=True,
                          input="include Makefile\nshown: ; @echo $(PAGES) $(COMPUTE)\n").stdout
    assert {name for name in re.findall(r"notebooks/(\w+)\.ipynb", said)} == there and len(there) > 10
    assert set(re.findall(r"file: notebooks/(\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))) == there


def test_a_folder_of_ones_own_does_not_reach_the_pages_that_are_tracked(tmp_path):
    stamps = {"readme": "rendered/readme", "a page": "rendered/claims"}
    for name in ("bin/python", "book", "dev"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    said = subprocess.run(["make", "-s", f"VENV={tmp_path}", "RUN=echo [$$SIAM_DATA]", "JUPYTER_BOOK=echo [$$SIAM_DATA]", "html",
                           *(f"{tmp_path}/{stamp}" for stamp in stamps.values())], cwd=ROOT, capture_output=True, text=True, check=True,
                          env=os.environ | {"SIAM_DATA": "mine"}).stdout
    assert {line.partition(" ")[0] for line in said.splitlines() if "siam.book" in line or "build" in line} == {"[]"}
    assert said.count("siam.book") == 2 and "build book/" in said


def test_what_unfinished_runs_left_is_not_in_the_book():
    patterns = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["exclude_patterns"]
    excluded = Matcher(patterns)
    assert excluded("data/results/.partial") and not excluded("data/results/evaluation")


def test_the_commands_that_are_written_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    pages = [ROOT / "README.md", ROOT / "workflow" / "README.md", ROOT / "data" / "README.md", *(ROOT / "book").glob("*.md")]
    named = {(page.name, name) for page in pages
             for name in re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M)}
    assert len(named) > 10 and not [(page, name) for page, name in named if name not in targets]


def test_every_requirement_has_its_version():
    for path in ROOT.glob("requirements*.txt"):
        lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert not [line for line in lines if line and not re.fullmatch(r"-[rc] \S+|[\w.\[\],-]+==[\w.+!]+(;.*| ;.*)?", line)], path
