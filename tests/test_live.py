"""The live page: the rule for its images, its sums against Python's, and the page in browsers, over http and file."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import node, served
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_book import DESK, PHONE, base, html, overflow, visit  # noqa: F401  the fixtures
from test_engine import Engine, images

from siam import cifar10, export, live, runs, smoothing
from siam.live import record as records
from siam.paths import CHECKPOINTS, RESULTS, ROOT
from siam.runs import clopper_pearson

PAGE = "notebooks/live"
OWN = ("engine", "coarse", "shown", "live", "fine", "images")  # the scripts of the page, beside its HTML


# --- which images ------------------------------------------------------------------------------------------------


def image(label=3, plain=3, winner=3, plain_attacked=(3,), winner_attacked=(3,)):
    return dict(label=label, plain=plain, winner=winner, plain_attacked=list(plain_attacked),
                winner_attacked=list(winner_attacked))


@pytest.mark.parametrize("made, group", [
    (image(plain_attacked=(5, 4)), "rescued"),
    (image(winner_attacked=(5, 5)), "harmed"),
    (image(winner=5), "harmed"),
    (image(plain_attacked=(5, 5), winner_attacked=(5, 2)), "lost"),
    (image(), "safe"),
    (image(plain=5, plain_attacked=(5, 5)), None),  # never right, so there is nothing to rescue
    (image(plain_attacked=(5, 3)), None),  # hangs on the start of the attack
    (image(winner_attacked=(5, 3)), None),
])
def test_group_of_an_image(made, group):
    assert records.group(made) == group


def test_images_are_taken_in_turn_and_new_classes_first():
    safe = [image(label, label, label, [label], [label]) for label in (0, 0, 1)]
    rescued = [image(label, label, label, [9], [label]) for label in (0, 2)]
    assert records.choose(safe + rescued, 4) == {"rescued": [3, 4], "harmed": [], "lost": [], "safe": [0, 2]}
    assert records.choose(safe + rescued, 9)["safe"] == [0, 1, 2]


def test_committed_record_shows_every_class_and_every_group():
    record = records.read()
    assert record["n"] == len(record["images"]) == 500 and len(record["versions"]) > 2
    assert record["digest"] == export.checkpoint(live.CHECKPOINTS / f"{record['checkpoint']}.safetensors")[1]["digest"]
    assert [row["label"] for row in record["images"]] == cifar10.sample()["test_labels"].tolist()
    told = live.about(record)
    assert 16 <= len(told["images"]) <= 24
    assert {shown["label"] for shown in told["images"]} == set(range(10))
    assert all(records.group(record["images"][shown["number"]]) == shown["group"] for shown in told["images"])
    assert {shown["group"] for shown in told["images"]} == set(records.GROUPS)
    first = record["images"][:100]
    right = sum(row["winner_attacked"][0] == row["label"] for row in first)
    hundred, all_of_it, tested = told["book"]["counts"]
    assert (hundred["correct"], hundred["n"], all_of_it["n"]) == (right, 100, 500)
    found = json.loads((RESULTS / tested["record"]).read_text())  # the same network, in the same setting
    assert found["run"]["digest"] == record["digest"] and tested["n"] == found["n"] == 10_000
    assert all(found["run"][name] == record["setting"][name] for name in ("sigma", "epsilon", "steps", "step_size", "samples"))
    assert ["prediction", record["setting"]["draws"], tested["correct"]] in [
        [row["rule"], row["M"], row["correct"]] for row in found["result"]]


def test_what_is_said_of_all_images_is_counted():
    rescued, hangs = image(plain_attacked=(5, 5)), image(plain_attacked=(3, 5))
    wrong = image(plain=5, winner=4, winner_attacked=(3, 5))
    record = dict(n=10, images=[rescued] * 4 + [wrong] * 5 + [hangs], setting=dict(draws=64))
    names = ("plain", "plain_attacked", "winner", "winner_attacked")
    assert [records.right(record, name) for name in names] == [5, 6, 5, 10]
    assert records.right(record, "winner", 4) == 4
    low, high = (f"{100 * end:.1f}" for end in clopper_pearson(6, 10))
    said = records.accuracy(record)
    assert f"60.0 % ({low}–{high}) once PGD" in said and "attacked itself, 100.0 %" in said
    assert "make up 4 of the 10 images. Of the other 6, 5 are wrong" in records.others(record)
    assert "for 1 the kind depends" in records.others(record)


def test_only_an_equal_evaluation_of_more_images_stands_beside_the_record(tmp_path):
    record = records.read()
    same = runs.EvaluationRun("a", record["digest"], sigma=0.36, images=10_000)
    counted = {same: 4000, replace(same, images=1000): 300, replace(same, seed=1): 1, replace(same, sigma=0.24): 2,
               replace(same, samples=8, attack="epgd"): 3, replace(same, digest="0" * 16): 4,
               replace(same, images=1000, split="heldout"): 5}
    assert len(records.robust(record, 100, tmp_path)) == 2
    for run, correct in counted.items():
        result = [runs.row("prediction", M, correct, run.images) for M in (1, 2, 4, 8, 16, 32, 64)]
        runs.write(runs.record(run, tier="cpu", n=run.images, result=result), tmp_path)
    assert records.robust(record, 100, tmp_path)[2:] == [
        {"n": 10_000, "correct": 4000, "tier": "cpu", "record": f"evaluation/{same.id}.json"}]


def test_record_goes_to_a_file_and_back(tmp_path):
    record = records.read()
    records.write(record, records.path(tmp_path))
    assert records.read(tmp_path) == record
    assert records.read(tmp_path / "nothing") is None


def test_measured_again_from_few_passes():
    from siam.live import choose

    setting = records.SETTING | {"draws": 2, "attacks": 2, "steps": 1}
    record = choose.measure(3, setting=setting)
    assert record["n"] == 3 and record["setting"]["draws"] == 2 and record["digest"] == records.read()["digest"]
    for row, known in zip(record["images"], records.read()["images"]):
        assert row["plain"] == known["plain"] and row["label"] == known["label"]  # what has no noise is the same
        assert len(row["winner_attacked"]) == 2
        assert all(0 <= votes <= 2 for votes in (row["votes"], *row["votes_attacked"]))


def test_each_network_is_attacked_itself(monkeypatch):
    from siam.live import choose

    asked, votes = [], SimpleNamespace(ranks=torch.zeros(1, 2, 10, 1))
    monkeypatch.setattr(choose, "error_of", lambda network, y: asked.append(network))
    monkeypatch.setattr(choose, "pgd", lambda loss, x, **how: asked.append(how) or x)
    monkeypatch.setattr(choose, "tally", lambda network, *_: votes)
    plain, smoothed = (lambda x: torch.zeros(len(x), 10) for _ in range(2))
    choose.answers(plain, smoothed, torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.long), records.SETTING | {"attacks": 1}, 0)
    how = dict(epsilon=8 / 255, step_size=2 / 255, steps=7)
    assert asked == [plain, how, smoothed, how]


def test_network_of_another_record_is_refused(tmp_path):
    record = records.read()
    records.write(record | {"digest": "0" * 16}, records.path(tmp_path))
    with pytest.raises(ValueError, match="siam.live.choose"):
        live.write(tmp_path / "out", results=tmp_path)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="images.json is missing: run python -m siam.live.choose"):
        live.write(tmp_path / "out", results=tmp_path / "nothing")


def test_another_checkpoint_has_no_groups_and_no_number_of_the_book():
    told = live.about(records.read(), digest="0" * 16, noisy=False)
    assert [group["key"] for group in told["groups"]] == ["all"] and told["book"] is None and not told["noisy"]
    assert {shown["group"] for shown in told["images"]} == {"all"}


def test_where_the_readers_data_are_elsewhere_the_book_still_says_what_was_recorded(tmp_path):
    network = CHECKPOINTS / f"{records.CHECKPOINT}.safetensors"
    code = f"from siam.live import Live; print([of['n'] for of in Live({str(network)!r}).about['book']['counts']])"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"SIAM_DATA": str(tmp_path)}, capture_output=True, text=True)
    assert done.stdout == "[100, 500, 10000]\n", done.stderr


def test_static_page_has_the_picture_and_the_numbers():
    page = live.page()
    shown = page._repr_mimebundle_()
    assert shown["image/png"] and shown["text/html"].count("<tr>") == 21 and "tier" in shown["text/html"].lower()
    number = page.about["images"][0]["number"]
    votes = ", ".join(map(str, page.record["images"][number]["votes_attacked"]))
    assert votes in shown["text/html"] and votes in shown["text/plain"]
    for said in (records.accuracy(page.record), records.others(page.record)):
        assert escape(said) in shown["text/html"] and said in shown["text/plain"]


def test_static_page_without_a_record(tmp_path):
    assert "not yet measured" in live.page(tmp_path)._repr_html_()
    assert "image/png" not in live.page(tmp_path)._repr_mimebundle_()


# --- its sums ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sums(browser):
    """votes.js in a page: a function of its functions."""
    tab = browser.new_page()
    tab.add_script_tag(content=live.source("votes.js"))
    yield tab.evaluate
    tab.close()


@pytest.mark.parametrize("scale", [1.0, 0.0], ids=["logits", "ties"])
def test_verdicts_are_those_of_siam_smoothing(sums, scale):
    logits = np.round(np.random.default_rng(1).normal(0, 2, (64, 10)) * scale + np.arange(10) % 2, 3 if scale else 0)
    logits = logits.astype(np.float32)
    logits[:8] = np.round(logits[:8])  # some ties in any case
    kept = sums("""logits => tallies(Float32Array.from(logits)).map(({M, ...scores}) => [M, scores,
        Object.fromEntries(Object.entries(scores).map(([rule, of]) => [rule, winner(of)]))])""", logits.ravel().tolist())
    out = torch.from_numpy(logits).double()
    ranks = torch.stack([smoothing.ranking(out[:M]).sum(0) for M, *_ in kept]).unsqueeze(1)
    softmax = torch.stack([out[:M].softmax(-1).sum(0) for M, *_ in kept]).unsqueeze(1)
    tally = smoothing.Tally(tuple(M for M, *_ in kept), ranks, softmax, softmax)
    assert tally.draws == (1, 2, 4, 8, 16, 32, 64)
    for rule in ("prediction", "soft", "weighted"):
        scores = smoothing.RULES[rule](tally)
        assert scores[:, 0].tolist() == [pytest.approx(of[rule], abs=1e-12) for _, of, _ in kept]
        assert smoothing.vote(scores)[:, 0].tolist() == [best[rule] for *_, best in kept]


@settings(max_examples=30, deadline=None)
@example((4778, 10_000))
@given(st.integers(1, 512).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_is_that_of_siam_runs(sums, share):
    assert sums("([k, n]) => interval(k, n)", list(share)) == pytest.approx(clopper_pearson(*share), abs=1e-7)


def test_a_link_carries_the_state_and_nothing_out_of_range(browser):
    tab = browser.new_page()
    tab.add_script_tag(content=live.source("votes.js", "lab.js"))
    opening = dict(image=1, attacked=False, rule="prediction", seed=0, weightNoise=True, noisyAttack=True,
                   sigma=0.36, draws=64, epsilon=8, steps=7, samples=1)
    other = dict(image=7, attacked=True, rule="soft", seed=3, weightNoise=False, noisyAttack=False,
                 sigma=0.1, draws=2, epsilon=0, steps=9, samples=8)
    wrong = dict(image=5, attacked=2, rule="second", seed=-1, weightNoise="no", noisyAttack=2,
                 sigma=0.6, draws=3, epsilon=8.5, steps=0, samples=64)
    back = "([state, opening]) => restored(fragment(state), opening, [1, 7])"
    assert tab.evaluate(back, [other, opening]) == other
    for key, value in wrong.items():
        assert tab.evaluate(back, [opening | {key: value}, opening]) == opening, key
    assert tab.evaluate("opening => restored('#a-heading', opening, [1])", opening) == opening
    assert tab.evaluate("opening => restored('#sigma=&epsilon=&image=', opening, [0, 1])", opening) == opening
    assert tab.evaluate("opening => restored('#sigma=0.125', opening, [1]).sigma", opening) == 0.13  # what the slider shows
    tab.close()


# --- its work --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts(browser):
    """The scripts of the page with nothing started: a function of theirs."""
    tab = browser.new_page()
    tab.add_script_tag(content=live.source(*live.FRONT_END))
    yield tab.evaluate
    tab.close()


def test_what_was_computed_is_not_computed_again(scripts):
    """Of more passes the first are known; the pictures that they saw depend on neither rule nor M."""
    asked, gone, equal, fewer, pictures = scripts("""async () => {
        const asked = [];
        const engine = {
            exact: new Promise(() => {}),
            async vote({ first = 0, draws }, onPasses) {
                asked.push([first, draws]);
                const logits = Float32Array.from({ length: 10 * (draws - first) }, (_, i) => 10 * first + i);
                for (let i = 0; i < logits.length; i += 20) onPasses(first + i / 10, logits.subarray(i, i + 20));
                return logits;
            },
            async noisy({ pass, sigma }, signal) {
                asked.push(sigma);
                signal.throwIfAborted();
                return pass;
            },
        };
        const [lab, other] = [laboratory(engine), laboratory(engine)];
        const s = { sigma: 0.1, weightNoise: false, seed: 1 };
        const gone = [];
        await lab.vote([7], [], { ...s, draws: 64 });
        const more = await lab.vote([7], [], { ...s, draws: 128 }, (some) => gone.push(some.length / 10));
        const once = await other.vote([7], [], { ...s, draws: 128 });
        const fewer = await lab.vote([7], [], { ...s, draws: 32 });
        const { signal } = new AbortController();
        const see = (sigma, count) => lab.noisy([7], [], { ...s, sigma }, count, signal);
        const pictures = [await see(0.1, 3), await see(0.1, 3), await see(0.1, 2), await see(0.2, 1)];
        pictures.push(await lab.noisy([7], [], { ...s, sigma: 0.3 }, 1, AbortSignal.abort()).catch(({ name }) => name));
        return [asked, gone, more.join() === once.join(), fewer.length, pictures];
    }""")
    assert asked == [[0, 64], [64, 128], [0, 128], *[0.1] * 3, 0.2, 0.3]
    assert equal and fewer == 320 and gone == list(range(64, 129, 2))
    assert pictures == [[0, 1, 2], [0, 1, 2], [0, 1], [0], "AbortError"]


def test_as_many_images_are_attacked_at_a_time_as_there_are_workers(scripts):
    most, attacked, text, stopped = scripts("""async () => {
        let [now, most] = [0, 0];
        const [attacked, pause] = [[], (ms) => new Promise((resolve) => setTimeout(resolve, ms))];
        const lab = {
            ready: Promise.resolve(),
            workers: 3,
            async attack(id, { label, pixels }, s, onStep, signal) {
                now += 1;
                most = Math.max(most, now);
                attacked.push(pixels[0]);
                await pause(attacked.length % 3); // not in their order
                now -= 1;
                signal.throwIfAborted();
                return pixels;
            },
            vote: async (id, pixels) => Float32Array.from({ length: 10 }, (_, c) => c === Math.round(255 * pixels[0]) % 2),
        };
        const bytes = Uint8Array.from({ length: 100 * 3073 }, (_, i) => (i < 100 ? 0 : Math.floor((i - 100) / 3072)));
        const about = { book: null };
        const s = { rule: "prediction", draws: 1, sigma: 0, epsilon: 8, steps: 1, samples: 1, noisyAttack: true, weightNoise: true };
        const { node } = hundred(about, () => s, () => lab, { images: async () => bytes });
        const [button, until] = [node.querySelector("button"), async (has) => { while (!has()) await pause(1); }];
        button.click();
        await until(() => node.textContent.includes("Done"));
        const result = [most, attacked.map((value) => Math.round(255 * value)), node.textContent];
        button.click();
        await until(() => attacked.length > 110);
        button.click();
        const { length } = attacked;
        await pause(30);
        return [...result, [attacked.length - length, now, node.textContent.includes("Stopped.")]];
    }""")
    assert most == 3 and sorted(attacked) == list(range(100)) and "Done: 50 of 100 images right" in text
    assert stopped == [0, 0, True]


def test_workers_leave_the_page_a_core(scripts):
    assert [scripts("teamSize", cores) for cores in (1, 2, 3, 4, 6, 64)] == [1, 2, 2, 3, 5, 6]


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(html):  # noqa: F811
    """The book as a folder, which a browser opens: what does not hang on the scheme is tried there alone."""
    return f"{html.as_uri()}/"


def settled(tab, *parts, timeout=60_000):
    """Wait until all votes are in, with the weights' noise, for a state whose link has `parts`; the verdict's text."""
    has = "".join(f"[data-settled*='{part}']" for part in parts)
    tab.wait_for_selector(f"[data-testid=siam-live][data-noise=here][data-settled]{has}", timeout=timeout)
    return tab.get_by_test_id("live-verdict").text_content()


def move(tab, name, *keys):
    slider = tab.get_by_role("slider", name=name, exact=True)
    slider.focus()
    for key in keys:
        tab.keyboard.press(key)


def vote_on(tab, name):
    tab.get_by_role("group", name="Vote on").get_by_role("radio", name=name, exact=True).check()


def drawn(tab, selector):
    """What the canvases under `selector` hold."""
    return tab.locator(f"{selector} canvas").evaluate_all("all => all.map(one => one.toDataURL())")


def counts(tab):
    return [int(cell) for cell in tab.locator(".live-count").all_inner_texts()]


def test_the_page_opens_with_a_result(browser, base):  # noqa: F811
    with visit(browser, base, PAGE) as tab:
        said = settled(tab)
        assert "64 noisy passes and prediction smoothing say" in said and "on the attacked image" in said
        assert "under an attack made against it, says" in said
        image, added, seen = drawn(tab, ".live-pictures")
        assert image != seen, "the page is called Attack it yourself"
        assert sum(counts(tab)) == 64
        assert re.search(r"\d+ of 64, \d+ %, exact 95 % interval \d+–\d+ %", tab.locator(".live-share").inner_text())
        passes = tab.locator(".live-samples li span").all_inner_texts()
        assert len(passes) == 24 and all(re.fullmatch("[✓✗] [a-z\u00ad]+", text) for text in passes)
        right = tab.locator(".live-samples li[data-right=true]").count()
        assert right == sum("✓" in text for text in passes) <= int(tab.locator(".live-own .live-count").inner_text())
        assert len(set(drawn(tab, ".live-samples"))) == 24, "every pass has its own noise"
        assert len(set(drawn(tab, ".live-strip"))) == 20
        assert tab.locator(".live-static").count() == 0


def test_every_control_changes_what_it_should(browser, file):
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        first, noisy = counts(tab), drawn(tab, ".live-samples")

        move(tab, "M", "ArrowLeft", "ArrowLeft")
        assert "16 noisy passes" in settled(tab, "draws=16&") and sum(counts(tab)) == 16
        # What the passes saw is drawn after they are counted.
        tab.wait_for_function("document.querySelectorAll('.live-samples .live-idle').length === 8")
        assert drawn(tab, ".live-samples")[:16] == noisy[:16], "fewer passes, the same ones"
        move(tab, "M", "ArrowRight", "ArrowRight")
        settled(tab, "draws=64&")
        assert counts(tab) == first

        move(tab, "σ, noise on the input", "Home")
        settled(tab, "sigma=0&")
        assert len(set(drawn(tab, ".live-samples"))) == 1, "without noise all pictures are one"
        tab.get_by_label("noise in the weights").uncheck()
        settled(tab, "weightNoise=0")
        assert sorted(counts(tab))[:9] == [0] * 9, "without any noise all passes agree"
        tab.get_by_role("button", name="Reset").click()
        settled(tab, "sigma=0.36&", "weightNoise=1")
        assert counts(tab) == first

        tab.get_by_role("button", name="Draw anew").click()
        settled(tab, "seed=1&")
        assert not set(drawn(tab, ".live-samples")) & set(noisy)
        tab.get_by_role("button", name="Undo").click()
        settled(tab, "seed=0&")
        assert counts(tab) == first

        tab.evaluate("""() => {
            window.blank = 0;
            const count = () => { blank += document.querySelectorAll(".live-idle").length; };
            new MutationObserver(count).observe(document.querySelector(".live-samples"), {attributeFilter: ["class"], subtree: true});
        }""")
        for rule, name in (("soft", "Soft"), ("weighted", "Weighted"), ("prediction", "Prediction")):
            tab.get_by_role("radio", name=f"{name} smoothing").check()
            assert f"and {name.lower()} smoothing say" in settled(tab, f"rule={rule}")
        assert tab.evaluate("blank") == 0, "what the passes saw stays"

        attacks = [drawn(tab, ".live-pictures")[1]]
        for name, key, part in (("ε, budget", "ArrowRight", "epsilon=9&"), ("Steps", "ArrowLeft", "steps=6&"),
                                ("Samples a step", "ArrowRight", "samples=2")):
            move(tab, name, key)
            settled(tab, part)
            attacks.append(drawn(tab, ".live-pictures")[1])
        assert len(set(attacks)) == 4, "each control of the attack changes what it adds"

        tab.get_by_label("noise on during the attack").uncheck()
        settled(tab, "noisyAttack=0", "sigma=0.36&")
        blind = drawn(tab, ".live-pictures")[1]
        assert tab.get_by_role("slider", name="Samples a step").is_disabled()
        move(tab, "σ, noise on the input", "ArrowLeft")
        settled(tab, "noisyAttack=0", "sigma=0.35&")
        assert drawn(tab, ".live-pictures")[1] == blind and blind not in attacks, "the attacker does not see the noise"
        move(tab, "σ, noise on the input", "ArrowRight")
        tab.get_by_label("noise on during the attack").check()
        settled(tab, "noisyAttack=1", "sigma=0.36&")
        assert drawn(tab, ".live-pictures")[1] == attacks[-1]
        move(tab, "ε, budget", "Home")
        settled(tab, "epsilon=0&")
        image, added, seen = drawn(tab, ".live-pictures")
        assert image == seen

        tab.locator(".live-strip input:checked").focus()
        tab.keyboard.press("ArrowRight")
        settled(tab)
        assert drawn(tab, ".live-pictures")[0] != image, "the arrow keys go through the strip"


def test_an_image_that_nobody_chose_can_be_attacked(browser, file):
    shown = {image["number"] for image in live.about(records.read())["images"]}
    number = min(set(range(100)) - shown)
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        first, field = drawn(tab, ".live-pictures"), tab.get_by_role("spinbutton")
        field.fill(str(number))
        field.press("Enter")
        assert f"The true class, {cifar10.CLASSES[records.read()['images'][number]['label']]}, has " in settled(tab, f"image={number}&")
        assert not set(first) & set(drawn(tab, ".live-pictures")) and tab.locator(".live-strip input:checked").count() == 0
        allowed = tab.locator(".live-any").get_by_role("status")
        for wrong in ("100", "1.5", ""):  # the field goes back, and says why
            field.fill(wrong)
            field.press("Enter")
            assert field.input_value() == str(number)
            assert allowed.inner_text() == f" {wrong or 'That'} is not allowed: give a whole number from 0 to 99."
        tab.get_by_role("button", name="Undo").click()
        settled(tab)
        assert drawn(tab, ".live-pictures") == first and allowed.inner_text() == ""
        tab.goto("about:blank")
        tab.goto(f"{file}{PAGE}.html#image={number}")  # by its link
        settled(tab, f"image={number}&")
        beyond = max(shown)
        assert beyond > 99
        tab.get_by_role("radio", name=f"test image {beyond}", exact=False).check()
        settled(tab, f"image={beyond}&")
        assert field.input_value() == "" and field.evaluate("field => field.validity.valid"), "the field does not take it"


@contextmanager
def held(browser, html, part):  # noqa: F811
    """A context, the page's address, and the requests for one of its parts, which wait until a test answers them."""
    with served(html) as address:
        context, waiting = browser.new_context(), []
        context.route(f"**/live/{part}.js", lambda route: waiting.append(route))
        yield context, f"{address}{PAGE}.html", waiting
        context.close()


