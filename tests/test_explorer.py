"""The explorer's data: what goes into the page, and what stands in for it where no script runs."""

import base64
import functools
import json
import math
import subprocess
import sys
import zlib
from dataclasses import replace

import pandas as pd
import pytest
from siam import runs
from siam.explorer import RULES, Explorer, explore, payload
from siam.paths import PAPER, ROOT
from siam.runs import clopper_pearson

PRINTED = pd.read_csv(PAPER / "table3.csv")
SIGMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.24, 0.3, 0.4)
DRAWS = (1, 2, 4, 8, 16, 32, 64)


ATTACKS = ("none", "pgd", "epgd")


@functools.cache
def interval(correct, n):
    """As a record holds it."""
    return tuple(round(end, 6) for end in clopper_pearson(correct, n))


def rows(label="CPNI-W", tier="cpu", n=1000, attacks=ATTACKS, sigmas=SIGMAS, draws=DRAWS, **run):
    """Made-up evaluations with the shape of real ones: no number here is a measurement."""
    settings = {"none": (0.0, 0.0, 0, 0), "fgsm": (8.0, 8.0, 1, 1), "pgd": (8.0, 2.0, 7, 1),
                "epgd": (8.0, 2.0, 7, 8)}
    base, peak = {"none": 0.84, "pgd": 0.50, "epgd": 0.42, "fgsm": 0.56}, 0.22
    out = []
    for attack in attacks:
        epsilon, step_size, steps, samples = settings[attack]
        for k, sigma in enumerate(sigmas):
            for r, rule in enumerate(RULES):
                for M in draws:
                    shape = -0.5 * sigma**2 if attack == "none" else 0.08 - 1.6 * (sigma - peak) ** 2
                    wobble = 0.006 * math.sin(9 * k + r)
                    share = base[attack] + shape - 0.06 / M * (1 + 3 * sigma) - 0.004 * r + wobble
                    correct = round(n * share)
                    low, high = interval(correct, n)
                    out.append({
                        "id": f"{zlib.crc32(f'{label} {tier} {n} {attack} {k} {run}'.encode()):016x}",
                        "label": label, "tier": tier, "checkpoint": label.lower(), "digest": "0123abcd" * 2,
                        "attack": attack, "epsilon": epsilon, "step_size": step_size, "steps": steps,
                        "samples": samples, "sigma": sigma, "draws": max(draws), "split": "test", "images": n,
                        "batch_size": 250, "seed": 0, "precision": "fp32", "rule": rule, "M": M,
                        "correct": correct, "n": n, "accuracy": correct / n, "low": low, "high": high, **run})
    return pd.DataFrame(out)


def explorer(frame=None, **view):
    return Explorer(rows() if frame is None else frame, PRINTED, **view)


def test_the_payload_holds_the_counts_and_intervals_of_the_frame():
    frame = rows()
    data = payload(frame, PRINTED)
    (source,) = data["sources"]
    assert source["draws"] == list(DRAWS)
    for p in frame.itertuples():
        curve = source["attacks"][p.attack]
        i, m = curve["x"].index(p.sigma), source["draws"].index(p.M)
        assert curve["cells"][p.rule][i][m] == [p.correct, p.low, p.high]
        assert curve["id"][i] == p.id


def test_the_payload_is_compact_json_whatever_the_order_of_the_rows():
    frame = pd.concat([rows(), rows("Gauss", tier="smoke", n=300)], ignore_index=True)
    text = json.dumps(payload(frame, PRINTED), allow_nan=False)
    assert json.dumps(payload(frame.sample(frac=1, random_state=0), PRINTED), allow_nan=False) == text
    assert len(text) < 28 * len(frame) + 10_000  # bytes


def test_what_was_not_measured_is_null_and_not_a_number():
    frame = rows()
    gone = (frame.rule == "soft") & (frame.M == 8) & (frame.sigma == 0.1) & (frame.attack == "pgd")
    curve = payload(frame[~gone])["sources"][0]["attacks"]["pgd"]
    empty = [(rule, i, m) for rule, table in curve["cells"].items() for i, row in enumerate(table)
             for m, cell in enumerate(row) if cell is None]
    assert empty == [("soft", SIGMAS.index(0.1), DRAWS.index(8))]


@pytest.mark.parametrize("run", [
    {"tier": "smoke"}, {"n": 500}, {"split": "heldout"}, {"seed": 1}, {"checkpoint": "other"},
    {"digest": "fedcba9876543210"}, {"batch_size": 100}, {"precision": "bf16"}])
