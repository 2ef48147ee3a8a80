"""The explorer in a real browser, in a page without a kernel: drawn, moved by drag and by keyboard.

The page holds the widget as the book's pages do: a view, the state that a notebook saves, the book's loader.
"""

import itertools
import json
import re
import shutil

import pandas as pd
import pytest
from conftest import served

from siam.explorer import Explorer
from siam.live.record import CHECKPOINT
from siam.paths import ROOT
from test_explorer import PRINTED, SIGMAS, budgets, own, rows, sums

LOADER = ROOT / "book" / "assets" / "widget-static.js"

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>explorer</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>body {{ margin: 16px }}</style></head><body>
<script type="application/vnd.jupyter.widget-view+json">{view}</script>
<script type="application/vnd.jupyter.widget-state+json">{state}</script>
<script src="widget-static.js"></script></body></html>"""


def embedded(widget):
    """The page of a widget, with its traits as JSON, as a notebook's metadata holds them."""
    traits = {key: value for key, value in widget.get_state().items() if key not in ("layout", "tooltip")}
    state = {"version_major": 2, "version_minor": 0, "state": {widget.model_id: {
        "model_name": "AnyModel", "model_module": "anywidget", "state": traits}}}
    view = widget._repr_mimebundle_()["application/vnd.jupyter.widget-view+json"]
    text = json.dumps(state).replace("</", r"<\/")
    return PAGE.format(view=json.dumps(view), state=text)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of pages, and its address over http."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(LOADER, folder)
    frame = pd.concat([rows(), rows("Gauss", attacks=("none", "pgd"), sigmas=SIGMAS[:4], draws=(1, 2, 4)),
                       rows("PNI-W"), *(rows("PNI-W", seed=seed, sigmas=(at,), draws=(1,)) for seed, at in ((1, 0.1), (2, 0.1), (10, 0.0))),
                       rows("PNI-W", batch_size=100, sigmas=(0.0, 0.1, 0.2)),
                       rows("PNI-W", tier="smoke", n=300, sigmas=(0.0, 0.1))])
    high = rows(attacks=("none", "pgd"), sigmas=(0.0, 0.1, 0.2, 0.35)).drop(columns=["low", "high", "accuracy"])
    high["correct"] -= 400 * (high["attack"] == "pgd")  # from 0 to 90 %
    ends = pd.concat([rows(attacks=(attack,), sigmas=[0.02 * k for k in range(to)], draws=(1,), n=10_000)
                      for attack, to in (("none", 26), ("epgd", 15), ("pgd", 16))], ignore_index=True).drop(
        columns=["low", "high", "accuracy"])
    ends.loc[ends["attack"] != "none", "correct"] = 5000 - 10 * (ends["attack"] == "pgd")  # side by side, one a step longer
    for name, widget in {
        "measured": Explorer(frame, PRINTED, sigma=0.1, draws=8),
        "printed": Explorer(frame, PRINTED, sigma=0.24, draws=64),
        "empty": Explorer(pd.DataFrame(), PRINTED),
        "high": Explorer(high),
        "ends": Explorer(ends),
        "wide": Explorer(budgets(0.24, (2.0, 8.0, 16.0, 35.0)), axis="epsilon"),
        "own": Explorer(own(), PRINTED, rule="borda"),
        "sums": Explorer(sums(), attacks=["pgd", "pgd-10-2-1", "pgd-sum", "epgd", "epgd-sum"]),
        "close": Explorer(rows(sigmas=(0.12, 0.125, 0.13, 0.2), checkpoint=CHECKPOINT), sigma=0.12),
        "budget": Explorer(pd.concat([budgets(0.0), budgets(0.24, (2.0, 4.0, 8.0, 16.0))]), axis="epsilon", epsilon=4),
    }.items():
        (folder / f"{name}.html").write_text(embedded(widget), encoding="utf-8")
    (folder / "live.html").write_text('<title>live</title><link rel="icon" href="data:,">')
    with served(folder) as address:
        yield {"http": address.rstrip("/"), "file": folder.as_uri()}


@pytest.fixture
def visit(browser, site):
    """Open a page; afterwards: no error was logged and nothing was asked of another address."""
    trouble, pages = [], []

    def open_page(name="measured", scheme="http", **options):
        page = browser.new_page(**{"viewport": {"width": 900, "height": 1000}, **options})
        pages.append(page)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning") and trouble.append(said.text))
        page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
        own = (site[scheme], "blob:", "data:")
        page.on("request", lambda request: request.url.startswith(own) or trouble.append(request.url))
        page.goto(f"{site[scheme]}/{name}.html")
        page.get_by_test_id("siam-explorer").locator("svg").wait_for()
        return page

    yield open_page
    for page in pages:
        page.close()
    assert trouble == []


