"""Differences of cells: image by image where records say which were right, as wide as chance makes them, else on the safe side."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from siam import bits, claims, paired, report, runs
from siam.claims import rules
from siam.pages import findings, words_of_tables
from test_report import digest, evaluate, train

N, BATCH = 1000, 100


def keep(folder, label, attack, right, seed=0, training_seed=0, **asked):
    """A record of M = 1, prediction smoothing, whose images are right where `right` [n] is."""
    right = np.asarray(right, bool)
    run = runs.EvaluationRun(f"{label.lower()}-{training_seed}", digest(label, training_seed), attack, draws=1, images=len(right),
                             batch_size=asked.pop("batch_size", BATCH), seed=seed, **asked)
    result = [runs.row("prediction", 1, right.sum(), len(right))]
    runs.write(runs.record(run, tier="cpu", n=len(right), result=result, right=bits.pack([right])), folder)


def cell(folder, label, attack="none", sigma=0):
    found = report.select(report.cells(report.evaluations(folder)), label=label, attack=attack, sigma=sigma)
    assert len(found) == 1
    return found.iloc[0]


def images(share, n=N, seed=0):
    return np.random.default_rng(seed).random(n) < share


def test_a_difference_is_taken_image_by_image_and_its_batches_are_the_sample(tmp_path):
    train(tmp_path, "CPNI-W")
    before = images(0.5)
    after = before ^ images(0.04, seed=1)
    keep(tmp_path, "CPNI-W", "none", before)
    keep(tmp_path, "CPNI-W", "none", after, sigma=0.24)
    found = paired.less(cell(tmp_path, "CPNI-W", sigma=0.24), cell(tmp_path, "CPNI-W"))
    change = 100.0 * (after.astype(int) - before.astype(int))
    low, high = ttest_1samp(change.reshape(-1, BATCH).mean(1), 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high)) and found.points == pytest.approx(change.mean())
    assert (found.freedom, found.runs, len(found.ids)) == (N / BATCH - 1, 1, 2)
    unpaired = paired.combine(*((w, c.drop("right").to_dict() | {"right": (None,)}) for w, c in
                                ((1, cell(tmp_path, "CPNI-W", sigma=0.24)), (-1, cell(tmp_path, "CPNI-W")))))
    assert unpaired.points == pytest.approx(found.points) and found.half < unpaired.half / 2


def test_without_the_bits_of_one_side_two_cells_share_nothing(tmp_path):
    train(tmp_path, "CPNI-W")
    keep(tmp_path, "CPNI-W", "none", images(0.5))
    evaluate(tmp_path, "CPNI-W", "pgd", 400, draws=1, rules=("prediction",))
    found = paired.less(cell(tmp_path, "CPNI-W"), cell(tmp_path, "CPNI-W", "pgd"))
    ends = [cell(tmp_path, "CPNI-W")[["low", "high"]], runs.clopper_pearson(400, N)]
    assert found.each is None and found.half == pytest.approx(100 * np.hypot(*((high - low) / 2 for low, high in ends)), rel=1e-4)


def test_counts_alone_are_of_the_trainings_that_both_cells_have(tmp_path):
    for seed, correct in enumerate((400, 500, 600)):
        train(tmp_path, "CPNI-W", seed=seed)
        evaluate(tmp_path, "CPNI-W", "none", correct, draws=1, rules=("prediction",), training_seed=seed)
    evaluate(tmp_path, "CPNI-W", "pgd", 400, draws=1, rules=("prediction",))
    found = paired.less(cell(tmp_path, "CPNI-W"), cell(tmp_path, "CPNI-W", "pgd"))
    assert (found.each, found.points, found.runs, len(found.ids)) == (None, 0, 1, 2)


def test_of_records_of_one_cell_that_with_bits_counts_then_that_of_most_draws_then_that_of_the_smallest_batches(tmp_path):
    def shown():
        (found,) = report.select(report.cells(report.evaluations(tmp_path)), M=1).itertuples()
        return found.accuracy, found.batch_size

    train(tmp_path, "CPNI-W")
    evaluate(tmp_path, "CPNI-W", "none", 400, draws=1, batch_size=100, rules=("prediction",))
    for batch_size, correct in ((200, 500), (125, 550), (250, 600)):
        evaluate(tmp_path, "CPNI-W", "none", correct, draws=2, batch_size=batch_size, rules=("prediction",))
    assert shown() == (0.55, 125)
    keep(tmp_path, "CPNI-W", "none", np.arange(N) < 700, batch_size=500)
    assert shown() == (0.7, 500)


def test_one_batch_says_nothing_of_how_much_others_would_differ(tmp_path):
    for values, batch in ((images(0.5), N), (images(0.5), N + 1), ([1.0], 1)):
        with pytest.raises(ValueError, match="two batches or more"):
            paired.by_image(np.asarray(values, float), batch)
    with pytest.raises(ValueError, match="1 values in batches of 1"):
        paired.over_batches([3.0])
    train(tmp_path, "CPNI-W")
    for attack, share in (("none", 0.5), ("pgd", 0.4)):
        keep(tmp_path, "CPNI-W", attack, images(share), batch_size=N)
    found = paired.less(cell(tmp_path, "CPNI-W"), cell(tmp_path, "CPNI-W", "pgd"))
    assert found.each is None and np.isfinite(found.half) and found.points > 5  # as if they shared no image


def test_pages_leave_out_what_was_tested_in_one_batch(tmp_path):
    train(tmp_path, "CPNI-W")
    for seed in range(8):
        keep(tmp_path, "CPNI-W", "none", images(0.5, seed=seed), seed=seed, batch_size=N)
    assert findings.calibration(tmp_path) == "Not yet measured."  # and not missed by none of 28 pairs
    keep(tmp_path, "CPNI-W", "none", images(0.6), batch_size=N, precision="bf16")
    assert re.search(r"is [+−]\d+\.\d points", words_of_tables.rounding(tmp_path).replace("\u00a0", " "))
    for precision, seed in (("fp32", 1), ("bf16", 2)):  # attacks made on two networks differ in more than precision
        keep(tmp_path, "CPNI-W", "pgd", images(0.5), source=digest("CPNI-W", seed), source_sigma=0, precision=precision)
    assert len(findings.pairs(tmp_path)) == 1


@pytest.mark.parametrize("missing", ["cell", "tier", "n"])
def test_what_cannot_be_compared_is_none(tmp_path, missing):
    train(tmp_path, "CPNI-W")
    evaluate(tmp_path, "CPNI-W", "none", 500)
    evaluate(tmp_path, "CPNI-W", "pgd", 400, **{"tier": dict(tier="smoke"), "n": dict(n=2000)}.get(missing, {}))
    one = report.cells(report.evaluations(tmp_path))
    one, other = (report.select(one, attack=attack, rule="prediction", M=1).iloc[0] for attack in ("none", "pgd"))
    assert paired.less(one, None if missing == "cell" else other) is None


def trained_thrice(folder, gap=0.0):
    """CPNI-W and PNI-W of three trainings each, whose accuracies differ from training to training by 2 points or so."""
    for label, share in (("CPNI-W", 0.5 + gap), ("PNI-W", 0.5)):
        for training, shift in enumerate((-0.02, 0, 0.02)):
            train(folder, label, seed=training)
            keep(folder, label, "none", np.arange(N) % 50 < 50 * (share + shift), training_seed=training)


def test_another_training_might_change_what_two_networks_differ_in(tmp_path):
    trained_thrice(tmp_path)
    train(tmp_path, "EPGD-diverged", method="epgd")
    keep(tmp_path, "EPGD-diverged", "none", np.arange(N) % 50 < 30)
    ours, one = cell(tmp_path, "CPNI-W"), cell(tmp_path, "EPGD-diverged")
    variance, freedom = ours["luck"]
    assert (variance, freedom) == pytest.approx((4, 4))  # two networks of three trainings, 48, 50 and 52 %
    between = paired.less(cell(tmp_path, "CPNI-W"), cell(tmp_path, "PNI-W"))
    assert between.points == pytest.approx(0) and between.error == pytest.approx(np.sqrt(2 * 4 / 3))
    single = paired.less(one, ours)
    assert single.points == pytest.approx(10) and single.error == pytest.approx(np.sqrt(4 * (1 + 1 / 3)))
    assert single.freedom == pytest.approx(4)


def test_counts_alone_are_as_unsure_as_images_and_another_training_make_them(tmp_path):
    for label, training in product(("CPNI-W", "PNI-W"), range(3)):
        train(tmp_path, label, seed=training)
        evaluate(tmp_path, label, "none", 480 + 20 * training, draws=1, rules=("prediction",), training_seed=training)
    sides = [cell(tmp_path, label) for label in ("CPNI-W", "PNI-W")]
    found, luck = paired.less(*sides), 2 * 4 / 3
    images = sum((100 * (one["high"] - one["low"]) / 2 / 1.959964) ** 2 for one in sides)
    assert found.each is None and found.luck == pytest.approx((luck, 4))
    assert found.error == pytest.approx(np.sqrt(images + luck)) and found.freedom == pytest.approx((images + luck) ** 2 / (luck**2 / 4))


def tuned_thrice(folder, label="Gauss", shifts=(0.08, 0.1, 0.12), also=(), **asked):
    """A fine-tuning of each CPNI-W of `trained_thrice`, and what it adds to that network's 48, 50 and 52 %."""
    for training, (start, shift) in enumerate(zip((-0.02, 0, 0.02), shifts)):
        if not asked:
            train(folder, label, seed=training, method="gauss" if label == "Gauss" else "epgd", start_seed=training, also=also)
        for each in (label, *also):
            keep(folder, each, "none", np.arange(N) % 50 < 50 * (0.5 + start + shift), training_seed=training, **asked)