def test_measurements_that_differ_in_kind_are_kept_apart_and_named_apart(run):
    data = payload(pd.concat([rows(), rows(**run)]))
    assert len({source["name"] for source in data["sources"]}) == 2
    assert len({source["entry"] for source in data["sources"]}) == (1 if "seed" in run else 2)
    assert all(len(curve["x"]) == len(SIGMAS) for s in data["sources"] for curve in s["attacks"].values())


def test_test_images_come_first_then_curves_then_the_best_tier():
    """Four points are no curve: what a reader moves along opens."""
    five = dict(sigmas=(0.0, 0.1, 0.2, 0.3, 0.4))
    frames = [rows(tier="smoke", n=300, **five), rows(tier="fast", split="heldout", **five), rows(tier="cpu", **five),
              rows(tier="long", **five), rows(tier="fast", sigmas=(0.0, 0.1, 0.2, 0.3))]
    sources = payload(pd.concat(frames))["sources"]
    assert [(s["tier"], s["split"]) for s in sources] == [
        ("long", "test"), ("cpu", "test"), ("smoke", "test"), ("fast", "test"), ("fast", "heldout")]


def test_of_two_records_of_a_point_the_one_with_more_draws_is_shown():
    few, many = rows(draws=(1, 2, 4)).assign(id="f" * 16), rows(draws=(1, 2, 4, 8)).assign(id="0" * 16)
    for frame in (pd.concat([few, many]), pd.concat([many, few])):
        (source,) = payload(frame)["sources"]
        assert source["draws"] == [1, 2, 4, 8]
        assert set(source["attacks"]["pgd"]["id"]) == {"0" * 16}


def test_attacks_of_another_budget_are_left_out_and_another_setting_is_another_attack():
    weaker = rows(attacks=("pgd",)).assign(epsilon=4.0)
    longer = rows(attacks=("pgd",), sigmas=(0.0,)).assign(steps=10)
    data = payload(pd.concat([rows(), weaker, longer]))
    assert [a["key"] for a in data["attacks"]] == ["none", "pgd", "pgd-10-2-1", "epgd"]
    assert len(data["sources"][0]["attacks"]["pgd"]["x"]) == len(SIGMAS)
    assert payload(pd.concat([rows(), weaker]), epsilon=4)["sources"][0]["attacks"].keys() == {"none", "pgd"}


def sums():
    """PGD and EPGD, each along the last gradient, along their sum, and PGD with more steps."""
    summed = [rows(attacks=(attack,)).assign(attack=f"{attack}-sum", id=letter * 16) for attack, letter in (("pgd", "a"), ("epgd", "b"))]
    return pd.concat([rows(attacks=("pgd", "epgd")), *summed, rows(attacks=("pgd",), sigmas=(0.0, 0.1)).assign(steps=10, id="c" * 16)])


def test_a_summed_attack_has_the_colour_of_its_attack():
    kinds = {attack["key"]: attack["kind"] for attack in payload(sums())["attacks"] if attack["key"] != "none"}
    assert kinds == {"pgd": "pgd", "pgd-10-2-1": "pgd", "epgd": "epgd", "pgd-sum": "pgd", "epgd-sum": "epgd"}


def test_the_view_opens_on_a_source_that_has_what_it_asks_for():
    frame = pd.concat([rows(tier="fast", n=10_000), own().assign(checkpoint="other", digest="f" * 16)])
    assert explorer(frame)._source()["n"] == 10_000
    for view in (dict(rule="borda"), dict(attacks=["lead"])):
        assert set(explorer(frame, **view).shown()["n"]) == {1000}


def test_a_frame_of_the_readers_own_needs_few_columns():
    frame = rows()[["label", "attack", "sigma", "rule", "M", "correct", "n"]]
    mine = explorer(frame.replace({"label": {"CPNI-W": "my net"}}))
    assert mine.base_model == "my net"
    known = ["sigma", "accuracy", "low", "high"]
    pd.testing.assert_frame_equal(mine.shown()[known], explorer().shown()[known])


def own():
    """Evaluations with a rule and an attack that the book does not know."""
    lead = rows(attacks=("epgd",)).assign(attack="lead", id="e" * 16)
    return pd.concat([rows(), rows().assign(rule="borda").drop_duplicates(["id", "M"]), lead])