def readout(page):
    return page.get_by_test_id("siam-readout").inner_text()


def lines(page):
    return [path.get_attribute("d") for path in page.locator(".siam-lines path").all()]


def cursor(page):
    return float(page.locator(".siam-cursor line").get_attribute("x1"))


def drag(page, slider, share):
    """Drag the slider's thumb from where it is to a share of its track."""
    box = slider.bounding_box()
    low, high, value = (float(slider.evaluate(f"input => input.{key}")) for key in ("min", "max", "value"))
    thumb = 16

    def x(part):
        return box["x"] + thumb / 2 + part * (box["width"] - thumb)

    y = box["y"] + box["height"] / 2
    page.mouse.move(x((value - low) / (high - low)), y)
    page.mouse.down()
    page.mouse.move(x(share), y, steps=5)
    page.mouse.up()


def test_a_rule_and_an_attack_of_ones_own_have_a_name_and_a_colour(visit):
    page = visit("own")
    rule = page.get_by_label("Voting rule")
    assert rule.input_value() == "borda" and rule.locator("option").last.inner_text() == "Borda" and len(lines(page)) == 3
    rule.select_option("soft")
    assert len(lines(page)) == 4 and "lead" in readout(page)
    strokes = [path.evaluate("path => getComputedStyle(path).stroke") for path in page.locator(".siam-lines path").all()]
    assert len(set(strokes)) == 4 and strokes[-1] == "rgb(72, 86, 107)"  # --siam-quiet


def test_dashes_tell_a_sum_and_another_setting_from_the_attack_of_their_colour(visit):
    page = visit("sums")
    drawn = page.locator(".siam-lines path").evaluate_all("all => all.map((path) => [getComputedStyle(path).stroke, "
                                                          "path.getAttribute('stroke-dasharray')])")
    (pgd, solid), (longer, dashed), (epgd, _), (summed, dotted), (epgd_summed, _) = drawn
    assert pgd == longer == summed != epgd == epgd_summed and len({solid, dashed, dotted}) == 3
    label = page.locator(".siam-labels text").first  # a line behind a name does not run through it
    assert label.evaluate("text => getComputedStyle(text).paintOrder").startswith("stroke")
    assert label.evaluate("text => getComputedStyle(text).stroke") == "rgb(255, 255, 255)"


def test_a_name_at_the_end_of_a_line_and_the_values_beside_it_do_not_lie_on_each_other(visit):
    page = visit("sums")
    page.get_by_test_id("siam-sigma").press("Home")
    page.get_by_test_id("siam-sigma").press("PageUp")
    page.get_by_test_id("siam-sigma").press("ArrowRight")
    assert readout(page).startswith("σ = 0.10,")
    heights = page.locator(".siam-labels text, .siam-cursor text").evaluate_all(
        "all => all.filter((text) => /\\d$/.test(text.textContent)).map((text) => Number(text.getAttribute('y')))")
    assert len(heights) == 5 and all(b - a > 14.9 for a, b in itertools.pairwise(sorted(heights)))


def test_the_loader_is_small():
    assert LOADER.stat().st_size < 3000


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_noise_slider_moves_by_keyboard_and_by_drag(visit, scheme):
    page = visit(scheme=scheme)
    slider = page.get_by_test_id("siam-sigma")
    assert "σ = 0.10, M = 8" in readout(page)
    slider.focus()
    seen = [readout(page)]
    for key, sigma in (("ArrowRight", "0.15"), ("ArrowRight", "0.20"), ("ArrowRight", "0.24"),
                       ("ArrowLeft", "0.20"), ("Home", "0.00"), ("ArrowLeft", "0.00"), ("End", "0.40"),
                       ("ArrowRight", "0.40")):
        before = cursor(page)
        page.keyboard.press(key)
        assert f"σ = {sigma}," in readout(page), key
        assert slider.get_attribute("aria-valuetext").startswith(f"σ = {sigma}: clean ")
        assert (cursor(page) != before) == (readout(page) != seen[-1])
        seen.append(readout(page))
    drag(page, slider, 0.26)  # 0.104 lies between two measured σ: the nearest is read
    assert readout(page) == seen[0]
    assert float(slider.input_value()) == 0.1


