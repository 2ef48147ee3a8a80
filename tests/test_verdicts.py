"""Claims one by one: each on cells made for it, where it holds, and on their mirror image, where it does not."""

import json
from itertools import product
from math import nan
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from siam import claims, runs
from siam.claims import rules
from siam.claims.common import Range, best_of_others
from siam.pages import tables
from siam.report import ATTACKS, BASES, NOT_YET

N, SIGMAS = 10_000, (0.0, 0.12, 0.24, 0.36)
NUMBERS = claims.listed().set_index("decided_by")["number"]


def cell(label, attack, sigma, M, percent, rule="prediction", method=None, n=N):
    low, high = runs.clopper_pearson(round(n * percent / 100), n)
    return pd.Series(dict(
        label=label, method=method or rules.METHODS.get(label, "adversarial"), recipe="", rule=rule, M=M, sigma=sigma, attack=attack,
        epsilon=8, tier="paper", n=n, batch_size=n, accuracy=percent / 100, low=low, high=high, std=0.0, runs=1, ids=(), luck=None,
        tuning=None, seeds=("0/0",), accuracies=(percent / 100,), networks=(label,), roots=(label,), right=(None,)))


def decide(name, cells, heldout=(), trained_with=0.24):
    """The verdict of a claim on some cells; heldout: (label, σ, M) that held-out images are to choose."""
    at = rules.placed(pd.DataFrame(cells))
    chosen = [cell(label, "pgd", sigma, M, 50.0) for label, sigma, M in heldout] or [cell("nobody", "pgd", 0, 1, 50.0)]
    recipe = json.dumps(dict(sigma=trained_with))
    frame = pd.DataFrame([dict(label="Gauss", method="gauss", recipe=recipe)])
    return claims.CLAIMS[name](rules.Measured(None, at, {}, {}, at, pd.DataFrame(chosen), frame), NUMBERS.get(name, nan)).verdict


def several(cell, accuracies):
    """The cell of so many runs of one network, in percent; the mean stays the cell's own."""
    k = len(accuracies)
    each = dict(accuracies=tuple(one / 100 for one in accuracies), seeds=tuple(f"0/{seed}" for seed in range(k)), ids=("id",) * k)
    each |= {name: cell[name] * k for name in ("networks", "roots", "right")}
    return pd.Series(cell.to_dict() | each | dict(runs=k))


def cells(labels, attacks, places, rule="prediction", method=None):
    """places: {(σ, M): percent}, the same for all labels and attacks."""
    return [cell(label, attack, sigma, M, percent, rule, method)
            for label, attack, ((sigma, M), percent) in product(labels, attacks, places.items())]


def voted(attacks, up, down, labels=BASES):
    """`up` % voted at σ = 0.24 and M = 64, `down` % in one pass without input noise."""
    return cells(labels, attacks, {(0.24, 64): up, (0, 1): down})


VOTED = [(label, 0.24, 64) for label in BASES]
CLEAN_PGD, ATTACKED = ("none", "pgd"), ("pgd", "epgd")
CPNI, GAUSS, CONVERGED, DIVERGED = (["CPNI-W"], ["Gauss"], ["EPGD-converged"], ["EPGD-diverged"])
PRINTED = tables.paper(3)
TOP = PRINTED.loc[PRINTED[PRINTED["label"] == "EPGD-diverged"]["pgd"].idxmax()]  # the paper's best row