def test_what_fine_tuning_adds_has_a_luck_of_its_own(tmp_path):
    trained_thrice(tmp_path)
    tuned_thrice(tmp_path, shifts=(0.1, 0.1, 0.1))
    found = report.luck(report.evaluations(tmp_path))
    assert found["cpu", "none", False, "Gauss"] == pytest.approx((0, 2))  # 48, 50 and 52 % became 58, 60 and 62 %
    assert found["cpu", "none", False, ""] == pytest.approx((4, 4))  # and count as no trainings from scratch
    tuned_thrice(tmp_path, "EPGD-diverged", also=["EPGD-converged"])  # the same trainings, another epoch
    found = report.luck(report.evaluations(tmp_path))
    each = [found["cpu", "none", False, f"EPGD-{epoch}"] for epoch in ("diverged", "converged")]
    assert found["cpu", "none", False, "Gauss"] == pytest.approx((0, 2)) and each == [pytest.approx((4, 2))] * 2  # every kind has its own
    assert found["cpu", "none", False, report.ALL_KINDS] == pytest.approx((2, 2))  # of two trainings, one of which left two epochs
    nearest = {label: report.nearest_luck(found, "long", attack, tuned=label) for label, attack in
               (*((label, "none") for label in report.TUNED), ("x", "pgd"))}
    larger = {"Gauss": report.ALL_KINDS, **{label: label for label in report.TUNED[:2]}}
    assert nearest == {label: found["cpu", "none", False, of] for label, of in larger.items()} | {"x": None}
    # The same networks on fewer images, with another seed, are no more trainings.
    for training in range(3):
        keep(tmp_path, "CPNI-W", "none", images(0.5, 500), seed=1, training_seed=training)
    assert report.luck(report.evaluations(tmp_path)) == found