def test_a_list_of_sources_leads_with_the_tier_the_best_first_and_says_what_differs():
    half = dict(sigmas=(0.0, 0.1))
    data = payload(pd.concat([rows(), rows(checkpoint="other", digest="f" * 16), rows(tier="fast", n=10_000, **half),
                              rows(n=10_000, digest="a" * 16, **half), rows(n=10_000, digest="b" * 16, **half), rows("Gauss")]))
    each = {source["entry"]: source["place"] for source in data["sources"] if source["model"] == "CPNI-W"}
    assert sorted(each, key=lambda entry: (each[entry], entry)) == [
        "fast tier, 10,000 test images",
        "cpu tier, 10,000 test images: aaaaaaaa", "cpu tier, 10,000 test images: bbbbbbbb",
        "cpu tier, 1,000 test images: cpni-w", "cpu tier, 1,000 test images: other"]
    # Which is shown first is another matter: a few points show no optimum.
    assert data["sources"][0]["entry"] == "cpu tier, 1,000 test images: cpni-w"


def test_rules_and_attacks_of_the_readers_own_go_by_their_names():
    data = payload(own(), PRINTED)
    assert data["rules"] == [*payload(rows())["rules"], {"key": "borda", "name": "borda"}]
    assert [attack["key"] for attack in data["attacks"]] == ["none", "pgd", "epgd", "lead"]
    assert (data["attacks"][-1]["name"], data["attacks"][-1]["kind"]) == ("lead", "other")
    view = explorer(own(), rule="borda")
    assert list(view.shown()["attack"].unique()) == ["none", "pgd", "epgd"] and "CPNI-W, borda" in repr(view)
    view.rule, view.attacks = "soft", ["epgd", "lead"]
    one, other = (of for _, of in view.shown().groupby("attack"))
    assert list(one["correct"]) == list(other["correct"]) and set(other["id"]) == {"e" * 16}
    assert view.picture() != explorer(own(), rule="soft", attacks=["epgd"]).picture()


def test_it_opens_on_what_there_is():
    alone = own()[lambda frame: (frame["attack"] == "lead") & (frame["rule"] == "soft")].assign(rule="borda")
    view = Explorer(alone)
    assert view.rule == "borda" and "lead" in view.attacks and set(view.shown()["attack"]) == {"lead"}
    assert explorer().rule == "prediction" and explorer().attacks == list(ATTACKS)