# By claim: cells of which it holds where `up` is well above `down`, and what held-out images choose.
WORLDS = {
    "smoothing_helps": lambda up, down: (voted(ATTACKS, up, down), VOTED),
    "smoothing_matters": lambda up, down: (voted(["epgd"], up, down) + voted(["pgd"], 50, 50), VOTED),
    "epgd_beats_smoothed": lambda up, down: (voted(["pgd"], up, 40) + voted(["epgd"], down, 40), VOTED),
    "epgd_beats_base": lambda up, down: (
        voted(["pgd"], up, up, [*BASES, "PNI-W"]) + voted(["epgd"], down, down, [*BASES, "PNI-W"]), VOTED),
    "epgd_training_helps": lambda up, down: (
        cells(CONVERGED + DIVERGED, ATTACKED, {(0, 1): up, (0.24, 64): up}) + cells(CPNI, ATTACKED, {(0, 1): down, (0.24, 64): down}), ()),
    "diverged_is_best": lambda up, down: (
        voted(ATTACKED, up, 40, DIVERGED) + voted(ATTACKED, down, 40, [label for label in BASES if label not in DIVERGED]), VOTED),
    "obfuscation": lambda up, down: (voted(["pgd"], up, 40) + voted(["epgd"], down, 40), VOTED),
    "gauss_no_better": lambda up, down: (voted(ATTACKS, up, 40, CPNI) + voted(ATTACKS, down, 40, GAUSS), VOTED),
    "gauss_fits_smoothing": lambda up, down: (cells(GAUSS, ["none"], {(0.24, 64): up}) + cells(CPNI, ["none"], {(0.24, 64): down}), ()),
    "gauss_fits_attack": lambda up, down: (cells(GAUSS, ATTACKED, {(0.24, 64): up}) + cells(CPNI, ATTACKED, {(0.24, 64): down}), ()),
    "gauss_resilient": lambda up, down: (
        cells(GAUSS, ["none"], {(0, 8): 60, (0.48, 8): up}) + cells(CPNI, ["none"], {(0, 8): 60, (0.48, 8): down}), ()),
    "clean_falls": lambda up, down: (cells(BASES, ["none"], {(0, 8): up, (0.48, 8): down}), ()),
    "votes_help": lambda up, down: (cells(BASES, ATTACKS, {(0, 1): down, (0, 64): up, (0.24, 1): down, (0.24, 64): up}), ()),
    "trade_off": lambda up, down: (cells(BASES, ATTACKS, {(0.24, 1): down, (0.24, 8): (up + down) / 2, (0.24, 64): up}), ()),
    "diminishing_returns": lambda up, down: (cells(BASES, ATTACKS, {(0, 4): 30, (0, 16): up - 5, (0, 64): up + down - 40}), ()),
    "prediction_is_best": lambda up, down: (
        [one for rule in ("prediction", "soft", "soft-logits", "weighted") for one in cells(
            BASES, ATTACKS, {place: up if rule == "prediction" else down for place in product((0, 0.24), (8, 64))}, rule)], ()),
    "soft_is_easier": lambda up, down: (
        cells(BASES, ATTACKED, {(0.24, 64): up}) + [
            one for rule in ("soft", "soft-logits") for one in cells(BASES, ATTACKED, {(0.24, 64): down}, rule)], ()),
    "input_noise_helps": lambda up, down: (cells(BASES, ["pgd"], {(0.24, 64): up, (0, 64): down}), VOTED),
    "beats_pni": lambda up, down: (
        cells(DIVERGED, ["pgd"], {(TOP["sigma"], TOP["M"]): up + 10}, TOP["rule"]) + cells(["PNI-W"], ["pgd"], {(0, 1): down}), ()),
    "few_iterations": lambda up, down: (cells(DIVERGED, ["pgd"], {(0.24, 8): best_of_others() + up - down}), [(*DIVERGED, 0.24, 8)]),
    "transfer_is_weaker": lambda up, down: (cells(CPNI, ["transferred pgd"], {(0.02, 8): up}) + cells(CPNI, ["pgd"], {(0, 8): down}), ()),
    "any_defense": lambda up, down: (
        [one for method in ("plain", "adversarial") for one in cells(
            ["plain"], CLEAN_PGD, {(0, 1): down, (0.24, 64): up, (0.24, 8): 2 * down - up}, method=method)], ()),  # 8 votes do not decide
    "high_noise_degrades": lambda up, down: (cells(CPNI, ATTACKS, {(sigma, 8): up for sigma in (0, 0.24)} | {(0.97, 8): down}), ()),
    "randomness_helps": lambda up, down: (
        cells(CPNI + ["PNI-W"], ATTACKED, {(0, 1): up}) + cells(["plain"], ["pgd"], {(0, 1): down}), ()),
}