def test_a_network_and_what_was_fine_tuned_from_it_had_one_luck_in_their_first_training(tmp_path):
    trained_thrice(tmp_path)
    tuned_thrice(tmp_path)
    tuned_thrice(tmp_path, "EPGD-diverged", shifts=(0.06, 0.04, 0.02))
    ours, white, gauss, epgd = (cell(tmp_path, label) for label in ("CPNI-W", "PNI-W", "Gauss", "EPGD-diverged"))
    base, added = ours["luck"][0], gauss["tuning"][0]
    assert (base, added) == pytest.approx((4, 4))
    assert paired.less(gauss, ours).points == pytest.approx(10) and paired.less(gauss, ours).luck == pytest.approx((added / 3, 2))
    assert paired.less(gauss, epgd).luck[0] == pytest.approx(2 * added / 3)
    assert paired.less(gauss, white).luck[0] == pytest.approx((2 * base + added) / 3)
    assert paired.sum_of([(1, (2.0, 6)), (1, (2.0, 6))]) == pytest.approx((4, 6))  # one estimate, and no better known for being twice
    assert paired.sum_of([(1, (2.0, 6)), (2, (1.0, 3))]) == pytest.approx((4, 16 / (4 / 6 + 4 / 3)))
    assert paired.sum_of([]) == (0, np.inf)
    # The mean of both, less their start: what that had by luck they have as well.
    assert paired.combine((0.5, gauss), (0.5, epgd), (-1, ours)).luck[0] == pytest.approx(2 * added / 4 / 3)
    assert paired.combine((0.5, gauss), (0.5, ours), (-1, white)).luck[0] == pytest.approx((base + added / 4 + base) / 3)
    # What noise costs the one less what it costs the other: at either σ what fine-tuning adds may be another.
    tuned_thrice(tmp_path, sigma=0.24)
    for training in range(3):
        keep(tmp_path, "CPNI-W", "none", np.arange(N) % 50 < 27, sigma=0.24, training_seed=training)
    noisy, calm = (cell(tmp_path, label, sigma=0.24) for label in ("Gauss", "CPNI-W"))
    costs = paired.combine((1, gauss), (-1, noisy), (-1, ours), (1, calm))
    assert costs.luck[0] == pytest.approx(2 * added / 3)
    assert paired.less(gauss, noisy).luck[0] == 0