def test_while_an_image_is_on_its_way_nothing_passes_for_its_result(browser, html):  # noqa: F811
    with held(browser, html, "images") as (context, page, waiting):
        tab = context.new_page()
        tab.goto(page)
        settled(tab)
        field, before = tab.get_by_role("spinbutton"), drawn(tab, ".live-pictures")
        field.fill("42")
        field.press("Enter")
        tab.locator(".live-stale").wait_for()
        assert tab.get_by_test_id("siam-live").get_attribute("data-settled") is None
        tab.get_by_text("loading the image").wait_for()
        waiting.pop().continue_()
        settled(tab, "image=42&")
        assert tab.locator(".live-stale").count() == 0 and not set(before) & set(drawn(tab, ".live-pictures"))
        other = context.new_page()
        other.goto(f"{page}#image=42")
        other.get_by_text("loading the image").wait_for()
        assert other.locator(".live-stale").count() == 1 and "airplane" not in other.locator(".live-pictures").inner_text()
        with other.expect_request("**/fine.js"):  # the noise is asked for, though there was no first vote
            waiting.pop().fulfill(status=200, content_type="text/html", body="<p>Please log in</p>")  # not the part
        other.get_by_text("images.js could not be loaded").wait_for()


def test_what_the_reader_asks_for_goes_before_the_hundred_images(scripts):
    done = scripts("""async () => {
        const [own, done] = [window.Worker, []];
        let member;
        window.Worker = class {
            constructor() { [member, this.waiting] = [this, []]; }
            postMessage(message) { this.waiting.push(message); }
            terminate() {}
        };
        const pause = () => new Promise((resolve) => setTimeout(resolve));
        const answer = async () => {
            await pause();
            const { id, sigma, count } = member.waiting.shift();
            done.push(sigma);
            member.onmessage({ data: { id, result: new Float32Array(10 * count) } });
        };
        try {
            const wasm = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0]);
            const starting = startEngine({ wasm, worker: "", workers: 1, coarse: null, fine: new Promise(() => {}) });
            while (!member) await pause();
            await answer();
            await answer();
            const { vote } = await starting;
            const asked = { image: new Float32Array(3072), weightNoise: false, seed: 0 };
            vote({ ...asked, sigma: 0.1, draws: 12, later: true });
            vote({ ...asked, sigma: 0.2, draws: 6 });
            vote({ ...asked, sigma: 0.3, draws: 4 });
            for (let job = 0; job < 11; job++) await answer();
            return done.slice(2);
        } finally {
            window.Worker = own;
        }
    }""")
    assert done == [0.1] * 2 + [0.2] * 3 + [0.3] * 2 + [0.1] * 4  # two were with the worker already