def test_a_key_passes_over_no_measured_noise_and_the_page_that_runs_the_network_leads_back(visit):
    page = visit("close")
    slider = page.get_by_test_id("siam-sigma")
    slider.focus()
    for key, sigma in (("ArrowRight", "0.125"), ("ArrowRight", "0.13"), ("ArrowRight", "0.20"), ("ArrowLeft", "0.13"),
                       ("ArrowLeft", "0.125"), ("ArrowLeft", "0.12"), ("End", "0.20"), ("Home", "0.12"), ("PageUp", "0.13")):
        page.keyboard.press(key)
        assert f"σ = {sigma}, M = 64" in readout(page), key
    page.get_by_label("Voting rule").select_option("weighted")
    said = readout(page)
    page.get_by_role("link", name="Try σ = 0.13, M = 64 on an image").click()
    page.wait_for_url("**/live.html#sigma=0.13&draws=64&rule=weighted")
    page.go_back()
    page.get_by_test_id("siam-explorer").locator("svg").wait_for()
    assert readout(page) == said and page.get_by_label("Voting rule").input_value() == "weighted"


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_votes_slider_moves_by_keyboard_and_by_drag(visit, scheme):
    page = visit(scheme=scheme)
    slider = page.get_by_test_id("siam-draws")
    assert slider.get_attribute("aria-valuetext") == "M = 8 noisy passes"
    seen, said = lines(page), readout(page)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert "M = 16" in readout(page) and readout(page) != said
    assert all(old != new for old, new in zip(seen, lines(page), strict=True))
    drag(page, slider, 0)
    assert "σ = 0.10, M = 1 " in readout(page)
    assert slider.get_attribute("aria-valuetext") == "M = 1 noisy pass"
    drag(page, slider, 0.5)
    assert lines(page) == seen and readout(page) == said


def test_the_readout_tells_accuracy_interval_images_tier_and_record(visit):
    page = visit()
    frame = rows().query("sigma == 0.1 and M == 8 and rule == 'prediction'")
    for attack, name in (("none", "clean"), ("pgd", "PGD"), ("epgd", "EPGD")):
        (p,) = frame[frame.attack == attack].itertuples()
        card = page.locator(".siam-card", has=page.get_by_text(name, exact=True)).inner_text()
        for part in (f"{100 * p.accuracy:.1f} %", f"{100 * p.low:.1f}–{100 * p.high:.1f} %",
                     f"{p.correct} of 1,000 images", "cpu tier", p.id):
            assert part in card
    links = page.get_by_test_id("siam-readout").get_by_role("link")
    assert links.count() == 3 and links.first.get_attribute("href").startswith("../data/results/evaluation/")
    assert "not a reproduction" in page.locator(".siam-note").inner_text()


def test_a_listener_is_told_once_what_has_changed(visit):
    page = visit()
    told = page.get_by_test_id("siam-explorer").get_by_role("status").first
    page.evaluate("""() => { window.spoken = 0; new MutationObserver(() => { spoken += 1; }).observe(
        document.querySelector('.siam-told'), {childList: true, characterData: true, subtree: true}); }""")
    page.get_by_test_id("siam-sigma").focus()
    page.keyboard.press("ArrowRight")  # the slider says it
    page.wait_for_timeout(700)
    assert page.evaluate("spoken") == 0 and told.text_content() == ""
    page.get_by_label("Voting rule").select_option("weighted")
    page.get_by_test_id("siam-draws").press("ArrowRight")
    page.wait_for_function("spoken > 0")
    assert page.evaluate("spoken") == 1 and told.text_content().startswith("σ = 0.15: clean ")
    page.set_viewport_size({"width": 600, "height": 900})
    page.wait_for_timeout(700)
    assert page.evaluate("spoken") == 1 and page.locator("[aria-live], output").count() == 0
    page.get_by_test_id("siam-sigma").press("ArrowRight")
    assert told.text_content() == "", "numbers of the place before"


def test_a_press_on_the_chart_moves_the_cursor_to_the_nearest_measured_noise_and_passing_over_it_does_not(visit):
    page = visit()
    box = page.locator(".siam-plot").bounding_box()
    left, right, y = box["x"] + 40, box["x"] + box["width"] - 50, box["y"] + 150
    page.mouse.move(left, y)
    page.mouse.move(right, y)
    assert "σ = 0.10" in readout(page)
    page.mouse.click(left, y)
    assert "σ = 0.00" in readout(page)
    page.mouse.down()
    page.mouse.move(right, y)
    assert "σ = 0.40" in readout(page)
    page.mouse.up()
    page.mouse.move(left, y)
    assert "σ = 0.40" in readout(page)