def test_a_vote_has_the_luck_of_votes_where_that_is_larger(tmp_path):
    for training, (once, voted) in enumerate(((490, 460), (500, 500), (510, 540))):
        train(tmp_path, "CPNI-W", seed=training)
        train(tmp_path, "Gauss", seed=training, method="gauss", start_seed=training)
        evaluate(tmp_path, "CPNI-W", "none", once, draws=1, training_seed=training)
        for sigma, least in ((0.12, 600), (0.24, voted)):  # `evaluate` has three right more at M = 8
            evaluate(tmp_path, "CPNI-W", "none", least, sigma=sigma, draws=8, training_seed=training)
        evaluate(tmp_path, "Gauss", "none", voted + 100 + 10 * training, sigma=0.37, draws=8, training_seed=training)
    found = report.luck(report.evaluations(tmp_path))
    assert found["cpu", "none", False, ""] == pytest.approx((1, 2))
    assert found["cpu", "none", True, ""] == pytest.approx((8, 2))  # the mean of 0 and 16: two σ are no further trainings
    assert found["cpu", "none", True, "Gauss"] == pytest.approx((1, 2))  # held against its start at the nearest σ
    frame = report.select(report.cells(report.evaluations(tmp_path)), label="CPNI-W", rule="prediction")
    assert {(one.M, one.sigma): one.luck[0] for one in frame.itertuples() if one.M in (1, 8)} == pytest.approx(
        {(1, 0): 1, (1, 0.12): 1, (1, 0.24): 1, (8, 0.12): 8, (8, 0.24): 8})
    assert report.nearest_luck({("cpu", "none", False, ""): (1.0, 2), ("cpu", "none", True, ""): (1.2, 8)}, "cpu", "none", True) == (1.2, 2)
    small = {("cpu", "none", False, ""): (4.0, 2), ("cpu", "none", True, ""): (1.0, 2)}
    assert report.nearest_luck(small, "cpu", "none", voted=True) == (4.0, 2)  # few trainings, and small perhaps by luck
    assert report.nearest_luck(small, "cpu", "none") == (4.0, 2)


def test_few_votes_have_an_interval_that_knows_the_draws_of_their_batches(tmp_path):
    train(tmp_path, "CPNI-W")
    train(tmp_path, "plain", method="plain")
    right = np.arange(N) % 2 == 0
    right[:BATCH] = False  # one draw was a catastrophe
    for label in ("CPNI-W", "plain"):
        keep(tmp_path, label, "none", right)
    ours, plain = cell(tmp_path, "CPNI-W"), cell(tmp_path, "plain")
    exact = runs.clopper_pearson(450, N)
    assert (plain["low"], plain["high"]) == pytest.approx(exact, abs=1e-6)  # without noise there is no draw
    assert (ours["low"], ours["high"]) == pytest.approx(
        ttest_1samp(right.reshape(-1, BATCH).mean(1), 0).confidence_interval()) != pytest.approx(exact, abs=0.01)
    assert runs.with_draws(exact, (np.arange(N) % 20 < 9).astype(float), BATCH) == exact  # batches that are alike make nothing surer
    frame = pd.DataFrame([ours, ours]).assign(M=[report.FEW, 2 * report.FEW], low=0.42, high=0.48)
    assert [one.low == 0.42 for one in report.widened(frame).itertuples()] == [False, True]
    (whole,) = report.widened(pd.DataFrame([ours]).assign(batch_size=N, low=0.42, high=0.48)).itertuples()
    assert (whole.low, whole.high) == (0.42, 0.48)
    for seed in (1, 2):  # of several runs every image has its share
        keep(tmp_path, "CPNI-W", "none", np.arange(N) % 2 == 0, seed=seed)
    low, high = cell(tmp_path, "CPNI-W")[["low", "high"]]
    assert (low, high) == pytest.approx(ttest_1samp((right / 3 + (np.arange(N) % 2 == 0) * 2 / 3).reshape(-1, BATCH).mean(1), 0)
                                        .confidence_interval(), abs=0.02)