def test_who_moves_the_attack_sees_one(browser, file):
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        attacked = counts(tab)
        vote_on(tab, "the original")
        assert "on the original image" in settled(tab, "attacked=0")
        original = counts(tab)
        assert original != attacked
        move(tab, "ε, budget", "ArrowRight")
        assert "on the attacked image" in settled(tab, "attacked=1", "epsilon=9&")
        assert tab.get_by_role("radio", name="the attacked image").is_checked() and counts(tab) != original
        tab.get_by_role("button", name="Undo").click()
        settled(tab, "attacked=0", "epsilon=8&")
        assert counts(tab) == original
        tab.get_by_role("button", name="Reset").click()
        settled(tab, "attacked=1", "epsilon=8&")
        assert counts(tab) == attacked


def test_undo_goes_back_from_a_drag_that_ended_where_it_began(browser, file):
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        undo = tab.get_by_role("button", name="Undo")
        vote_on(tab, "the original")
        settled(tab, "attacked=0")
        box = tab.get_by_role("slider", name="ε, budget", exact=True).bounding_box()
        x, y = box["x"] + 8 + (box["width"] - 16) * 8 / 35, box["y"] + box["height"] / 2
        tab.mouse.move(x, y)
        tab.mouse.down()
        tab.mouse.move(x + 60, y, steps=3)
        tab.mouse.move(x, y, steps=3)
        tab.mouse.up()
        settled(tab, "attacked=1", "epsilon=8&")  # who moves the attack sees one
        undo.click()
        settled(tab, "attacked=0")
        undo.click()
        settled(tab, "attacked=1")
        assert undo.is_disabled()