def with_more_noise(cells):
    """With cells at σ = 0.97, beyond the paper's axis, that say the opposite of the others."""
    return cells + [cell(of["label"], of["attack"], 0.97, of["M"], 95 - 100 * of["accuracy"], of["rule"], of["method"]) for of in cells]


@pytest.mark.parametrize("name", sorted(WORLDS.keys() - {"high_noise_degrades", "any_defense"}))  # these ask for any noise
def test_what_lies_beyond_the_papers_noise_decides_nothing(name):
    at, chosen = WORLDS[name](55.0, 40.0)
    assert decide(name, with_more_noise(at), chosen) == rules.HOLDS


@pytest.mark.parametrize("name, label, attack, M, rule", [
    ("high_noise_degrades", "CPNI-W", "pgd", 8, "prediction"), ("prediction_is_best", "Gauss", "pgd", 64, "soft")])
def test_the_best_noise_is_one_of_those_that_were_tested_on_most_images(name, label, attack, M, rule):
    at, chosen = WORLDS[name](55.0, 40.0)
    assert decide(name, [*at, cell(label, attack, 0.3, M, 90.0, rule, n=1000)], chosen) == rules.HOLDS


def test_an_optimum_is_of_four_strengths_of_noise_or_more_on_the_papers_axis_that_were_tested_on_as_many_images():
    at = [cell("CPNI-W", "pgd", sigma, 8, 50.0 if sigma == 0.24 else 30.0) for sigma in SIGMAS]
    aside = [cell("CPNI-W", "pgd", 0.3, 8, 90.0, n=1000), cell("CPNI-W", "pgd", 0.97, 8, 90.0)]

    def found(cells):
        return rules.optimum_of(SimpleNamespace(at=rules.placed(pd.DataFrame(cells))), "CPNI-W", "pgd")

    assert found(at + aside).best["sigma"] == 0.24 and len(found(at + aside).cells) == 4
    assert found(at[1:] + aside) is None


def test_of_1024_votes_the_best_noise_is_one_of_those_that_were_tested_on_most_images():
    at = [cell("EPGD-diverged", "pgd", 0.12, 1024, 70.0)]
    assert decide("votes_1024", at) == rules.HOLDS
    at = [cell("EPGD-diverged", "pgd", 0.12, 1024, 50.0), cell("EPGD-diverged", "pgd", 0.18, 1024, 70.0, n=1000)]
    assert decide("votes_1024", at) == rules.FAILS


def test_runs_on_unlike_numbers_of_images_are_not_compared():
    assert decide("lower_variance", correlated(0, 0.97)) == rules.PART
    assert decide("lower_variance", correlated(0, 0.97, n=1000)) == NOT_YET


@pytest.mark.parametrize("name", WORLDS)
def test_a_claim_holds_where_its_cells_say_so_and_fails_where_they_say_the_opposite(name):
    assert decide(name, *WORLDS[name](55.0, 40.0)) == rules.HOLDS
    assert decide(name, *WORLDS[name](40.0, 55.0)) == rules.FAILS


def alike(clean, pgd, epgd):
    """EPGD-converged and CPNI-W at M = 8, so many points apart."""
    apart = dict(zip(ATTACKS, (clean, pgd, epgd)))
    return [cell(label, attack, sigma, 8, 50.0 + (apart[attack] if label == "EPGD-converged" else 0))
            for label, attack, sigma in product(("EPGD-converged", "CPNI-W"), ATTACKS, SIGMAS)]