@pytest.mark.parametrize(("batch", "equal"), [(250, 4), (300, 1e6 / (3 * 300**2 + 100**2)), (750, 1.6), (100, 10)])
def test_unequal_batches_are_as_unsure_as_they_are(batch, equal):
    assert runs.batches(N, batch) == pytest.approx(equal)
    draws = np.random.default_rng(0)
    errors, freedoms = zip(*(runs.error_over_batches(draws.standard_normal(N), batch) for _ in range(3000)))
    assert np.mean(np.square(errors)) == pytest.approx(1 / N, rel=0.08) and set(freedoms) == {runs.batches(N, batch) - 1}


def test_what_fine_tuning_adds_is_shown_over_its_starts(tmp_path):
    trained_thrice(tmp_path)
    tuned_thrice(tmp_path)
    assert "not yet measured" in repr(findings.tuned(tmp_path))  # nothing is attacked
    for training, right in enumerate((24, 25, 26)):
        keep(tmp_path, "CPNI-W", "pgd", np.arange(N) % 50 < right, training_seed=training)
        keep(tmp_path, "Gauss", "pgd", np.arange(N) % 50 < right - training, training_seed=training)
    (row,) = findings.tuned(tmp_path).frame.to_dict("records")
    assert (row["Network"], row["Clean"], row["PGD"], row["Starts"]) == ("Gauss", "+10.0 ± 5.0", "−2.0 ± 5.0", "3")
    assert len(row["Records"]) == 2 * 2 * 3
    for training, label, attack in product(range(3), ("CPNI-W", "Gauss"), ("none", "pgd")):  # once more, at another tier
        evaluate(tmp_path, label, attack, 500, draws=1, tier="smoke", training_seed=training)
    assert list(findings.tuned(tmp_path).frame["Starts"]) == ["3", "3"]


def test_networks_fine_tuned_from_one_start_are_no_three_starts(tmp_path):
    trained_thrice(tmp_path)
    for training in range(3):
        train(tmp_path, "Gauss", seed=training, method="gauss", start_seed=0)
        for label, attack in (("CPNI-W", "pgd"), ("Gauss", "none"), ("Gauss", "pgd")):
            keep(tmp_path, label, attack, images(0.5, seed=training), training_seed=training)
    assert "not yet measured" in repr(findings.tuned(tmp_path))
    ours = cell(tmp_path, "Gauss")
    base, known = ours["luck"][0], ours["tuning"]
    assert set(ours["roots"]) == {digest("CPNI-W", 0)} and known is not None
    assert paired.luck_of(ours)[0] == pytest.approx(base + known[0] / 3)  # of one first training, and three fine-tunings
    assert paired.less(ours, cell(tmp_path, "PNI-W")).luck[0] == pytest.approx(base + known[0] / 3 + base / 3)


def test_what_a_vote_adds_is_shown_over_trainings(tmp_path):
    for training, clean in enumerate((480, 500, 520)):
        train(tmp_path, "CPNI-W", seed=training)
        evaluate(tmp_path, "CPNI-W", "none", clean, draws=1, training_seed=training)
        evaluate(tmp_path, "CPNI-W", "none", clean + 50 + training, draws=2, sigma=0.24, training_seed=training)  # passes of the next
        for seed in range(2):  # two series of passes are one value; each of `evaluate` has k right more at M = 2^k
            evaluate(tmp_path, "CPNI-W", "none", clean + 50 + training - 2 * seed, draws=4, sigma=0.24, seed=seed, training_seed=training)
        if training:  # two trainings are too few
            evaluate(tmp_path, "CPNI-W", "pgd", 300, draws=4, sigma=0.24, training_seed=training)
    frame = findings.repeated(tmp_path).frame
    assert (frame["Network"] + frame["M"] + frame["EPGD"] + frame["PGD"]).unique() == ["CPNI-W4" + 2 * "not yet measured"]
    assert dict(zip(frame["Rows"].str.removeprefix("less one pass "), frame["Clean"])) == {
        "without input noise": "+5.2 ± 0.2", "with the same input noise": "+0.2 ± 0.0"}
    assert list(frame["Trainings"]) == ["3", "3"] and list(frame["Records"].map(len)) == [3 * (2 + 1), 3 * 2]
    (vote,) = claims.lucks(tmp_path).frame.query("Rows == 'a training from scratch, a vote'").to_dict("records")
    assert (vote["Accuracy"], vote["Std"], vote["Degrees of freedom"], vote["95 %"]) == ("Clean", "2.10", "2", "1.09–13.20")
    assert vote["By luck alone"] == "± 12.8"  # 4.303 √2 · 2.1
    evaluate(tmp_path, "CPNI-W", "none", 500, draws=64, sigma=0.24, training_seed=0)  # one network that voted further hides no other
    assert findings.repeated(tmp_path).frame.query("M == '4'")["Trainings"].tolist() == ["3", "3"]