def test_the_attack_without_noise_does_not_wait_for_the_votes_and_a_dead_worker_leaves_nothing_as_if_current(browser, file):
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        right = tab.get_by_test_id("live-verdict").get_attribute("data-right")
        tab.evaluate("""() => {
            window.posted = [];
            const post = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (message) {
                window.last = this;
                posted.push(`${message.job} ${message.sigma} ${message.weightNoise}`);
                return post.call(this, message);
            };
        }""")
        tab.get_by_role("button", name="Draw anew").click()
        settled(tab, "seed=1&")
        posted = tab.evaluate("posted")
        assert [posted.count(f"gradient {of}") for of in ("0.36 true", "0 false")] == [7, 7]
        assert posted.count("vote 0.36 true") == 32 and posted.index("gradient 0 false") < posted.index("vote 0.36 true")
        tab.get_by_label("noise on during the attack").uncheck()  # then both are one
        settled(tab, "noisyAttack=0")
        assert tab.evaluate("posted").count("gradient 0 false") == 7
        tab.get_by_role("button", name="Undo").click()
        settled(tab, "noisyAttack=1")

        tab.evaluate("last.onerror(new ErrorEvent('error', {message: 'out of memory'}))")
        root, verdict = tab.get_by_test_id("siam-live"), tab.get_by_test_id("live-verdict")
        # console.error is what it logs, on purpose: here nobody has to read it.
        tab.evaluate("console.error = () => {}")
        move(tab, "M", "ArrowRight")
        tab.locator(".live-stale").wait_for()
        assert verdict.inner_text() == (
            "This could not be computed: a worker of the live page died (out of memory); reload the page to try again")
        assert verdict.get_attribute("data-right") is None
        tab.wait_for_function("""[".live-pictures", ".live-verdicts", ".live-samples", ".live-convergence"].every(
            (of) => getComputedStyle(document.querySelector(of)).opacity === "0.45")""")
        assert verdict.evaluate("node => getComputedStyle(node).opacity") == "1"
        move(tab, "M", "ArrowLeft")  # what is kept can still be seen
        settled(tab, "draws=64&")
        assert verdict.get_attribute("data-right") is not None and right is not None
        assert "live-stale" not in root.get_attribute("class")