@pytest.mark.parametrize("view, message", [
    (dict(rule="bordo"), "rule = 'bordo' is not allowed: give one of prediction, soft, soft-logits, weighted, second, borda"),
    (dict(attacks=["led"]), "attacks = 'led' is not allowed: give one of none, pgd, epgd, lead"),
])
def test_a_mistyped_name_of_ones_own_is_refused_with_what_there_is(view, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Explorer(own(), **view)


@pytest.mark.parametrize("change, said", [
    ({"rule": float("nan")}, "rule = nan"), ({"attack": ""}, "attack = ''"),
    ({"sigma": float("nan")}, "sigma = nan"), ({"sigma": -1.0}, "sigma = -1.0"), ({"label": 3}, "label = 3"),
    ({"sigma": "0.1"}, "sigma = '0.1' is not allowed: give a finite number"), ({"M": 1.5}, "M = 1.5 is not allowed: give a whole number"),
    ({"M": 0}, "M = 0 is not allowed: give a whole number, 1 or more"), ({"n": "many"}, "n = 'many' is not allowed: give a whole number"),
    ({"steps": "7"}, "steps = '7'"), ({"epsilon": "8/255"}, "epsilon = '8/255'"), ({"seed": None}, "seed = None"),
    ({"n": 10}, r"correct = \d+ is not allowed: give no more than n"), ({"low": "x"}, "low = 'x'"),
    ({"low": 0.99}, "low = 0.99 is not allowed: give a fraction from 0 to 1, no more than correct / n"),
    ({"high": 0.01}, "high = 0.01 is not allowed: give a fraction from 0 to 1, no less than correct / n"),
    ({"low": 0.01, "high": 84.2}, "high = 84.2 is not allowed: give a fraction from 0 to 1")])
def test_a_bad_value_in_a_frame_is_named(change, said):
    with pytest.raises(ValueError, match=said) as error:
        payload(rows(sigmas=(0.1,)).assign(**change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("frame", [[{"label": "mine"}], pd.Series([1]), None])
def test_what_is_no_frame_is_refused(frame):
    said = f"^a frame of type {type(frame).__name__} is not allowed: give a pandas DataFrame with label, "
    with pytest.raises(ValueError, match=said) as error:
        Explorer(frame)
    assert "\n" not in str(error.value)


def test_whole_numbers_may_be_spelt_as_floats():
    frame = rows(sigmas=(0.1,))
    spelt = frame.astype({"M": float, "correct": object, "n": "float32", "sigma": object})
    assert payload(spelt, PRINTED) == payload(frame, PRINTED)


def test_models_are_in_the_order_of_their_numbers():
    frame = pd.concat([rows(f"CPNI-W {of}", sigmas=(0.1,), draws=(1,)) for of in ("r=10", "σ=0.5", "r=2", "r=0", "σ=0.24", "r=1")])
    own = [model for model in payload(frame)["models"] if " " in model]
    assert own == [f"CPNI-W {of}" for of in ("r=0", "r=1", "r=2", "r=10", "σ=0.24", "σ=0.5")]


def test_a_frame_that_lacks_a_column_or_repeats_a_point_is_refused():
    with pytest.raises(ValueError, match="lacks the column M;"):
        payload(rows().drop(columns="M"))
    with pytest.raises(ValueError, match="two rows for one point of clean"):
        payload(pd.concat([rows(), rows()]))


@pytest.mark.parametrize("view, said", [
    ({"base_model": "VGG"}, "base_model = 'VGG'"), ({"rule": "x"}, "rule = 'x'"),
    ({"attacks": ["cw"]}, "attacks = 'cw'"), ({"draws": 0}, "draws = 0"), ({"sigma": -0.1}, "sigma = -0.1")])
def test_a_bad_view_is_refused_at_once_and_later(view, said):
    with pytest.raises(ValueError, match=said):
        explorer(**view)
    open_now = explorer()
    with pytest.raises(ValueError, match=said):
        open_now.set_trait(*view.popitem())


def test_shown_gives_the_numbers_in_view():
    frame = rows()
    view = explorer(rule="weighted", draws=20, attacks=["epgd"])
    expected = frame[(frame.rule == "weighted") & (frame.M == 16) & (frame.attack == "epgd")]
    assert list(view.shown().correct) == list(expected.correct)
    assert set(view.shown().M) == {16}
    view.base_model = "Gauss"
    assert view.shown().empty


def test_the_text_is_stable_and_tells_tier_images_and_numbers():
    text = repr(explorer())
    assert text == repr(explorer())
    for part in ("CPNI-W", "M = 64", "cpu tier, 1,000 test images", "clean", "PGD", "EPGD", "0.24"):
        assert part in text
    p = explorer(attacks=["pgd"]).shown().iloc[0]
    assert f"{100 * p.accuracy:.1f} [{100 * p.low:.1f}, {100 * p.high:.1f}]" in text


@pytest.mark.parametrize("empty", [pd.DataFrame(), rows()[:0]])
def test_no_records_is_said_plainly(empty):
    nothing = explorer(empty)
    assert repr(nothing).endswith("not yet measured")
    assert nothing.payload["sources"] == []
    assert len(nothing.payload["printed"]) == 3 * len(PRINTED)


def test_the_output_holds_widget_picture_and_text():
    view = explorer()
    bundle = view._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == view.model_id
    assert bundle["text/plain"] == repr(view)
    png = base64.b64decode(bundle["image/png"])
    assert png.startswith(b"\x89PNG") and png == explorer().picture()


def test_explore_reads_records_and_needs_no_torch(tmp_path):
    code = ("import sys; from siam.explorer import explore; e = explore(sys.argv[1]); "
            "assert 'torch' not in sys.modules; print(e)")
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "not yet measured" in out.stdout


def test_a_longer_run_continues_a_shorter_one(tmp_path):
    short, long = (runs.EvaluationRun("a", "0" * 16, draws=M) for M in (2, 4))
    for run, most in ((short, 2), (long, 4)):
        result = [runs.row("prediction", M, 500 + M, 1000) for M in (1, 2, 4) if M <= most]
        runs.write(runs.record(run, tier="cpu", n=1000, result=result), tmp_path)
    view = explore(tmp_path, draws=1)
    assert view.shown()[["M", "correct", "id"]].values.tolist() == [[1, 501, long.id]]
    assert view.payload["sources"][0]["draws"] == [1, 2, 4]


def test_it_opens_at_the_largest_M_of_a_whole_curve():
    frame = pd.concat([rows(), rows(sigmas=(0.0,), draws=(1, 2, 4, 8, 16, 32, 64, 128)).assign(id="f" * 16)])
    assert explorer(frame).draws == 64 and explorer().draws == 64


def test_networks_that_differ_in_their_digest_alone_have_names_of_their_own():
    frame = pd.concat([rows(digest=digit * 16, checkpoint="") for digit in "ab"])
    names = [source["name"] for source in payload(frame)["sources"]]
    assert len(set(names)) == len(names) == 2 and all("network " in name for name in names)


def test_two_trainings_of_the_plain_network_are_two_models(tmp_path):
    for digit, method in (("0", "plain"), ("1", "adversarial")):
        training = runs.TrainingRun("plain", method, {"tier": "cpu", "epochs": 1})
        kept = {"name": f"a-{digit}", "label": "plain", "digest": digit * 16, "epoch": 1}
        runs.write(runs.record(training, tier="cpu", checkpoints=[kept], history=[]), tmp_path)
        run = runs.EvaluationRun(f"a-{digit}", digit * 16, draws=1)
        runs.write(runs.record(run, tier="cpu", n=1000, result=[runs.row("prediction", 1, 500, 1000)]), tmp_path)
    view = explore(tmp_path)
    assert view.payload["models"][-2:] == ["plain, adversarial training", "plain, normal training"]
    assert [source["model"] for source in view.payload["sources"] if "checkpoint a-1" in source["name"]] == [
        "plain, adversarial training"]


def test_transferred_attacks_are_left_to_table_4(tmp_path):
    white = runs.EvaluationRun("a", "0" * 16, draws=2)
    for run in (white, replace(white, source="1" * 16, source_sigma=0.0)):
        result = [runs.row("prediction", M, 500, 1000) for M in (1, 2)]
        runs.write(runs.record(run, tier="cpu", n=1000, result=result), tmp_path)
    assert set(explore(tmp_path).shown()["id"]) == {white.id}


def test_own_attacks_rules_and_settings_are_shown_and_of_the_books_records_the_papers_setting_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ATTACKS", (*runs.ATTACKS, "lead"))
    monkeypatch.setattr(runs, "RULES", (*runs.RULES, "borda"))
    asked = [runs.EvaluationRun("a", "0" * 16, draws=1, **fields) for fields in (
        dict(attack="pgd"), dict(attack="pgd", steps=20), dict(attack="lead", steps=20, samples=3), dict(attack="fgsm"))]
    for run in asked:
        result = [runs.row(rule, 1, 500, 1000) for rule in ("prediction", "borda")]
        runs.write(runs.record(run, tier="cpu", n=1000, result=result), tmp_path)
    longer, wide = asked.pop(1), runs.EvaluationRun("a", "0" * 16, sigma=0.97, draws=1)
    runs.write(runs.record(wide, tier="cpu", n=1000, result=[runs.row("prediction", 1, 500, 1000)]), tmp_path)
    view = explore(tmp_path, rule="borda")
    assert set(zip(view.shown()["attack"], view.shown()["id"])) == {(run.attack, run.id) for run in asked}  # what is longer is offered
    view.attacks, view.rule = [attack["key"] for attack in view.payload["attacks"]], "prediction"
    assert {longer.id, wide.id} < set(view.shown()["id"])
    monkeypatch.setattr("siam.explorer.SHIPPED", tmp_path)
    view = explore(tmp_path, rule="borda")
    view.attacks, view.rule = [attack["key"] for attack in view.payload["attacks"]], "prediction"
    assert set(view.shown()["id"]) == {run.id for run in asked}


def budgets(sigma=0.24, epsilons=(2.0, 4.0, 8.0), **run):
    """PGD at several budgets, steps of ε/4, one σ."""
    frames = [rows(attacks=("pgd",), sigmas=(sigma,), **run).assign(epsilon=epsilon, step_size=epsilon / 4, id=f"{int(epsilon):016x}")
              for epsilon in epsilons]
    return pd.concat(frames)


def test_along_the_budget_every_sigma_is_a_source_of_its_own():
    frame = pd.concat([budgets(0.0), budgets(0.24, (2.0, 4.0, 8.0, 16.0)), budgets(0.1, (8.0,)), rows(attacks=("none",))])
    data = payload(frame, PRINTED, axis="epsilon")
    assert data["axis"] == "epsilon" and data["printed"] == []
    assert [(attack["key"], attack["detail"]) for attack in data["attacks"]] == [("pgd", "7 steps of ε/4 within ε")]
    assert [source["name"][:9] for source in data["sources"]] == ["σ = 0.24,", "σ = 0, cp"]  # most points first; one point is no curve
    assert data["sources"][0]["attacks"]["pgd"]["x"] == [2, 4, 8, 16]
    view = Explorer(frame, PRINTED, axis="epsilon", draws=8)
    shown = view.shown()
    assert list(shown["epsilon"]) == [2, 4, 8, 16] and list(shown["id"])[-1] == f"{16:016x}" and view.epsilon == 8
    assert "ε/M explorer" in repr(view) and "\n8/255 " in repr(view)
    assert view.picture().startswith(b"\x89PNG")


def test_a_budget_of_nothing_is_the_left_end_of_its_curve():
    data = payload(budgets(epsilons=(0.0, 4.0, 8.0)).assign(step_size=lambda frame: frame.epsilon / 4), PRINTED, axis="epsilon")
    assert [attack["detail"] for attack in data["attacks"]] == ["7 steps of ε/4 within ε"]
    assert data["sources"][0]["attacks"]["pgd"]["x"] == [0, 4, 8]
    still = budgets(epsilons=(0.0, 4.0, 8.0)).assign(step_size=2.0)  # steps of a fixed length: each budget is an attack of its own
    sources = payload(still, PRINTED, axis="epsilon")["sources"]
    assert sorted(curve["x"] for curve in sources[0]["attacks"].values()) == [[0, 4], [0, 8]]
    both = pd.concat([budgets(epsilons=(0.0, 4.0, 8.0)), budgets(epsilons=(0.0, 4.0, 8.0)).assign(
        step_size=lambda frame: frame.epsilon / 10, id=lambda frame: "f" + frame["id"].str[1:])])  # each has an end of its own
    assert [curve["x"] for curve in payload(both, PRINTED, axis="epsilon")["sources"][0]["attacks"].values()] == [[0, 4, 8]] * 2


def test_an_axis_that_is_none_is_refused():
    with pytest.raises(ValueError, match="axis = 'M' is not allowed: give one of sigma, epsilon"):
        Explorer(rows(), axis="M")


def test_a_budget_is_in_255ths_and_one_of_the_frame():
    attacked = budgets()
    for given, budget, said in ((attacked, 3, "epsilon = 3 is not allowed, as the frame has nothing at it: give one of 2, 4, 8"),
                                (attacked, 8 / 255, "epsilon = 0.03.* is not allowed: its unit is 1/255: give 8 for 8/255"),
                                (pd.concat([attacked, rows(attacks=("none",))]), 3, "give one of 2, 4, 8"),  # nothing but clean images
                                (attacked.assign(epsilon=8 / 255), 8, "epsilon = 0.03.* is not allowed: its unit is 1/255")):
        with pytest.raises(ValueError, match=said):
            payload(given, epsilon=budget)
    assert payload(attacked.assign(epsilon=8 / 3), epsilon=8 / 3)["sources"]  # a frame keeps six digits


@pytest.mark.parametrize("view, message", [
    (dict(base="CPNI-W"), "'base' is not part of the view, which has axis, base_model, rule"),
    (dict(source="nonsense"), "source = 'nonsense' is not allowed; there are: "),
])
def test_a_mistyped_view_is_refused_in_one_line(view, message):
    with pytest.raises(ValueError, match=message) as caught:
        explore(**view)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_holds_no_records(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nope of records"):
        explore(tmp_path / "nope")


def kept(page):
    """Of a page's explorer the call that makes it, and the state that the page shows."""
    notebook = json.loads((ROOT / "notebooks" / f"{page}.ipynb").read_text(encoding="utf-8"))
    (source,) = ["".join(cell["source"]) for cell in notebook["cells"]
                 if any("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in cell.get("outputs", []))]
    (state,) = [one["state"] for one in notebook["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
                if one["model_module"] == "anywidget"]
    return source.strip().splitlines()[-1], state


@pytest.mark.parametrize("page, others", [("explorer", ("figure1", "figure2", "figure3")), ("figure4", ())])
def test_the_pages_hold_the_explorer_that_their_cell_makes(page, others):
    """nbval compares what no reader sees, the text; the state beside it is what the page shows."""
    call, shown = kept(page)
    state = json.loads(json.dumps(eval(call).get_state()))
    assert not [name for name, value in state.items() if name != "layout" and shown.get(name) != value], "run `make render`"
    for other in others:  # their views differ, and not what is in them
        assert all(kept(other)[1][name] == shown[name] for name in ("payload", "_esm", "_css")), other