def test_what_was_fine_tuned_from_another_network_shares_nothing(tmp_path):
    trained_thrice(tmp_path)
    tuned_thrice(tmp_path)
    train(tmp_path, "EPGD-diverged", method="epgd", start_seed=0)
    keep(tmp_path, "EPGD-diverged", "none", np.arange(N) % 50 < 30)
    ours, gauss, epgd = (cell(tmp_path, label) for label in ("CPNI-W", "Gauss", "EPGD-diverged"))
    assert paired.less(epgd, ours).luck[0] == pytest.approx(4 + 4 + 4 / 3)  # one start beside the mean of three
    assert paired.less(epgd, gauss).luck[0] == pytest.approx(4 + 4 + (4 + 4) / 3)


def test_where_nobody_knows_what_fine_tuning_adds_it_counts_as_a_training(tmp_path):
    trained_thrice(tmp_path)
    for training in (0, 1):
        train(tmp_path, "Gauss", seed=training, method="gauss", start_seed=training)
        keep(tmp_path, "Gauss", "none", np.arange(N) % 50 < 30, training_seed=training)
    ours, gauss = cell(tmp_path, "CPNI-W"), cell(tmp_path, "Gauss")
    assert ours["tuning"] is None and paired.less(gauss, ours).luck[0] == pytest.approx(4 / 2 + 4 / 3)


def test_the_luck_of_all_that_was_trained_three_times_counts(tmp_path):
    trained_thrice(tmp_path)
    for training, shift in ((4, -0.01), (5, 0), (6, 0.01)):  # as many trainings of another length, on twice the images
        train(tmp_path, "PNI-W", seed=training, epochs=9)
        keep(tmp_path, "PNI-W", "none", np.arange(2 * N) % 100 < 100 * (0.5 + shift), training_seed=training)
        keep(tmp_path, "PNI-W", "none", images(0.5, seed=training), training_seed=training)  # fewer images of it say less
    assert report.luck(report.evaluations(tmp_path))["cpu", "none", False, ""] == pytest.approx(((4 + 4 + 1) / 3, 9 / (16 / 9 + 1 / 18)))


def test_what_noise_does_is_about_the_network_at_hand_and_between_networks_as_unsure_as_can_be(tmp_path):
    trained_thrice(tmp_path)
    for label in ("CPNI-W", "PNI-W"):
        keep(tmp_path, label, "none", np.arange(N) % 50 < 27, sigma=0.24)
    noisy, calm = cell(tmp_path, "CPNI-W", sigma=0.24), cell(tmp_path, "CPNI-W")
    found = paired.less(noisy, calm)
    assert found.points == pytest.approx(6)  # of the training that has both: 54 less 48, not less 50
    assert found.luck[0] == 0 and found.error == pytest.approx(0, abs=1e-9)
    others = [cell(tmp_path, "PNI-W", sigma=0.24), cell(tmp_path, "PNI-W")]
    double = paired.combine((1, noisy), (-1, calm), (-1, others[0]), (1, others[1]))
    assert double.points == pytest.approx(0) and double.luck[0] == pytest.approx(4 * (2 + 2))  # one training of each has both


def test_a_cell_counts_with_all_its_seeds_so_that_differences_add_up(tmp_path):
    train(tmp_path, "CPNI-W")
    pgd = [images(0.5, seed=seed) for seed in range(3)]
    epgd = pgd[0] & images(0.9, seed=9)
    for seed, right in enumerate(pgd):
        keep(tmp_path, "CPNI-W", "pgd", right, seed=seed)
    keep(tmp_path, "CPNI-W", "epgd", epgd, samples=8)
    keep(tmp_path, "CPNI-W", "none", pgd[0], sigma=0.24)
    one, other, noisier = cell(tmp_path, "CPNI-W", "pgd"), cell(tmp_path, "CPNI-W", "epgd"), cell(tmp_path, "CPNI-W", sigma=0.24)
    assert (one["runs"], paired.less(one, other).runs) == (3, 1)
    assert paired.less(one, other).points == pytest.approx(100 * (np.mean(pgd) - epgd.mean()))
    assert paired.less(one, other).points + paired.less(other, noisier).points == pytest.approx(paired.less(one, noisier).points)


