"""Sentences about tables: the numbers of the records, and nothing where there are none."""

import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import plain
from scipy.stats import norm

from siam.pages import findings
from siam.pages import words_of_tables as words
from siam.paired import Difference
from siam.report import NOT_YET
from test_findings import trained
from test_paired import keep
from test_report import evaluate, train


FUNCTIONS = (words.training, words.ranks, words.selection, words.units, words.rounding, words.summed, words.two_votes)


@pytest.mark.parametrize("said", [*FUNCTIONS, *(partial(words.table, number) for number in (1, 2, 3, 4))])
def test_nothing_is_said_without_records(tmp_path, said):
    assert said(tmp_path) == "Not yet measured."


def test_a_table_says_how_far_it_lies_from_the_paper_and_what_its_rows_show(tmp_path):
    for label, share in (("PNI-W", 0.3), ("CPNI-W", 0.5)):
        train(tmp_path, label)
        keep(tmp_path, label, "none", np.arange(1000) % 10 < 10 * share)
    distances, white = plain(words.table(1, tmp_path)).splitlines()
    assert distances == "- Ours less what the paper prints: −52.8 to −28.5 points in 2 cells at tier cpu (n = 1,000)."
    assert white.startswith("- Coloured noise in the weights instead of white (M = 1, σ = 0; tier cpu, n = 1,000): clean +20.0 ±")
    assert white.endswith("of the opposite sign (the paper: −4.4).")


@pytest.mark.parametrize(("points", "half", "theirs", "said"), [
    (2, 1, 3.12, "of the same sign (the paper: +3.1)"), (-2, 1, 3.12, "of the opposite sign (the paper: +3.1)"),
    (2, 3, 3.12, "not told apart from zero (the paper: +3.1)"), (2, 1, 0.0, "the paper: +0.0"),
])
def test_a_difference_is_held_against_the_papers_sign(points, half, theirs, said):
    assert words._against(Difference(points, half / norm.ppf(0.975), np.inf), theirs) == said


def test_training_says_whether_accuracy_still_rises(tmp_path):
    for seed, (epochs, correct) in enumerate(((4, 300), (8, 500))):
        trained(tmp_path, seed, epochs=epochs)
        evaluate(tmp_path, "CPNI-W", "pgd", correct, training_seed=seed)
    gain, verdict = plain(words.training(tmp_path)).splitlines()
    assert gain.startswith("- CPNI-W after 8 epochs less after 4: under PGD +20.0 ±")
    assert "says nothing about the paper's" in verdict
    trained(tmp_path, 3, epochs=12)
    evaluate(tmp_path, "CPNI-W", "pgd", 9000, n=10_000, training_seed=3)
    assert "after 12 epochs less" not in plain(words.training(tmp_path))  # measured on other images
    trained(tmp_path, 2, epochs=9)
    evaluate(tmp_path, "CPNI-W", "pgd", 505, training_seed=2)
    said = words.training(tmp_path)
    assert "after 9 epochs less after 8" in plain(said) and len(said.splitlines()) == 1