def test_no_answer_is_cut_off_on_the_phone(browser, file):
    with visit(browser, file, PAGE, PHONE) as tab:
        settled(tab)
        tab.get_by_role("group", name="Right either way").get_by_role("radio", name="automobile").first.check()
        settled(tab)
        tab.wait_for_function("document.querySelector('.live-samples').textContent.includes('auto')")
        answers = tab.locator(".live-samples li span").evaluate_all("""all => all.map((span) => {
            const [range, cell] = [document.createRange(), span.parentNode.getBoundingClientRect()];
            range.selectNodeContents(span);
            const {left, right, bottom} = range.getBoundingClientRect();
            const shown = left > cell.left - 1 && right < cell.right + 1 && bottom < cell.bottom + 1;
            return [span.textContent, shown && getComputedStyle(span).overflow === "visible"];
        })""")
        assert [text for text, shown in answers if not shown] == []
        assert any(text.endswith("mobile") for text, _ in answers) and all(text[0] in "✓✗" for text, _ in answers)


def test_an_attack_flips_a_label_and_a_vote_restores_it(browser, file):
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        tab.get_by_role("group", name="Smoothing rescues").get_by_role("radio", name="truck").first.check()
        tab.get_by_label("noise in the weights").uncheck()
        move(tab, "σ, noise on the input", "Home")
        move(tab, "M", "Home")
        vote_on(tab, "the original")
        said = settled(tab, "draws=1&", "sigma=0&", "weightNoise=0", "attacked=0")
        assert "1 pass and prediction smoothing say truck: right. All noise is off: every pass is the same." in said
        move(tab, "M", "End")
        assert "512 passes and prediction" in settled(tab, "draws=512&", "sigma=0&", "weightNoise=0", "attacked=0")
        assert "truck: 512 of 512, 100.0 %, every pass the same, without noise" in tab.locator(".live-share").first.text_content()
        assert not tab.locator(".live-band").count()
        move(tab, "M", "Home")
        vote_on(tab, "the attacked image")
        fooled = settled(tab, "draws=1&", "sigma=0&", "weightNoise=0", "attacked=1")
        assert "wrong." in fooled.split(" The true class")[0] and "truck" not in fooled.split(" The true class")[0]
        tab.get_by_label("noise in the weights").check()
        move(tab, "σ, noise on the input", *["PageUp"] * 5, *["ArrowRight"] * 6)
        move(tab, "M", *["ArrowRight"] * 6)
        restored = settled(tab, "draws=64&", "weightNoise=1", "attacked=1")
        assert "64 noisy passes and prediction smoothing say truck: right" in restored and "noise is off" not in restored
        assert tab.locator(".live-band").count() == 1
        assert "under an attack made against it, says" in restored and restored.endswith("wrong.")


def test_the_link_restores_the_exact_state(browser, base):  # noqa: F811
    with visit(browser, base, PAGE) as tab:
        settled(tab)
        tab.get_by_role("group", name="Smoothing does not help").get_by_role("radio").nth(1).check()
        move(tab, "M", "ArrowLeft")
        move(tab, "σ, noise on the input", "ArrowLeft")
        move(tab, "Samples a step", "ArrowRight")
        tab.get_by_role("radio", name="Weighted smoothing").check()
        tab.get_by_role("button", name="Draw anew").click()
        vote_on(tab, "the original")
        said, voted, shown = settled(tab, "attacked=0", "seed=1"), counts(tab), drawn(tab, ".live-pictures")
        tab.get_by_role("button", name="Link to this state").click()
        url = tab.url
        assert "#image=" in url
        move(tab, "M", "ArrowRight")
        tab.wait_for_url("**draws=64&**")
        tab.reload()
        assert "64 noisy passes and weighted" in settled(tab, "attacked=0", "seed=1", "draws=64&")
    with visit(browser, base, PAGE) as tab:
        tab.goto("about:blank")
        tab.goto(url)
        assert settled(tab, "attacked=0") == said
        assert counts(tab) == voted and drawn(tab, ".live-pictures") == shown
        undo = tab.get_by_role("button", name="Undo")
        assert undo.is_disabled()
        tab.evaluate("location.hash = '#draws=2'")  # an address pasted into an open page
        assert "2 noisy passes and prediction" in settled(tab, "draws=2&")
        undo.focus()
        tab.keyboard.press("Enter")
        settled(tab, "attacked=0")
        assert undo.is_disabled() and undo.evaluate("button => button === document.activeElement"), "the focus stays"
        tab.locator("a.skip-link, .skip-link a, a[href='#main-content']").first.evaluate("link => link.click()")
        tab.wait_for_url("**#main-content")
        assert settled(tab, "attacked=0") == said, "a heading's address carries no state"