def test_a_difference_names_the_records_that_it_was_taken_from_and_no_others(tmp_path):
    for seed in range(2):
        train(tmp_path, "CPNI-W", seed=seed)
        keep(tmp_path, "CPNI-W", "pgd", images(0.5, seed=seed), training_seed=seed)
    keep(tmp_path, "CPNI-W", "epgd", images(0.4, seed=5), samples=8)
    one, other = cell(tmp_path, "CPNI-W", "pgd"), cell(tmp_path, "CPNI-W", "epgd")
    assert one["runs"] == 2 and len(paired.less(one, other).ids) == 2  # of the training that has both


def test_the_luck_of_training_is_told_from_the_rest():
    found = paired.by_image(100.0 * images(0.5), BATCH, (4.0, 4))
    for comparisons in (1, 5):
        low, high = ttest_1samp(found.each.reshape(-1, BATCH).mean(1), 0).confidence_interval(1 - 0.05 / comparisons)
        among = found.among(comparisons)
        assert among.half_alone == pytest.approx((high - low) / 2) and 1 < among.half_alone < among.half


def test_where_luck_is_all_there_is_nothing_is_left_without_it():
    luck = 0.3
    assert np.sqrt(luck) ** 2 < luck  # by rounding
    assert paired.Difference(1.0, np.sqrt(luck), 2.0, luck=(luck, 2.0)).half_alone == 0


def test_a_second_digit_says_on_which_side_of_zero_an_interval_ends():
    assert str(paired.Difference(2.187, 2.165 / 1.959964, np.inf)) == "+2.19 ± 2.16"
    assert str(paired.Difference(2.187, 1.0, np.inf)) == "+2.2 ± 2.0"
    assert str(paired.Difference(1.95, 1.92 / 1.959964, np.inf)) == "+1.95 ± 1.92"  # 1.95 is printed as 1.9 and rounds to 2.0


def test_two_trainings_of_one_network_are_two_networks(tmp_path):
    trained_thrice(tmp_path)
    keep(tmp_path, "CPNI-W", "none", np.arange(N) % 50 < 27, sigma=0.24, training_seed=0)
    keep(tmp_path, "CPNI-W", "none", np.arange(N) % 50 < 27, sigma=0.36, training_seed=1)
    found = paired.less(cell(tmp_path, "CPNI-W", sigma=0.24), cell(tmp_path, "CPNI-W", sigma=0.36))
    assert found.points == 0 and found.error == pytest.approx(np.sqrt(4 + 4))