def test_the_start_of_the_noise_is_told_apart_from_its_kind(tmp_path):
    for seed, (label, start, correct) in enumerate((("PNI-W", 0.3, 300), ("PNI-W", 1.0, 420), ("CPNI-W", 0.5, 450), ("CPNI-W", 0.3, 400))):
        trained(tmp_path, seed, label=label, noise_start=start, noise_lr=0.01)
        evaluate(tmp_path, label, "pgd", correct, training_seed=seed)
    trained(tmp_path, 9, label="CPNI-W", noise_start=0.3, noise_lr=1.0)
    evaluate(tmp_path, "CPNI-W", "pgd", 460, training_seed=9)
    said = findings.strengths(tmp_path).frame
    assert [f"{row.Difference}: {re.sub(' ± .*', '', row.PGD)}" for row in said.itertuples()] == [
        "PNI-W that starts at 1 less PNI-W that starts at 0.3: +12.0",
        "CPNI-W that starts at 0.5 less CPNI-W that starts at 0.3: +5.0",
        "CPNI-W that starts at 0.3 less PNI-W that starts at 0.3: +10.0",
        "CPNI-W that starts at 0.3 less PNI-W that starts at 1: −2.0",
        "CPNI-W that starts at 0.5 less PNI-W that starts at 0.3: +15.0",
        "CPNI-W that starts at 0.5 less PNI-W that starts at 1: +3.0",
        "CPNI-W that starts at 0.3 and learns as fast as the weights less CPNI-W that starts at 0.3: +6.0"]
    assert findings._starting("CPNI-W", {"noise_start": 1.0}).endswith("starts at 1, all of F equal")
    assert set(said["Rows"]) == {"8 epochs"} and set(said["Clean"]) == {NOT_YET} and set(said["n"]) == {"1,000"}
    assert set(said["Tier"]) == {"cpu"} and all(len(ids) == 2 for ids in said["Records"])
    coloured = [line for line in plain(words.headlines(tmp_path)).splitlines() if "Which noise" in line]
    assert [re.sub(" ± [\\d.]+", "", line) for line in coloured] == [
        "- **Which noise.** Coloured noise in the layers is worth, in points of the accuracy of one pass under PGD, −2.0 (not told apart"
        " from zero) over white noise that starts at its authors' strength and +10.0 over white noise that starts at 0.3 of that"
        " strength. The coloured noise starts at 0.3 of its authors' strength (CPNI-W less PNI-W; tier cpu, n = 1,000)."]
    trained(tmp_path, 9, label="PNI-W", noise_start=2.0, lr=0.1)  # differs in more than that
    evaluate(tmp_path, "PNI-W", "pgd", 900, training_seed=9)
    assert findings.strengths(tmp_path).frame.equals(said)
    for seed, (label, correct) in enumerate((("PNI-W", 4000), ("CPNI-W", 5000)), 5):
        trained(tmp_path, seed, label=label, tier="fast", lr=0.2)
        evaluate(tmp_path, label, "pgd", correct, n=10_000, tier="fast", training_seed=seed)
    said = plain(words.headlines(tmp_path))
    assert re.search(r" Between the two networks in \[Table 1\]\(notebooks/table1.ipynb\), tier fast, the difference is"
                     r" \+10.0 ± [\d.]+\.$", said, re.M)


def test_trainings_that_differ_in_more_than_epochs_say_nothing_about_length(tmp_path):
    """As many epochs at two tiers, and more epochs at another learning rate."""
    for seed, (tier, epochs, lr) in enumerate((("fast", 40, 0.1), ("long", 40, 0.1), ("cpu", 8, 0.05))):
        trained(tmp_path, seed, epochs=epochs, lr=lr, tier=tier)
        evaluate(tmp_path, "CPNI-W", "pgd", 3000 + 500 * (seed == 0), n=10_000, tier=tier, training_seed=seed)
    assert list(findings.lengths(tmp_path).frame.query("Rows == 'CPNI-W'")["Tier"]) == ["cpu", "long", "fast", "printed by the paper"]
    assert plain(words.training(tmp_path)) == (
        "- No two of these trainings of a network differ in epochs alone and were measured alike, so what length is worth cannot be told.")


def test_ranks_selection_units_and_rounding_have_their_sentence(tmp_path):
    for seed, rank in enumerate((0, 5)):
        trained(tmp_path, seed, rank=rank)
        evaluate(tmp_path, "CPNI-W", "pgd", 400 + 20 * seed, training_seed=seed)
    assert plain(words.ranks(tmp_path)).startswith("- Rank 5 less rank 0: under PGD +2.0 ±")
    assert words.ranks(tmp_path).endswith("Of 1 comparison rank 5, the paper's, is surely above in 0 and below in 0 where each is taken by"
                                          " itself, and above in 0 and below in 0 on intervals that hold jointly.")
    trained(tmp_path, 2, rank=2)
    evaluate(tmp_path, "CPNI-W", "pgd", 200, training_seed=2)
    said = plain(words.ranks(tmp_path))
    assert "- Rank 5 less rank 2: under PGD +22.0 ±" in said
    assert said.endswith("surely above in 1 and below in 0 where each is taken by itself, and above in 1 and below in 0 on intervals"
                         " that hold jointly.")
    folder = tmp_path / "other"
    folder.mkdir()
    train(folder, "CPNI-W")
    for sigma, heldout, test in ((0.0, 300, 400), (0.24, 200, 430)):
        evaluate(folder, "CPNI-W", "pgd", heldout, sigma=sigma, draws=1, split="heldout")
        evaluate(folder, "CPNI-W", "pgd", test, sigma=sigma, draws=1)
    assert "(tier cpu, n = 1,000): CPNI-W +3.0 ±" in plain(words.selection(folder))
    for sigma, correct in ((0.24, 600), (0.97, 400)):
        evaluate(folder, "CPNI-W", "none", correct, sigma=sigma, draws=64)
    assert plain(words.units(folder)).startswith("- Four times the noise changes accuracy, in points, by −20.0 ±")
    evaluate(folder, "CPNI-W", "none", 605, sigma=0.24, draws=64, precision="bf16")
    assert plain(words.rounding(folder)) == (
        "- CPNI-W, clean, σ = 0.24, M = 64: bf16 less fp32 is +0.5 points (tier cpu, n = 1,000).")
    for precision in ("fp32", "bf16"):
        evaluate(folder, "CPNI-W", "fgsm", 350, draws=1, precision=precision, steps=1, step_size=8.0)
    assert "- CPNI-W, under fgsm, σ = 0, M = 1: bf16 less fp32 is +0.0 points" in plain(words.rounding(folder))


