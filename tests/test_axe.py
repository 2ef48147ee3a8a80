"""axe-core finds nothing wrong with any page of the built book, light or dark."""

import pytest
from conftest import npm
from test_book import PAGES, html  # noqa: F401  the fixture

from siam.accessible import WIDGET, mended, still
from siam.cifar10 import reason
from siam.paths import ROOT

FOLDER = ROOT / "tests"


@pytest.fixture(scope="session")
def axe():
    """The text of axe-core, fetched once by npm as tests/package-lock.json says."""
    script = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        done = npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=FOLDER)
        if done.returncode:
            pytest.skip(f"npm could not fetch axe-core: {reason(done)}")
    return script.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme, only", [("light", ""), ("dark", ", runOnly: ['color-contrast']")])  # colours are all that differs
def test_no_page_has_a_fault(browser, html, axe, scheme, only):  # noqa: F811
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    tab, faults = context.new_page(), []
    for page in PAGES:
        tab.goto(f"{html.as_uri()}/{page}.html")
        assert tab.locator("html").get_attribute("data-theme") == scheme
        if tab.locator(".math").count():
            tab.wait_for_function("window.MathJax?.startup?.promise?.then(() => true)")
        if page == "notebooks/live":
            tab.wait_for_selector("[data-noise=here][data-settled]")
        # What is half faded in has the contrast of neither state.
        tab.wait_for_function("document.getAnimations().every((each) => each.playState !== 'running')")
        tab.evaluate(axe)
        found = tab.evaluate(f"axe.run({{resultTypes: ['violations']{only}}})")
        assert len(found["passes"]) > (0 if only else 10), "nothing was checked"
        faults += [(page, fault["id"], node["html"][:120]) for fault in found["violations"] for node in fault["nodes"]]
    context.close()
    assert faults == []


def test_a_picture_that_is_there_is_not_put_there_again():
    widget = {"text/plain": "words", "image/png": "AAAA", WIDGET: {"model_id": "a"}}
    notebook = {"cells": [{"outputs": [{"data": widget}]}]}
    page = f'<script type="{WIDGET}">{{"model_id": "a"}}</script><p>'
    once = still(page, notebook)
    assert once.count("<noscript>") == 1 and still(once, notebook) == once


def test_mends():
    assert mended('<div class="citation" role="doc-biblioentry">') == '<div class="citation" role="listitem">'
    assert mended('<th scope="col" style="x"></th><th>y</th>') == '<td style="x"></td><th>y</th>'
    assert mended('<summary aria-label="Toggle hidden content">') == "<summary>"
    assert mended('<a href="table3.ipynb">table 3</a>') == '<a href="table3.html">table 3</a>'
    assert mended("<p>text</p>") == "<p>text</p>"


def test_axe_sees_a_fault(browser, axe):
    tab = browser.new_page()
    tab.set_content('<html lang="en"><title>t</title><main><h1>t</h1><img src="data:,"></main></html>')
    tab.evaluate(axe)
    assert "image-alt" in [fault["id"] for fault in tab.evaluate("axe.run()")["violations"]]
    tab.close()
