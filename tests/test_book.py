"""The built book in a browser without a network, over http and from files; and how its notebooks are rendered."""

import contextlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from conftest import served

from siam import book
from siam.paths import ROOT

HTML = ROOT / "book" / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
RUN_IT_YOURSELF = ("notebooks/train", "notebooks/evaluate")
PHONE, TABLET, DESK = {"width": 380, "height": 800}, {"width": 600, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def html():
    """The folder of the built book; builds it where nobody has."""
    if not (HTML / "index.html").exists():
        if importlib.util.find_spec("jupyter_book") is None:
            pytest.skip("the book is not built and Jupyter Book is not installed (make html)")
        subprocess.run([sys.executable, "-m", "jupyter_book.cli.main", "build", ROOT / "book", "--all", "-W",
                        "--keep-going"], check=True)
    return HTML


@pytest.fixture(scope="module", params=["http", "file"])
def base(request, html):
    """The address of the book, over http and from files."""
    if request.param == "file":
        yield f"{html.as_uri()}/"
    else:
        with served(html) as address:
            yield address


@pytest.fixture
def file(html):
    """The address of the book's files: how a page looks does not depend on where it comes from."""
    return f"{html.as_uri()}/"


@contextlib.contextmanager
def visit(browser, base, page, viewport=DESK, **options):
    """Open `page`, wait for its mathematics, and when done with it assert that nothing went wrong meanwhile."""
    wrong = []
    context = browser.new_context(viewport=viewport, **options)
    context.set_default_timeout(60_000)  # a machine that does much else may take long

    def only_ours(route):
        if route.request.url.startswith(base):
            route.continue_()
        else:
            wrong.append(f"asked for {route.request.url}")
            route.abort()

    context.route("**/*", only_ours)
    tab = context.new_page()
    tab.on("console", lambda line: line.type in ("error", "warning") and wrong.append(f"console: {line.text}"))
    tab.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    # Leaving a page cuts off what is still on its way, its icon say; what is blocked or missing fails otherwise.
    cut = "net::ERR_ABORTED"
    tab.on("requestfailed", lambda request: request.failure != cut and wrong.append(f"failed: {request.url}, {request.failure}"))
    tab.on("response", lambda response: response.status >= 400 and wrong.append(f"{response.status}: {response.url}"))
    tab.goto(f"{base}{page}.html")
    if tab.locator(".math").count():
        tab.wait_for_function("window.MathJax?.startup?.promise?.then(() => true)")
    try:
        yield tab
    finally:
        context.close()
    assert not wrong


def overflow(tab):
    """What sticks out of the page on the right, unless it lies in a box that scrolls."""
    return tab.evaluate("""() => {
        const scrolls = (node) => node && (
            ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
        const wide = [...document.querySelectorAll(".bd-article *")].filter((node) =>
            node.getBoundingClientRect().right > innerWidth + 1 && !scrolls(node.parentElement));
        const page = document.documentElement.scrollWidth;
        return [...wide.map((node) => node.outerHTML.slice(0, 120)), ...(page > innerWidth ? [`page: ${page} px`] : [])];
    }""")


@pytest.mark.parametrize("page", PAGES)
def test_page(browser, base, page):
    with visit(browser, base, page) as tab:
        assert tab.locator(".bd-article h1").count() == 1
        unset = tab.locator(".math").evaluate_all(
            "all => all.filter(node => !node.querySelector('mjx-container svg') || node.querySelector('[data-mjx-error]'))"
            ".map(node => node.textContent)")
        assert not unset, "mathematics that is not drawn"
        pictures = tab.locator(".bd-article img").evaluate_all(
            "all => all.map(({src, alt, complete, naturalWidth}) => [src, alt, complete && naturalWidth > 0])")
        assert [src for src, alt, drawn in pictures if not drawn] == []
        assert [src for src, alt, drawn in pictures if not alt.strip()] == [], "pictures without alt text"
        drawings = tab.locator(".bd-article figure > div > svg").evaluate_all(
            "all => all.map(node => node.getAttribute('aria-label') ?? '')")
        assert all(map(str.strip, drawings)), "drawings without a label"
        for link in tab.locator(".bd-article a[href]").evaluate_all("all => all.map(node => node.href)"):
            if link.startswith("file:"):
                assert Path(unquote(urlsplit(link).path)).exists(), f"{page} links to {link}"
        if page.startswith("notebooks/"):
            assert tab.locator(".cell_output").count(), "nothing was saved: run `make render`"
            assert tab.locator(".cell.tag_injected-parameters:visible").count() == 0
            if page not in RUN_IT_YOURSELF:
                assert tab.locator(".cell_input pre:visible").count() == 0
        for size in (DESK, PHONE):
            tab.set_viewport_size(size)
            for _ in range(30):  # an explorer draws itself anew for its new width, a moment later
                if not overflow(tab):
                    break
                tab.wait_for_timeout(100)
            assert overflow(tab) == [], size


@pytest.mark.parametrize("page", ["notebooks/table3", "notebooks/figure1", "notebooks/explorer"])
def test_dark_mode_has_no_light_boxes(browser, file, page):
    with visit(browser, file, page, color_scheme="dark") as tab:
        assert tab.locator("html").get_attribute("data-theme") == "dark" and tab.locator(".cell_output").count()
        brightest = tab.locator(".cell_output, .cell_output *:not(svg *)").evaluate_all("""all => Math.max(...all.map(node => {
            const [r, g, b, a = 1] = getComputedStyle(node).backgroundColor.match(/[\\d.]+/g).map(Number);
            return a * Math.max(r, g, b);
        }))""")
        assert brightest < 128


@pytest.mark.parametrize("viewport, stays", [(TABLET, "first"), (PHONE, "inner")], ids=["tablet", "phone"])
def test_the_name_of_a_row_stays_in_sight_while_its_table_scrolls(browser, file, viewport, stays):
    with visit(browser, file, "notebooks/learnt", viewport, color_scheme="dark") as tab:
        box = tab.locator(".table-scroll:visible").last
        box.evaluate("node => node.scrollLeft = 150")
        name, value = box.locator(f"td >> xpath=../th[contains(@class, '{stays}')]").first, box.locator("td").first
        left = box.bounding_box()["x"]
        assert value.bounding_box()["x"] < left + 100 and abs(name.bounding_box()["x"] - left) < 2
        assert name.evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(18, 18, 18)"  # it hides what scrolls by
        assert box.locator(".names").first.is_visible() == box.locator(".outer").first.is_hidden() == (viewport == PHONE)


@pytest.mark.parametrize("width", [1200, 1440])
@pytest.mark.parametrize("page", ["table1", "table2", "table3", "gradients"])
def test_a_wide_table_shows_all_columns_and_the_contents_make_room(browser, file, page, width):
    with visit(browser, file, f"notebooks/{page}", {"width": width, "height": 900}) as tab:
        hidden = tab.locator(".table-scroll:visible").evaluate_all("all => all.map(node => node.scrollWidth - node.clientWidth)")
        assert max(hidden) <= 0
        assert tab.locator("figure.numbers figcaption").first.bounding_box()["width"] < 800  # a line that can be read
        contents, table = tab.locator(".bd-sidebar-secondary"), tab.locator(".table-scroll:has(.full-width)").first
        assert table.bounding_box()["x"] + table.bounding_box()["width"] > contents.bounding_box()["x"]
        table.scroll_into_view_if_needed()
        tab.wait_for_function("document.querySelector('.bd-sidebar-secondary').getBoundingClientRect().height < 50")
        contents.locator("nav a").first.focus()  # by keyboard they are there
        tab.wait_for_function("document.querySelector('.bd-sidebar-secondary').getBoundingClientRect().height > 50")


def test_the_claims_are_text_and_leave_the_margin_alone(browser, file):
    with visit(browser, file, "notebooks/claims", PHONE) as tab:
        claims = tab.locator("figure.claims")
        assert claims.count() == 1 and claims.locator(".full-width").count() == 0
        assert claims.locator("tbody td").first.evaluate("node => getComputedStyle(node).display") == "block"  # on a phone


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_claims_of_one_verdict_are_shown_alone_but_for_the_one_that_is_asked_for(browser, base, viewport):
    with visit(browser, base, "notebooks/claims", viewport) as tab:
        rows, choices = tab.locator("tr[data-verdict]"), tab.locator("figure.claims fieldset label")
        kinds = rows.evaluate_all("all => all.map(row => row.dataset.verdict)")
        for choice in choices.all():
            choice.click()
            kind = choice.locator("input").input_value()
            shown = rows.evaluate_all("all => all.filter(row => row.offsetHeight).map(row => row.dataset.verdict)")
            assert shown == [one for one in kinds if kind in ("all", one)] and shown
            parts = tab.locator("figure.claims tbody").evaluate_all("all => all.map(part => part.offsetHeight > 0)")
            assert parts == tab.locator("figure.claims tbody").evaluate_all(
                "(all, kind) => all.map(part => kind == 'all' || !!part.querySelector(`[data-verdict='${kind}']`))", kind)
        other = rows.locator(f"xpath=self::*[@data-verdict != '{kind}']").first
        tab.evaluate("id => { location.hash = id }", other.get_attribute("id"))
        assert other.is_visible()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_heat_map_is_drawn_at_a_size_that_can_be_read(browser, file, viewport):
    with visit(browser, file, "notebooks/table4", viewport) as tab:
        heat = tab.locator("figure.panels .table-scroll svg text").first
        assert heat.bounding_box()["height"] > 10


@pytest.mark.parametrize("width, columns", [(1440, 3), (1200, 3), (1000, 3), (600, 1), (380, 1)])
def test_panels_that_belong_together_stand_side_by_side_under_their_legend(browser, file, width, columns):
    with visit(browser, file, "notebooks/figure2", {"width": width, "height": 900}) as tab:
        figure = tab.locator("figure.panels").first
        left = figure.locator("div > svg").evaluate_all("all => all.map(node => Math.round(node.getBoundingClientRect().x))")
        assert len(left) == 9 and len(set(left)) == columns
        assert figure.locator(".legend").bounding_box()["y"] < figure.locator("div > svg").first.bounding_box()["y"]


def explorer(tab):
    """The explorer's parts: its chart as text, its readout as text, and the two sliders."""
    root = tab.get_by_test_id("siam-explorer")
    root.wait_for()
    return (lambda: root.locator("svg").first.inner_html(), lambda: tab.get_by_test_id("siam-readout").inner_text(),
            tab.get_by_test_id("siam-sigma"), tab.get_by_test_id("siam-draws"))


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_explorer_by_drag(browser, base, viewport):
    with visit(browser, base, "notebooks/explorer", viewport) as tab:
        chart, readout, sigma, draws = explorer(tab)
        for slider in (sigma, draws):
            before = chart(), readout()
            slider.scroll_into_view_if_needed()
            box = slider.bounding_box()
            low, high, value = (float(slider.evaluate(f"node => node.{name}")) for name in ("min", "max", "value"))
            share, y = (value - low) / (high - low), box["y"] + box["height"] / 2
            tab.mouse.move(box["x"] + 8 + share * (box["width"] - 16), y)
            tab.mouse.down()
            tab.mouse.move(box["x"] + box["width"] * (0.1 if share > 0.5 else 0.9), y, steps=8)
            tab.mouse.up()
            after = chart(), readout()
            assert before[0] != after[0] and before[1] != after[1]


def test_explorer_by_keyboard(browser, base):
    with visit(browser, base, "notebooks/explorer") as tab:
        chart, readout, sigma, draws = explorer(tab)
        for slider in (sigma, draws):
            slider.focus()
            tab.keyboard.press("Home")
            before = chart(), readout(), slider.get_attribute("aria-valuetext")
            tab.keyboard.press("ArrowRight")
            after = chart(), readout(), slider.get_attribute("aria-valuetext")
            assert all(old != new for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("page", ["explorer", "figure1", "figure4"])
def test_without_scripts_the_explorer_is_a_picture_and_its_numbers(browser, base, page):
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    tab = context.new_page()
    tab.goto(f"{base}notebooks/{page}.html")
    picture = tab.locator(".cell_output noscript img").first
    assert "M explorer: CPNI-W" in picture.get_attribute("alt") and picture.bounding_box()["width"] > 250
    words = tab.locator(".cell_output noscript pre").first.inner_text()
    assert "95 % interval" in words and len(words.splitlines()) > 5
    assert tab.locator("html").get_attribute("data-theme") == "light"  # of "auto" no style sheet has colours
    context.close()


# --- how the notebooks are rendered -------------------------------------------------------------------------------

@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_committed_notebook_is_clean(path):
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text, "a path of one machine"
    assert "papermill" not in notebook.metadata and "version" not in notebook.metadata.get("language_info", {})
    assert not [cell.metadata for cell in notebook.cells if {"papermill", "execution"} & set(cell.metadata)]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@pytest.fixture
def notebook(tmp_path):
    """A function that writes a notebook of one cell and gives its path."""
    def write(source):
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata={"kernelspec": kernel})
        nbformat.write(content, path := tmp_path / "page.ipynb")
        return path
    return write


def test_rendering_twice_gives_the_same_file(notebook):
    path = notebook("import ipywidgets; ipywidgets.IntSlider(3)")
    book.render(path)
    first = path.read_bytes()
    book.render(path)
    assert path.read_bytes() == first
    rendered = json.loads(first)
    [view] = [output["data"] for output in rendered["cells"][0]["outputs"]]
    state = rendered["metadata"]["widgets"][book.WIDGET_STATE]["state"]
    shown = view["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert state[shown]["state"]["value"] == 3


def test_a_failing_notebook_stays_as_it_was(notebook, capsys):
    path = notebook("1 / 0")
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        book.main(["render", str(path)])
    assert [child.name for child in path.parent.iterdir()] == [path.name] and path.read_bytes() == before