def test_two_choices_that_are_equally_right_are_not_called_one(tmp_path):
    train(tmp_path, "CPNI-W")
    for sigma, heldout in ((0.0, 300), (0.24, 350)):
        evaluate(tmp_path, "CPNI-W", "pgd", heldout, sigma=sigma, draws=1, split="heldout")
        evaluate(tmp_path, "CPNI-W", "pgd", 400, sigma=sigma, draws=1)
    said = plain(words.selection(tmp_path))
    assert "CPNI-W +0.0 ±" in said and "the same cell" not in said


def test_the_first_page_counts_verdicts_and_says_how_far_they_reach():
    rows = pd.DataFrame({"verdict": ["holds", "holds in part", "holds in part", NOT_YET], "tier": ["long", "cpu", "cpu", ""]})
    (said,) = words._verdicts(rows)
    assert said.startswith("**Claim by claim.** Of 4 claims taken from the paper, 1 holds, 2 hold in part, 1 is not yet measured. By the")
    assert " tier they rest on: 1 `long`, 2 `cpu`; none on `paper`, the only tier that trains as the paper did." in said
    (said,) = words._verdicts(rows.assign(tier="paper"))
    assert said.endswith("By the tier they rest on: 3 `paper`.")
    assert words._verdicts(rows[rows["tier"] == ""]) == ["**Claim by claim.** Of 1 claims taken from the paper, 1 is not yet measured."]


@pytest.mark.parametrize(("voted", "said"), [
    ((480, 405), "7.5 ± 6.2 points of the gain under PGD are gone"),
    ((480, 395), "8.5 ± 6.2 points of the gain under PGD are gone"),
    ((480, 470), "none of the gain under PGD is surely gone"),
    ((410, 380), "there is no sure gain under PGD for EPGD to take"),
    ((380, 350), "there is no sure gain under PGD for EPGD to take"),
    ((400, 400), "there is no sure gain under PGD for EPGD to take"),
])
def test_the_first_page_says_what_is_gone_only_of_a_sure_gain(tmp_path, voted, said):
    train(tmp_path, "CPNI-W")
    for attack, right in zip(("none", "pgd", "epgd"), (750, *voted)):
        evaluate(tmp_path, "CPNI-W", attack, 700 if attack == "none" else 400, draws=1)
        evaluate(tmp_path, "CPNI-W", attack, right - 6, sigma=0.24, draws=64)
    assert plain(words.headlines(tmp_path)).endswith(f" points: {said}.")


def test_the_first_page_says_what_is_left_under_all_attackers(tmp_path, monkeypatch):
    train(tmp_path, "CPNI-W")
    before = words.headlines(tmp_path)
    monkeypatch.setattr(words.adaptive, "headline", lambda folder: f"All of it in {folder.name}.")
    assert words.headlines(tmp_path).splitlines() == [*before.splitlines(), f"- All of it in {tmp_path.name}."]