def test_a_drag_that_began_elsewhere_and_another_button_move_nothing(visit):
    page = visit()
    box, words = page.locator(".siam-plot").bounding_box(), page.get_by_test_id("siam-readout").bounding_box()
    page.mouse.move(words["x"] + 40, words["y"] + 20)
    page.mouse.down()  # selects text
    page.mouse.move(box["x"] + 40, box["y"] + 150, steps=3)
    page.mouse.up()
    page.mouse.move(box["x"] + 300, box["y"] + 150)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 40, box["y"] + 150, steps=3)
    page.mouse.up(button="right")
    assert "σ = 0.10" in readout(page)


@pytest.mark.parametrize("name", ["high", "wide"])
def test_no_tick_lies_beyond_its_axis_on_a_phone(visit, name):
    page = visit(name, viewport={"width": 375, "height": 800})
    beyond = page.locator(".siam-plot svg").evaluate("""svg => {
        const [line, ...lines] = svg.querySelectorAll('.siam-axes line');
        const [width, bottom] = [Number(line.getAttribute('x2')), Math.max(...[line, ...lines].map((one) => one.getAttribute('y1')))];
        const across = [...svg.querySelectorAll('.siam-axes text')].filter((text) => text.getAttribute('text-anchor') === 'middle');
        return [...[line, ...lines].map((one) => Math.min(0, one.getAttribute('y1'))),
                ...across.map((text) => Math.max(0, text.getAttribute('x') - width))].filter((by) => Math.abs(by) > 0.5);
    }""")
    assert beyond == []


@pytest.mark.parametrize("name, width", [("sums", 320), ("sums", 375), ("sums", 900), ("ends", 760)])
def test_names_and_values_do_not_lie_on_each_other(visit, name, width):
    page = visit(name, viewport={"width": width, "height": 900})
    slider = page.get_by_test_id("siam-sigma")
    slider.press("Home")
    for _ in range(26):
        over = page.locator(".siam-labels text, .siam-cursor text").evaluate_all("""all => {
            const boxes = all.map((text) => [text.textContent, text.getBoundingClientRect()]);
            return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) =>
                Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
            ).map(([other]) => `${one} / ${other}`));
        }""")
        assert over == [], readout(page)[:9]
        slider.press("ArrowRight")


def test_a_touch_on_the_chart_moves_the_cursor_and_two_fingers_zoom(visit):
    page = visit(has_touch=True, viewport={"width": 380, "height": 800})
    box = page.locator(".siam-plot").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 60, box["y"] + 150)
    assert "σ = 0.40" in readout(page)
    assert page.locator(".siam-plot").evaluate("plot => getComputedStyle(plot).touchAction") == "manipulation"


def test_the_thumb_lies_under_the_cursor(visit):
    page = visit()
    slider = page.get_by_test_id("siam-sigma")
    for _ in SIGMAS:
        slider.press("ArrowRight")
        track = slider.bounding_box()
        share = float(slider.input_value()) / float(slider.get_attribute("max"))
        line = page.locator(".siam-cursor line").bounding_box()
        assert line["x"] == pytest.approx(track["x"] + 8 + share * (track["width"] - 16), abs=1)


def test_rule_attack_and_model_choose_what_is_drawn(visit):
    page = visit()
    first = lines(page)
    page.get_by_label("Voting rule").select_option("weighted")
    assert len(lines(page)) == 3 and lines(page) != first
    page.get_by_role("checkbox", name="clean").uncheck()
    assert len(lines(page)) == 2 and "clean" not in readout(page)
    page.get_by_label("Base model").select_option("Gauss")
    assert len(lines(page)) == 1
    assert page.locator(".siam-card", has_text="EPGD").get_by_text("not yet measured").is_visible()
    assert page.get_by_test_id("siam-draws").get_attribute("aria-valuetext") == "M = 4 noisy passes"
    page.get_by_label("Base model").select_option("EPGD-diverged")
    assert lines(page) == [] and "EPGD-diverged: not yet measured." in readout(page)
    assert page.get_by_test_id("siam-sigma").is_disabled() and page.get_by_test_id("siam-draws").is_disabled()
    page.get_by_label("Base model").select_option("CPNI-W")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    assert "Choose an attack, or clean." in readout(page) and "not yet" not in readout(page)
    assert page.get_by_test_id("siam-sigma").get_attribute("aria-valuetext") == "Choose an attack, or clean"