def test_the_explorer_and_this_page_lead_to_each_other(browser, file):
    with visit(browser, file, "notebooks/explorer") as tab:
        tab.get_by_role("slider", name="M, number of noisy passes that vote").press("ArrowLeft")
        tab.get_by_label("Voting rule").select_option("soft")
        shown = tab.get_by_test_id("siam-readout").inner_text()
        link = tab.get_by_role("link", name=re.compile("^Try σ = "))
        sigma, M = re.fullmatch(r"Try σ = ([\d.]+), M = (\d+) on an image", link.inner_text()).groups()
        link.click()
        assert f"{M} noisy passes and soft" in settled(tab, f"draws={M}&", f"sigma={float(sigma):g}&", "rule=soft")
        move(tab, "Steps", "ArrowLeft")
        said = settled(tab, "steps=6&")
        tab.get_by_role("link", name="This σ and M on all test images").click()
        tab.get_by_test_id("siam-readout").get_by_text(f"σ = {sigma}, M = {M}").wait_for()
        tab.go_back()
        assert settled(tab, "steps=6&", f"draws={M}&", "rule=soft") == said
        tab.go_back()
        tab.get_by_test_id("siam-readout").get_by_text(f"σ = {sigma}, M = {M}").wait_for()
        assert tab.get_by_test_id("siam-readout").inner_text() == shown
        tab.get_by_label("Base model").select_option("Gauss")
        assert link.count() == 0 or link.is_hidden(), "that network does not run here"


def test_work_that_a_control_made_stale_is_dropped(browser, file, record_property):
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        tab.evaluate("""() => {
            const root = document.querySelector("[data-testid=siam-live]");
            const verdict = document.querySelector("[data-testid=live-verdict]");
            // The page's own clock, from event to verdict: the driver's way to it would count as well.
            Object.assign(window, {seen: [], spoken: 0, longest: 0, since: 0, waited: 0});
            root.addEventListener("input", () => { since = performance.now(); }, true);
            new MutationObserver(() => {
                if (root.dataset.settled) [waited] = [performance.now() - since, seen.push(root.dataset.settled)];
            }).observe(root, {attributeFilter: ["data-settled"]});
            new MutationObserver(() => { spoken += 1; }).observe(verdict, {childList: true});
            let before = performance.now();
            const frame = (now) => {
                longest = Math.max(longest, now - before);
                before = now;
                requestAnimationFrame(frame);
            };
            requestAnimationFrame(frame);
        }""")
        move(tab, "M", "End")
        move(tab, "Steps", "End")
        move(tab, "Samples a step", "End")  # 30 × 32 gradients: many seconds
        bar = tab.locator(".live-progress.live-busy")
        bar.wait_for()
        tab.wait_for_function("/attack: step \\d+ of 30/.test(document.querySelector('.live-progress').textContent)")
        slider = tab.get_by_role("slider", name="σ, noise on the input")
        box = slider.bounding_box()
        tab.mouse.move(box["x"] + 0.72 * box["width"], box["y"] + box["height"] / 2)
        tab.mouse.down()
        for i in range(30):
            tab.mouse.move(box["x"] + (0.7 - 0.02 * i) * box["width"], box["y"] + box["height"] / 2)
        tab.mouse.up()
        assert tab.locator("[data-settled]").count() == 0, "still at work"
        vote_on(tab, "the original")
        move(tab, "M", "Home")
        settled(tab, "attacked=0", "draws=1&")
        waited, seen, spoken, longest = tab.evaluate("[waited, seen, spoken, longest]")
        record_property("trace", f"from the last move to its verdict {waited:.0f} ms, longest frame meanwhile {longest:.0f} ms")
        assert not [state for state in seen if "samples=32" in state and "attacked=1" in state], "stale work was shown"
        assert waited < 3000
        assert spoken <= 4, "the verdict is spoken when it is settled, not while controls move"
        assert bar.count() == 0


def test_attack_100_images_counts_and_stops(browser, file):
    with visit(browser, file, PAGE) as tab:
        settled(tab)
        part = tab.get_by_role("region", name="Attack 100 images")
        first, *more = records.robust(records.read(), 100)
        assert f"{first['correct']} of 100" in part.get_by_role("row", name="The book").inner_text()
        for of in more:
            row = part.get_by_role("row", name=f"{of['n']:,} images").inner_text()
            shares = (of["correct"] / of["n"], *clopper_pearson(of["correct"], of["n"]))
            digits = {500: 1, 10_000: 2}[of["n"]]  # to about one image, as in Table 3
            right, low, high = (f"{100 * share:.{digits}f}" for share in shares)
            assert f"{of['correct']:,} of {of['n']:,}, {right} % ({low}–{high} %)" in row and of["record"] in part.inner_text()
        assert "The setting here differs" not in part.inner_text()
        scale = part.locator(".live-scale").bounding_box()  # 0 to 100 % lie where the shares are drawn
        dot = part.get_by_role("row", name="The book").locator("b").bounding_box()
        assert dot["x"] + 5.5 == pytest.approx(scale["x"] + scale["width"] * first["correct"] / 100, abs=1.5)
        move(tab, "M", "Home")
        settled(tab, "draws=1&")
        assert "The setting here differs" in part.inner_text()
        part.get_by_role("button", name="Attack 100 images").click()
        counter = "document.querySelector('.live-hundred > div').textContent"
        tab.wait_for_function(f"/1[2-9] of 100/.test({counter})", timeout=60_000)
        part.get_by_role("button", name="Stop").click()
        here = part.get_by_role("row", name="Here").inner_text()
        correct, n = map(int, re.search(r"(\d+) of (\d+)", here).groups())
        engine, right = Engine(*export.parts(CHECKPOINTS / f"{records.CHECKPOINT}.safetensors")), []
        cores = tab.evaluate("navigator.hardwareConcurrency")
        lanes = min(6, cores, max(2, cores - 1))  # as many images are under way at a time: some that began earlier may not be done
        for image, label in zip(*images(n + lanes - 1)):
            engine.see(engine.attack(image.numpy().ravel(), int(label), 7, 1, 0.36, 0))  # the page's opening setting
            right.append(engine.vote(0.36, 1, 0, [0])[0].argmax() == int(label))
        assert any(sum(right[: n + k]) - k <= correct <= sum(right[: n + k]) for k in range(lanes))
        assert n >= 12 and "Stopped." in part.inner_text()
        low, high = clopper_pearson(correct, n)
        assert f"({100 * low:.0f}–{100 * high:.0f} %)" in here
        tab.wait_for_timeout(500)
        assert part.get_by_role("row", name="Here").inner_text() == here, "it has stopped"
        assert "Here: σ = 0.36, M = 1, ε = 8/255, 7 steps, PGD, prediction smoothing." in part.inner_text()
        move(tab, "M", "ArrowRight")
        assert part.get_by_role("row", name="Here").inner_text() == here and "Here: σ = 0.36, M = 1," in part.inner_text()
        assert "The controls have been moved since." in part.inner_text()
        tab.get_by_label("noise on during the attack").uncheck()
        part.get_by_role("button", name="Attack 100 images").click()
        part.get_by_role("button", name="Stop").wait_for()
        assert "7 steps, PGD with all noise off, prediction smoothing." in part.inner_text() and "since" not in part.inner_text()
        move(tab, "ε, budget", "ArrowRight")
        assert "A control was moved: stopped." in part.inner_text()