@pytest.mark.parametrize("name, apart, verdict", [
    ("converged_is_cpni", (0, 0, 0), rules.HOLDS), ("converged_is_cpni", (8, -8, 8), rules.FAILS),
    ("similar_but_epgd", (0, 0, 8), rules.HOLDS), ("similar_but_epgd", (0, 0, -8), rules.HOLDS),
    ("similar_but_epgd", (8, 8, 0), rules.FAILS), ("similar_but_epgd", (0, 0, 0), rules.PART),
])
def test_two_networks_that_should_agree(name, apart, verdict):
    assert decide(name, alike(*apart)) == verdict


@pytest.mark.parametrize("gain, verdict", [(1.5, rules.HOLDS), (6.0, rules.PART), (-6.0, rules.FAILS), (0.0, rules.OPEN)])
def test_what_votes_add_without_noise_is_no_more_than_the_paper_says(gain, verdict):
    assert decide("votes_without_noise", cells(BASES, ["none"], {(0, 1): 50.0, (0, 64): 50.0 + gain})) == verdict


@pytest.mark.parametrize("ahead, verdict", [(5.0, rules.HOLDS), (2.0, rules.PART), (-5.0, rules.FAILS)])
def test_prior_art_is_beaten_by_as_much_as_the_paper_says(ahead, verdict):
    at = cells(DIVERGED, ["pgd"], {(TOP["sigma"], TOP["M"]): best_of_others() + ahead}, TOP["rule"])
    assert decide("beats_prior_art", at) == verdict


@pytest.mark.parametrize("gauss, verdict", [(0.35, rules.HOLDS), (0.45, rules.PART), (0.25, rules.FAILS)])
def test_the_optimum_of_gauss_lies_as_much_higher_as_the_paper_says(gauss, verdict):
    at = [cell(label, attack, round(0.01 * k, 2), 8, 50.0 if round(0.01 * k, 2) == top else 30.0)
          for label, top in (("Gauss", gauss), ("CPNI-W", 0.25)) for attack in ATTACKED for k in range(20, 49)]
    assert decide("gauss_optimum", at) == verdict


@pytest.mark.parametrize("pairs, verdict", [(1, rules.FAILS), (2, rules.OPEN)])
def test_of_several_numbers_of_votes_each_counts_on_a_wider_interval(pairs, verdict):
    """512 votes are 2.1 standard errors below 16, and the runs hardly differ."""
    at = [several(cell("CPNI-W", "pgd", sigma, M, percent), (percent - 0.001, percent, percent + 0.001))
          for sigma in SIGMAS[:pairs] for M, percent in ((16, 50.0), (512, 48.5))]
    assert decide("sixteen_is_enough", at) == verdict


def correlated(sigma, r, n=N):
    """PGD and EPGD of five runs each, whose sum and difference have the correlation r."""
    one, other = np.array([-2, -1, 0, 1, 2]) / 10**0.5, np.array([2, -1, -2, -1, 2]) / 14**0.5
    apart = r * one + (1 - r**2) ** 0.5 * other
    return [several(cell("CPNI-W", "pgd", sigma, 64, 50.0), 50 + one + apart),
            several(cell("CPNI-W", "epgd", sigma, 64, 50.0, n=n), 50 + one - apart)]


@pytest.mark.parametrize("r, verdict", [(0.9, rules.OPEN), (0.97, rules.PART)])  # p = 0.037: below 0.05, and above half of it
def test_of_several_pairs_of_variances_each_is_told_apart_by_a_smaller_p_value(r, verdict):
    assert decide("lower_variance", correlated(0, r)) == rules.PART  # the other base models are not there
    assert decide("lower_variance", correlated(0, r) + correlated(0.24, 0)) == verdict


def test_what_images_and_what_training_leave_open_adds_up_in_a_level():
    one = cell("EPGD-diverged", "pgd", 0.18, 256, 59.6)
    one["luck"] = (0.24, 1e6)  # ± 0.96, as wide as the interval over images: either alone would leave it above 58.5

    def above(low, high):
        return rules.rises(Range(low - 58.5, high - 58.5))

    assert rules.level(SimpleNamespace(levels=()), lambda _: one, above, "").verdict == rules.OPEN