def test_the_luck_of_a_tier_without_any_is_that_of_the_nearest(tmp_path):
    trained_thrice(tmp_path)
    assert cell(tmp_path, "CPNI-W")["luck"] == pytest.approx((4, 4))
    for label, right in (("CPNI-W", 30), ("PNI-W", 20)):
        train(tmp_path, label, seed=7, tier="long", epochs=40)
        run = runs.EvaluationRun("x", digest(label, 7), "none", draws=1, images=N, batch_size=BATCH)
        rows = dict(result=[runs.row("prediction", 1, right * N // 50, N)], right=bits.pack([np.arange(N) % 50 < right]))
        runs.write(runs.record(run, tier="long", n=N, **rows), tmp_path)
    ours = report.select(report.cells(report.evaluations(tmp_path)), tier="long")
    assert list(ours["luck"]) == [pytest.approx((4, 4))] * 2
    found = paired.less(*(ours.set_index("label", drop=False).loc[label] for label in ("CPNI-W", "PNI-W")))
    assert found.points == pytest.approx(20) and found.error == pytest.approx(np.sqrt(4 + 4))


def test_two_networks_whose_luck_nobody_measured_share_nothing(tmp_path):
    for label in ("CPNI-W", "PNI-W"):
        train(tmp_path, label)
        keep(tmp_path, label, "none", images(0.5))
    found = paired.less(cell(tmp_path, "CPNI-W"), cell(tmp_path, "PNI-W"))
    assert found.each is None and found.points == 0 and found.half > 4


def test_a_mean_over_noise_levels_is_as_sure_as_its_images_make_it(tmp_path):
    train(tmp_path, "CPNI-W")
    calm = images(0.5)
    keep(tmp_path, "CPNI-W", "none", calm)
    sigmas = [0.1, 0.2, 0.3, 0.4]
    for k, sigma in enumerate(sigmas):
        keep(tmp_path, "CPNI-W", "none", calm ^ images(0.1, seed=k + 1), sigma=sigma)
    each = [paired.less(cell(tmp_path, "CPNI-W", sigma=sigma), cell(tmp_path, "CPNI-W")) for sigma in sigmas]
    mean = paired.mean_of([None, *each])
    assert mean.points == pytest.approx(np.mean([one.points for one in each])) and len(mean.ids) == 5
    assert mean.error < np.mean([one.error for one in each])
    alike = paired.mean_of(each[:1] * 3)
    assert alike.half == pytest.approx(each[0].half)
    assert paired.mean_of([None]) is None
    counted = [paired.Difference(points, 1.0, freedom, "cpu", N, k, ()) for points, freedom, k in ((1.0, 9.0, 2), (2.0, 4.0, 3))]
    assert paired.mean_of([*each, *counted]).points == pytest.approx(mean.points)
    mean = paired.mean_of(counted)
    assert (mean.points, mean.error, mean.freedom, mean.runs) == (1.5, 1.0, 4.0, 2)


def test_a_mean_of_differences_keeps_the_luck_of_training_that_they_have():
    def one(luck, freedom=6):
        return paired.by_image(np.random.default_rng(0).normal(size=1000), 100, (luck, freedom), tier="cpu", n=1000, runs=1)

    assert paired.mean_of([one(4.0), one(4.0)]).luck == pytest.approx((4, 6))
    assert paired.mean_of([one(4.0, 3), one(9.0)]).luck == pytest.approx((6.25, 3))  # as if it moved all of them together


def test_a_claim_about_all_asks_for_what_its_mean_left_out():
    images, counts = (paired.Difference(1.0, 1.0, np.inf, "cpu", 1000, 1, (), each, 1) for each in (np.arange(4.0), None))
    weaker = paired.Difference(1.0, 1.0, np.inf, "smoke", 1000, 1, (), np.arange(4.0), 1)
    found = rules.on_average(dict(images=images, counts=counts, weaker=weaker, lacking=None), "all")
    assert found.pop("all").points == 1.5 and found == dict(counts=None, weaker=None, lacking=None)
    assert rules.on_average(dict(lacking=None), "all") == dict(all=None, lacking=None)


def test_cells_of_unequal_batches_count_in_the_larger(tmp_path):
    train(tmp_path, "CPNI-W")
    keep(tmp_path, "CPNI-W", "none", images(0.6))
    keep(tmp_path, "CPNI-W", "pgd", images(0.4, seed=1), batch_size=250)
    found = paired.less(cell(tmp_path, "CPNI-W"), cell(tmp_path, "CPNI-W", "pgd"))
    assert (found.batch, found.freedom) == (250, pytest.approx(3))
    other = paired.by_image(np.zeros(N) + np.arange(N) % 2, 100, tier="cpu", n=N, runs=1)
    assert paired.mean_of([found, other]).batch == 250


def test_of_many_comparisons_all_keep_their_level():
    one = paired.Difference(3.0, 1.0, 9, "cpu", N, 1, ())
    assert one.half == pytest.approx(2.262, abs=1e-3) and one.among(20).half == pytest.approx(4.024, abs=0.3)
    assert str(one) == "+3.0 ± 2.3" and one.low == pytest.approx(0.738, abs=1e-3)


def test_the_interval_covers_what_it_should_where_batches_share_their_draws():
    """Images of their own difficulty, seen by two networks whose weights are drawn once a batch."""
    draw, trials, true = np.random.default_rng(7), 1000, 3.0
    hit = blind = 0
    for _ in range(trials):
        skill = draw.normal(size=N)
        moved = 0.4 * np.repeat(draw.normal(size=(2, N // BATCH)), BATCH, axis=1)
        sides = [skill + moved[k] + 0.3 * draw.normal(size=N) for k in (0, 1)]
        cut = np.sqrt(1 + 0.16 + 0.09) * 0.0752698  # the normal quantile of 0.53
        each = 100.0 * ((sides[0] > -cut).astype(int) - (sides[1] > 0).astype(int))
        found = paired.by_image(each, BATCH)
        hit += found.low <= true <= found.high
        found = paired.by_image(each, 1)  # as if every image had draws of its own
        blind += found.low <= true <= found.high
    assert hit / trials > 0.93 and blind / trials < 0.75


def test_one_of_some_of_many_keeps_its_level_among_all():
    one = paired.Difference(3.0, 1.0, 9)
    assert one.among(4).among(5).half == one.among(20).half > one.among(5).half


def test_the_freedom_of_two_uncertainties_is_that_of_welch_and_satterthwaite():
    each = 100.0 * np.random.default_rng(0).integers(-1, 2, 1000)
    alone = paired.by_image(each, 100)
    both = paired.by_image(each, 100, (alone.error**2, 4))
    assert both.error == pytest.approx(2**0.5 * alone.error) and both.freedom == pytest.approx(4 / (1 / 9 + 1 / 4))