def test_the_vote_is_repeated_when_the_noise_has_come(browser, html):  # noqa: F811
    with held(browser, html, "fine") as (context, page, waiting):
        tab = context.new_page()
        tab.goto(page)
        tab.wait_for_selector("[data-noise=loading][data-settled]")
        assert "noise of the weights is still loading" in tab.get_by_test_id("live-verdict").inner_text()
        assert "(still loading)" in tab.locator(".live-check").first.inner_text()
        before = counts(tab)
        tab.wait_for_timeout(200)
        waiting[0].continue_()
        assert "still loading" not in settled(tab)
        assert counts(tab) != before


def test_the_page_says_that_the_noise_cannot_be_had(browser, html):  # noqa: F811
    with served(html) as address:
        context = browser.new_context()
        context.route("**/live/fine.js", lambda route: route.abort())
        tab = context.new_page()
        tab.goto(f"{address}{PAGE}.html")
        tab.wait_for_selector("[data-noise=missing][data-settled]")
        said = tab.get_by_test_id("live-verdict").inner_text()
        assert "64 noisy passes" in said and "could not be loaded, so the vote is without it" in said
        assert "(could not be loaded)" in tab.locator(".live-check").first.inner_text() and "still loading" not in tab.inner_text("body")
        context.close()


def test_bars_and_tracks_stay_where_the_reader_has_colours_of_their_own(browser, file):
    with visit(browser, file, PAGE, forced_colors="active") as tab:
        settled(tab)
        own, other = tab.locator(".live-own .live-bar i").first, tab.locator("tr:not(.live-own) .live-bar i").first
        seen = "bar => ['backgroundColor', 'backgroundImage'].map((name) => getComputedStyle(bar)[name]).join(' ')"
        grounds = [bar.evaluate(seen) for bar in (own, other)]
        assert len({*grounds, "rgb(255, 255, 255) none", "rgba(0, 0, 0, 0) none"}) == 4, grounds
        track = tab.locator("input[type=range]").first.evaluate("input => getComputedStyle(input).forcedColorAdjust")
        assert track == "none"


def test_on_a_phone_the_result_stays_in_sight_while_a_slider_is_moved(browser, file):
    with visit(browser, file, PAGE, PHONE) as tab:
        settled(tab)
        slider = tab.get_by_role("slider", name="σ, noise on the input")
        slider.evaluate("slider => scrollTo({top: scrollY + slider.getBoundingClientRect().top - 500, behavior: 'instant'})")
        assert 480 < slider.bounding_box()["y"] < 520
        box = tab.get_by_test_id("live-verdict").bounding_box()
        assert 0 < box["y"] and box["y"] + box["height"] <= PHONE["height"] + 1


@pytest.mark.parametrize("viewport", [{"width": 320, "height": 568}, PHONE], ids=["small", "phone"])
def test_no_control_has_the_focus_behind_the_verdict(browser, file, viewport):
    with visit(browser, file, PAGE, viewport, reduced_motion="reduce") as tab:
        settled(tab)
        live = tab.get_by_test_id("siam-live")
        live.locator("input").first.focus()
        at = """root => {
            const control = document.activeElement;
            if (!root.contains(control)) return null;
            const {left, top, width, height} = control.getBoundingClientRect();
            const there = document.elementFromPoint(left + width / 2, top + height / 2);
            return [control.getAttribute("aria-label") ?? control.textContent, control.contains(there)];
        }"""
        for key in ("Tab", "Shift+Tab"):
            seen = []
            while (found := live.evaluate(at)) is not None:
                seen.append(found)
                tab.keyboard.press(key)
            assert len(seen) > 15 and [name for name, shown in seen if not shown] == [], key
            tab.keyboard.press("Shift+Tab" if key == "Tab" else "Tab")
        verdict = tab.get_by_test_id("live-verdict")
        assert verdict.evaluate("node => getComputedStyle(node).position") == "sticky"
        tab.set_viewport_size({"width": 320, "height": 225})  # 400 %: it would fill the screen
        assert verdict.evaluate("node => getComputedStyle(node).position") == "static"


def test_the_longest_name_lies_within_its_cell(browser, file):
    with visit(browser, file, PAGE, {"width": 320, "height": 568}) as tab:
        settled(tab)
        for chosen in (False, True):
            wide = tab.locator(".live-strip label span").evaluate_all("""all => all.map((span) => {
                const range = document.createRange();
                range.selectNodeContents(span);
                return [span.textContent, range.getBoundingClientRect().width, span.parentNode.getBoundingClientRect().width];
            }).filter(([, width, cell]) => width > cell)""")
            assert wide == []
            if not chosen:
                tab.get_by_role("radio", name="automobile").first.check()


@pytest.mark.parametrize("missing", ["script", "network", "network, and something else comes"])
def test_where_it_cannot_run_the_table_stands(browser, html, missing):  # noqa: F811
    with served(html) as address:
        context = browser.new_context(java_script_enabled=missing != "script")
        page = dict(status=200, content_type="text/html", body="<p>Please log in</p>")
        context.route("**/live/coarse.js", lambda route: route.fulfill(**page) if "else" in missing else route.abort())
        tab = context.new_page()
        tab.goto(f"{address}{PAGE}.html")
        tab.locator(".live-static").wait_for(state="visible")
        assert tab.locator(".live-static tbody tr").count() == 20
        if missing != "script":
            verdict = tab.get_by_test_id("live-verdict")
            assert "coarse.js could not be loaded" in verdict.inner_text()
            assert verdict.evaluate("node => getComputedStyle(node).opacity") == "1" and tab.get_by_role("slider").count() == 0
        context.close()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_moves_and_nothing_sticks_out(browser, html, viewport):  # noqa: F811
    with served(html) as address, visit(browser, address, PAGE, viewport, reduced_motion="reduce") as tab:
        tab.evaluate("""() => {
            window.moved = 0;
            const add = (entry) => { if (!entry.hadRecentInput) moved += entry.value; };
            new PerformanceObserver((list) => list.getEntries().forEach(add)).observe({type: "layout-shift", buffered: true});
        }""")
        settled(tab)
        tab.get_by_test_id("live-verdict").scroll_into_view_if_needed()
        vote_on(tab, "the original")
        settled(tab, "attacked=0")
        vote_on(tab, "the attacked image")
        settled(tab, "attacked=1")
        tab.wait_for_timeout(700)
        assert tab.evaluate("moved") < 0.02
        assert overflow(tab) == []