def test_measurements_of_two_kinds_are_chosen_between_and_never_mixed(visit):
    page = visit()
    assert page.get_by_label("Measured on").is_hidden()
    page.get_by_label("Base model").select_option("PNI-W")
    source = page.get_by_label("Measured on")
    assert page.locator(".siam-lines circle").count() == 3 * len(SIGMAS)
    source.select_option(index=2)
    assert "smoke tier, 300 test images" in page.locator(".siam-note").inner_text()
    assert page.locator(".siam-lines circle").count() == 3 * 2
    assert "of 300 images" in readout(page) and "1,000" not in readout(page)


def test_sources_are_listed_by_tier_and_the_seeds_of_one_apart(visit):
    page = visit(viewport={"width": 380, "height": 800})
    assert page.get_by_label("Seed").is_hidden()
    page.get_by_label("Base model").select_option("PNI-W")
    source, seed = page.get_by_label("Measured on"), page.get_by_label("Seed")
    assert source.locator("option").all_inner_texts() == [
        "cpu tier, 1,000 test images: batches of 250", "cpu tier, 1,000 test images: batches of 100", "smoke tier, 300 test images"]
    assert seed.locator("option").all_inner_texts() == ["0", "1", "2", "10"]
    seed.focus()
    page.keyboard.press("ArrowDown")
    assert "seed 1, batches of 250" in page.locator(".siam-note").inner_text()
    assert page.locator(".siam-lines path").count() == 3 and source.input_value() != seed.input_value()
    source.select_option(index=1)
    assert "seed 0, batches of 100" in page.locator(".siam-note").inner_text() and seed.is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