def test_the_first_page_says_what_epgd_takes_back(tmp_path, monkeypatch):
    train(tmp_path, "CPNI-W")
    for attack, once, voted in (("none", 700, 740), ("pgd", 400, 480), ("epgd", 350, 360)):
        evaluate(tmp_path, "CPNI-W", attack, once, draws=1)
        evaluate(tmp_path, "CPNI-W", attack, voted - 6, sigma=0.24, draws=64)
    adds, taken = plain(words.headlines(tmp_path)).splitlines()[1:]
    assert "add +4.000 ±" in adds and "+8.0 ±" in adds and "tier cpu, n = 1,000" in adds
    assert "from 48.0 % to 36.0 %" in taken and taken.endswith("7.0 ± 6.1 points of the gain under PGD are gone.")
    for sigma, held in ((0.24, 300), (0.36, 320)):
        evaluate(tmp_path, "CPNI-W", "pgd", held, sigma=sigma, draws=64, split="heldout")
    assert "held-out images choose" not in words.headlines(tmp_path)  # nothing of it is measured on test images
    for attack, voted in (("none", 670), ("pgd", 460)):
        evaluate(tmp_path, "CPNI-W", attack, voted - 6, sigma=0.36, draws=64)
    adds = plain(words.headlines(tmp_path)).splitlines()[1]
    assert re.search("at the σ = 0.36 and M = 64 that held-out images choose, votes and noise add −3.0.* and .6.0 ± .*[.]$", adds), adds
    train(tmp_path, "plain")
    evaluate(tmp_path, "plain", "none", 740, draws=1)
    evaluate(tmp_path, "plain", "pgd", 360, draws=1)
    beside = plain(words.headlines(tmp_path)).splitlines()[-1]
    assert re.search("differs, in points, by [+−]0.* on clean images, .12.0 ± .* under PGD and .0.0 ± .* under EPGD [(]", beside)
    assert beside.endswith("(CPNI-W, σ = 0.24, M = 64; tier cpu, n = 1,000); not told apart from zero: clean and under EPGD.")
    assert words.in_short(tmp_path) == ""  # nothing of the attackers who know
    lead = Difference(-2.0, 0.1, np.inf, tier="cpu", n=1000)
    with monkeypatch.context() as patch:
        patch.setattr(words.adaptive, "last_lead", lambda folder: SimpleNamespace(attackers=17, lead=lead))
        said = plain(words.in_short(tmp_path))
    assert re.search("from that of the other by [+−]0.* points [(]not told apart from zero[)] on clean images, by .12.0 ± [0-9.]+ points"
                     " under PGD, by .0.0 ± [0-9.]+ points [(]not told apart from zero[)] under EPGD [(]tier cpu, n = 1,000[)] and by"
                     " −2.0 ± 0.2 points where for each image the best of 17 attacks counts [(]tier cpu, n = 1,000[)]", said), said
    assert "right on 48.0 % of the images (M = 64; tier cpu, n = 1,000), where the paper prints 55.9 % (M = 512). Tier cpu: " in said
    assert words.headlines(tmp_path / "evaluation").splitlines()[1:] == [f"- **What the vote adds.** {NOT_YET.capitalize()}."]


def test_the_first_page_tells_of_the_best_tier_that_has_all_of_smoothing(tmp_path):
    """CPNI-W alone of the better tier: nothing that it could be compared with, and nothing to be compared."""
    train(tmp_path, "EPGD-diverged", method="epgd", tier="long")
    for seed, tier in enumerate(("long", "fast")):
        train(tmp_path, "CPNI-W", tier=tier, seed=seed)
    for seed, tier in enumerate(("long", "fast")):
        for attack in ("none", "pgd", "epgd"):
            for sigma, draws, right in ((0, 1, 4000), (0.24, 64, 4500)):
                before = plain(words.headlines(tmp_path))
                evaluate(tmp_path, "CPNI-W", attack, right, n=10_000, tier=tier, sigma=sigma, draws=draws, training_seed=seed)
    assert "M = 64; tier long, n = 10,000)" in before and "M = 64; tier fast, n = 10,000)" in plain(words.headlines(tmp_path))


def test_a_second_vote_is_told_of_the_tier_with_most_base_models(tmp_path):
    for label, tier, seed in (("CPNI-W", "cpu", 0), ("Gauss", "cpu", 0), ("CPNI-W", "fast", 5)):
        train(tmp_path, label, tier=tier, seed=seed, method="gauss" if label == "Gauss" else "adversarial")
        evaluate(tmp_path, label, "none", 600, tier=tier, training_seed=seed)
    said = plain(words.two_votes(tmp_path))
    assert re.fullmatch(r"- Clean, two votes less one: \+0\.1 ± \S+ \(CPNI-W\), \+0\.1 ± \S+ \(Gauss\) points, the mean over σ"
                        r" \(tier cpu, n = 1,000\)\.", said), said