def test_the_page_in_jupyterlab_runs_a_checkpoint_of_the_reader(browser, tmp_path):
    widget = live.Live(live.CHECKPOINTS / "plain-adversarial-cpu-0.safetensors")
    state = {name: getattr(widget, name) for name in ("about", "worker", "engine", "coarse", "fine", "shown", "images")}
    told = {name: {"bytes": list(value)} if isinstance(value, bytes) else value for name, value in state.items()}
    (tmp_path / "live.mjs").write_text(live.source(*live.FRONT_END, "widget.js"), encoding="utf-8")
    (tmp_path / "live.css").write_text(live.style(), encoding="utf-8")
    (tmp_path / "state.json").write_text(json.dumps(told))
    (tmp_path / "index.html").write_text("""<!doctype html><title>lab</title><link rel="icon" href="data:,">
        <link rel="stylesheet" href="live.css"><div id="el"></div><script type="module">
        import widget from "./live.mjs";
        const state = await (await fetch("state.json")).json();
        for (const [name, { bytes }] of Object.entries(state)) {
            if (bytes) state[name] = new DataView(Uint8Array.from(bytes).buffer);  // as anywidget hands over bytes
        }
        window.end = widget.render({ model: { get: (name) => state[name] }, el: document.getElementById("el") });
        </script>""")
    with served(tmp_path) as address, visit(browser, address, "index") as tab:
        assert "64 noisy passes" in settled(tab)
        assert tab.get_by_label("noise in the weights").is_disabled()
        assert tab.get_by_role("group", name="Test images").get_by_role("radio").count() == 20
        assert tab.get_by_role("row", name="The book").count() == 0
        assert tab.get_by_role("button", name="Link").count() == 0
        assert tab.locator(".live-about").count() == 0, "nothing was recorded of this network"
        vote_on(tab, "the original")
        settled(tab, "attacked=0")
        tab.evaluate("end()")


@pytest.fixture(scope="module")
def firefox():
    executable = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
    return executable or pytest.skip("no Firefox on the PATH (tried firefox-esr, firefox)")


def test_firefox_does_the_same(firefox, browser, base):  # noqa: F811
    done = node(str(ROOT / "tests" / "firefox.mjs"), firefox, f"{base}{PAGE}.html")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "Firefox" in seen["browser"]
    assert not [line for line in seen["said"] if line.startswith(("warn", "error"))]
    assert not [url for url in seen["asked"] if not url.startswith((base, "data:", "blob:", "about:"))]
    assert seen["width"][0] <= seen["width"][1]
    assert seen["linked"] == seen["eight"]
    with visit(browser, base, PAGE) as tab:  # Chromium: the same noise, the same votes
        assert [settled(tab), counts(tab)] == seen["opened"]
        assert seen["attacked"] == seen["opened"] != seen["original"]
        move(tab, "M", *["ArrowLeft"] * 3)
        assert [settled(tab, "draws=8&"), counts(tab)] == seen["eight"]


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_weight(browser, html, record_property):  # noqa: F811
    loaded = {}
    context = browser.new_context()
    tab = context.new_page()
    tab.on("request", lambda request: loaded.setdefault(request.url, len(loaded)))
    tab.goto(f"{html.as_uri()}/{PAGE}.html")
    tab.wait_for_selector("[data-settled]")
    to_first = set(loaded)
    settled(tab)
    context.close()
    size = {url: (len(raw), len(gzip.compress(raw, 6))) for url in loaded if url.startswith("file:")
            for raw in [Path(re.sub("[?#].*", "", url.removeprefix("file://"))).read_bytes()]}
    own = {f"{html.as_uri()}/_static/live/{name}.js" for name in OWN} | {f"{html.as_uri()}/{PAGE}.html"}
    images = html / "_static" / "live" / "images.js"  # asked for by a button
    size[images.as_uri()] = (images.stat().st_size, len(gzip.compress(images.read_bytes(), 6)))
    first = {url for url in own if not url.endswith(("fine.js", "images.js"))}
    assert first <= to_first and own <= set(size)

    def total(urls):
        return tuple(sum(column) for column in zip(*(size[url] for url in urls)))

    said = "bytes, raw and gzip: to the first vote {:,} {:,}; all of the page's own {:,} {:,}; with the theme {:,} {:,}"
    record_property("trace", said.format(*total(first), *total(own), *total(size)))
    assert total(first)[0] < 1_000_000 and total(own)[0] < 4_000_000
    assert total(size)[1] < 4_000_000
    assert not [url for url in loaded if "mathjax" in url]


def test_timings(browser, file, record_property):
    with visit(browser, file, PAGE) as tab:
        tab.wait_for_selector("[data-settled]")
        now, document = tab.evaluate(
            "[performance.now(), performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd]")
        settled(tab)
        vote_on(tab, "the original")
        settled(tab, "attacked=0")
        timed = """async () => {
            const root = document.querySelector("[data-testid=siam-live]");
            const began = performance.now();
            [...root.querySelectorAll("button")].find((b) => b.textContent === "Draw anew").click();
            while (!root.dataset.settled) await new Promise((resolve) => setTimeout(resolve, 2));
            return performance.now() - began;
        }"""
        steady = sorted(tab.evaluate(timed) for _ in range(5))
        vote_on(tab, "the attacked image")
        settled(tab, "attacked=1")
        both = sorted(tab.evaluate(timed) for _ in range(5))
        record_property("trace", f"from navigation to an attack and 64 votes {now:.0f} ms ({now - document:.0f} after the document);"
                        f" 64 votes {steady[2]:.0f} ms ({steady[0]:.0f} at best); with PGD-7 before them, and that of the network"
                        f" without noise, {both[2]:.0f} ms ({both[0]:.0f} at best)")
        assert now < 15_000 and steady[0] < 4_000  # far above the aims: machines differ; the trace is what is read


@pytest.mark.parametrize("noisy, rest", [
    (True, dict(samples=2, sigma=0.36, weightNoise=True)), (False, dict(samples=1, sigma=0, weightNoise=False)),
])
def test_the_pages_attack_is_the_papers(browser, noisy, rest):
    tab = browser.new_page()
    tab.add_script_tag(content=live.source("votes.js", "lab.js"))
    asked = tab.evaluate("""async (noisyAttack) => {
        const lab = laboratory({exact: Promise.resolve(), attack: (how) => how});
        await lab.ready;
        const s = {sigma: 0.36, epsilon: 8, steps: 7, samples: 2, weightNoise: true, noisyAttack, seed: 5};
        return lab.attack(null, {label: 3, pixels: [0.5]}, s);
    }""", noisy)
    assert asked == dict(image=[0.5], label=3, epsilon=8 / 255, stepSize=2 / 255, steps=7, seed=5, later=True) | rest
    tab.close()