@pytest.mark.parametrize("width", [1200, 380])
def test_a_slider_of_one_value_says_so_and_a_value_alone_stands_beside_its_name(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    page.get_by_label("Base model").select_option("PNI-W")
    assert "measured" not in page.locator(".siam-sigma").inner_text()
    page.get_by_label("Seed").select_option(label="10")
    assert "one σ measured" in page.locator(".siam-sigma").inner_text()
    assert page.get_by_text("M = 1 noisy pass votes, the only M measured").is_visible()
    boxes = page.locator(".siam-labels text, .siam-cursor text").evaluate_all(
        "all => all.map(node => [node.textContent, node.getBoundingClientRect().top, node.getBoundingClientRect().bottom])")
    assert [text.split()[0] for text, *_ in boxes] == ["clean", "PGD", "EPGD"] and all(len(text.split()) == 2 for text, *_ in boxes)
    assert all(one[2] <= other[1] + 4 or other[2] <= one[1] + 4 for one, other in itertools.combinations(boxes, 2))


def test_the_papers_points_are_marked_as_the_papers(visit):
    page = visit("printed")
    titles = [title.text_content() for title in page.locator(".siam-printed title").all()]
    assert len(titles) == 6 and all(title.startswith("Printed by the paper, Table 3") for title in titles)
    assert "◇ paper: 55.92 ± 0.22 %" in readout(page)
    assert "512" in page.locator(".siam-note").inner_text()


def test_without_records_the_page_says_so(visit):
    page = visit("empty")
    assert lines(page) == []
    assert "CPNI-W: not yet measured." in readout(page)
    assert page.locator("svg").get_by_text("CPNI-W: not yet measured").is_visible()
    assert page.locator(".siam-printed title").count() == 6


def test_the_table_holds_the_numbers_of_the_chart(visit):
    page = visit()
    page.get_by_text("The numbers, as a table").click()
    page.locator(".siam-scroll tbody tr").first.wait_for()  # filled when it has opened, a moment later
    assert page.locator(".siam-scroll tbody tr").count() == 3 * len(SIGMAS)
    page.get_by_role("checkbox", name="EPGD", exact=True).uncheck()
    assert page.locator(".siam-scroll tbody tr").count() == 2 * len(SIGMAS)
    (p,) = rows().query("attack == 'pgd' and sigma == 0.24 and M == 8 and rule == 'prediction'").itertuples()
    row = page.locator(".siam-scroll tbody tr", has_text="0.24").filter(has_text="PGD").inner_text()
    assert re.split(r"\s*\t\s*", row.strip()) == [
        "0.24", "PGD", f"{100 * p.accuracy:.1f}", f"{100 * p.low:.1f}–{100 * p.high:.1f} %",
        f"{p.correct} / 1000", p.id]
    shown = page.locator(".siam-scroll tbody tr", has_text="0.24").filter(has_text="PGD").get_by_role("link")
    assert shown.get_attribute("href") == f"../data/results/evaluation/{p.id}.json"


@pytest.mark.parametrize("name", ["measured", "empty"])
def test_a_narrow_page_does_not_scroll_sideways(visit, name):
    page = visit(name, viewport={"width": 380, "height": 800})
    page.get_by_text("The numbers, as a table").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_the_chart_follows_the_width_of_the_page(visit):
    page = visit()
    page.set_viewport_size({"width": 420, "height": 900})
    page.wait_for_function("document.querySelector('.siam-plot svg').getBoundingClientRect().width < 400")


def test_every_control_has_a_name_and_keeps_its_keys(visit):
    page = visit()
    inputs = page.get_by_test_id("siam-explorer").locator("input, select")
    assert inputs.count() == 4 + 3 + 2
    for control in inputs.all():
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
        assert control.evaluate("c => c.getAttribute('aria-label') || c.labels[0]?.textContent")
    picture = page.get_by_role("img")
    assert "clean between" in picture.get_attribute("aria-label")


def test_focus_is_visible(visit):
    page = visit()
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.get_attribute("data-lm-suppress-shortcuts") == "true"
    assert focused.evaluate("control => getComputedStyle(control).outlineStyle") == "solid"


def test_along_the_budget_the_slider_moves_epsilon_and_a_choice_sets_sigma(visit):
    page = visit("budget")
    slider = page.get_by_test_id("siam-epsilon")
    assert readout(page).startswith("ε = 4/255, M = ") and "pixel range" not in readout(page)
    before = cursor(page)
    slider.focus()
    page.keyboard.press("ArrowRight")  # from one measured budget to the next, not by one
    assert "ε = 8/255" in readout(page) and cursor(page) > before
    assert slider.get_attribute("aria-valuetext").startswith("ε = 8/255: PGD ")
    page.get_by_label("Measured on").select_option(index=1)
    assert "σ = 0, cpu tier" in page.locator(".siam-note").inner_text()


def test_a_link_leads_back_to_the_view(visit, site):
    page = visit()
    page.get_by_label("Base model").select_option("Gauss")
    page.get_by_role("checkbox", name="clean").uncheck()
    page.get_by_test_id("siam-draws").fill("1")
    page.get_by_test_id("siam-sigma").focus()
    page.keyboard.press("ArrowLeft")
    said, drawn = readout(page), lines(page)
    page.get_by_role("button", name="Link to this view").click()
    page.get_by_text("It is in the address bar.").or_(page.get_by_text("Copied.")).wait_for()
    address = page.url
    page.get_by_label("Base model").select_option("CPNI-W")
    other = readout(page)
    assert other != said
    page.wait_for_url("**base_model=CPNI-W&**")  # the address goes with the view
    page.reload()
    page.get_by_test_id("siam-explorer").locator("svg").wait_for()
    assert readout(page) == other
    again = visit()
    again.goto(address)
    again.reload()
    again.get_by_test_id("siam-explorer").locator("svg").wait_for()
    assert (readout(again), lines(again)) == (said, drawn)
    assert again.get_by_role("status").filter(has_text="Copied.").or_(again.get_by_text("It is in the address bar.")).count() == 0


def test_a_link_names_the_source_in_view_and_leads_back_to_none_and_to_no_attack(visit):
    page = visit()
    page.get_by_label("Base model").select_option("PNI-W")
    page.get_by_role("button", name="Link to this view").click()
    page.wait_for_url("**source=cpu*")
    page.get_by_label("Measured on").select_option(index=2)
    page.get_by_role("status").filter(has_text=re.compile("^$")).first.wait_for(state="attached")
    assert page.get_by_text("It is in the address bar.").or_(page.get_by_text("Copied.")).count() == 0
    page.evaluate("location.hash = '#source='")
    page.wait_for_function("document.querySelector('.siam-note').textContent.includes('cpu tier')")
    page.evaluate("location.hash = '#attacks='")
    page.wait_for_function("document.querySelectorAll('.siam-lines path').length === 0")


def test_a_link_that_asks_for_what_is_not_there_is_ignored(visit):
    page = visit()
    said = readout(page)
    page.goto(page.url + "#base_model=nothing&rule=&draws=-1&sigma=x&attacks=cw&source=q")
    page.reload()
    page.get_by_test_id("siam-explorer").locator("svg").wait_for()
    assert readout(page) == said
