"""Sentences about figures: where optima lie, which rule is ahead, and what cannot be told."""

import re

import numpy as np
import pytest
from conftest import plain

from siam import bits, paired, runs
from siam.claims import rules
from siam.pages import words_of_figures as words
from test_report import digest, evaluate, folder, train, transfer  # noqa: F401


def sweep(results, label, levels, attack="pgd", moved=None, draws=8):
    """Cells of 1,000 images, told image by image. levels: {σ: how many are right}; moved: {(rule, M): how many more}."""
    images = np.arange(1000) * 7 % 1000  # each batch has its share
    for sigma, level in levels.items():
        run = runs.EvaluationRun(f"{label.lower()}-0", digest(label, 0), attack, sigma=sigma, draws=draws, images=1000,
                                 batch_size=100)
        right = {key: images < level + more for key, more in (moved or {("prediction", 1): 0, ("prediction", 8): 0}).items()}
        result = [runs.row(rule, M, int(of.sum()), 1000) for (rule, M), of in right.items()]
        runs.write(runs.record(run, tier="cpu", n=1000, result=result, right=bits.pack(list(right.values()))), results)


def test_words_say_where_the_optimum_lies_and_what_votes_add(tmp_path):
    train(tmp_path, "CPNI-W")
    sweep(tmp_path, "CPNI-W", {0: 400, 0.12: 500, 0.24: 600, 0.36: 500}, moved={("prediction", 1): 0, ("prediction", 8): 50})
    said = plain(words.figure1(tmp_path))
    assert said.splitlines()[0] == ("- Accuracy under PGD is highest at σ = 0.24 (surely between 0.12 and 0.36) for M = 1 and"
                                    " M = 8 (tier cpu, n = 1,000).")
    assert "- CPNI-W: M = 8 instead of 1 adds, in points averaged over 4 σ, +5.0 ± " in said and "zero" not in said
    sweep(tmp_path, "CPNI-W", {0.48: 700})
    said = plain(words.figure1(tmp_path))
    assert "highest at σ = 0.48 (surely above 0.36) for M = 1 and M = 8" in said


def test_the_ranges_of_a_page_hold_together(tmp_path, monkeypatch):
    asked, optimum_of = [], rules.optimum_of
    monkeypatch.setattr(rules, "optimum_of", lambda *given, ranges, **at: asked.append(ranges) or optimum_of(*given, ranges=ranges, **at))
    for label, method in (("CPNI-W", "adversarial"), ("Gauss", "gauss")):
        train(tmp_path, label, method=method)
        for attack in ("none", "pgd", "epgd"):
            sweep(tmp_path, label, dict.fromkeys((0, 0.12, 0.24, 0.36), 400), attack)
    words.figure1(tmp_path)
    assert asked == [6] * 6  # three attacks, M = 1 and 8
    words.figure3(tmp_path)
    assert asked[6:] == [4] * 4  # two attacks, two base models


def test_words_say_over_which_noise_a_mean_is_taken(tmp_path):
    train(tmp_path, "CPNI-W")
    moved = {("prediction", 1): 0, ("prediction", 8): 50}
    for attack, sigmas in (("none", (0, 0.24)), ("pgd", (0, 0.12, 0.24, 0.36))):
        sweep(tmp_path, "CPNI-W", dict.fromkeys(sigmas, 400), attack, moved)
    (said,) = words._votes(rules.read(tmp_path)[0], "CPNI-W", ("none", "pgd"))
    said = re.sub(" ± [\\d.]+", "", plain(said))
    assert "in points averaged over σ, +5.0 (Clean over σ = 0 and 0.24), +5.0 (PGD over 4 σ) (" in said


def test_words_say_what_cannot_be_told(tmp_path):
    train(tmp_path, "CPNI-W")
    sweep(tmp_path, "CPNI-W", {0: 400, 0.24: 420}, moved={("prediction", 1): 0, ("prediction", 8): 0})
    said = plain(words.figure1(tmp_path))
    assert "Too few σ are measured to tell where accuracy under PGD is highest." in said
    assert "+0.0 ± 0.0 (PGD); it is not told apart from zero (tier cpu, n = 1,000)." in said


def test_words_say_which_rule_is_ahead(tmp_path):
    train(tmp_path, "CPNI-W")
    moved = {("prediction", 8): 0, ("soft", 8): 30, ("weighted", 8): 0}
    sweep(tmp_path, "CPNI-W", {0: 400, 0.24: 420}, moved=moved)
    soft, weighted = plain(words.figure2(tmp_path)).splitlines()
    assert soft.startswith("- Prediction less soft, in points averaged over σ and the base models: −3.0 ± ")
    assert "is above soft in 0 and below it in 1; in 0 the two are not told apart" in soft
    assert "it is not told apart from zero" in weighted
    assert "above weighted in 0 and below it in 0; in 1 the two are not told apart" in weighted
    sweep(tmp_path, "CPNI-W", {0.12: 400}, moved={("prediction", 64): 0, ("soft", 64): 30, ("soft-logits", 64): -50}, draws=64)
    many = plain(words.figure2(tmp_path)).splitlines()[2]
    assert many.startswith("- With 64 votes, where ties are few, prediction less soft under attack, in points averaged over σ and 1 pair of"
                           " model and attack: −3.0 ± ")
    assert "(soft on probabilities), +5.0 ± " in many


def test_words_name_the_optima_of_the_base_models(tmp_path):
    for label, method, best in (("CPNI-W", "adversarial", 0.12), ("Gauss", "gauss", 0.24)):
        train(tmp_path, label, method=method)
        sweep(tmp_path, label, {sigma: 600 if sigma == best else 400 for sigma in (0, 0.12, 0.24, 0.36)})
    line = plain(words.figure3(tmp_path)).splitlines()[0]
    assert line == ("- Accuracy with 8 votes under PGD is highest at σ = 0.12 (surely between 0 and 0.24) for CPNI-W; at σ = 0.24"
                    " (surely between 0.12 and 0.36) for Gauss (tier cpu, n = 1,000).")


def test_words_compare_noise_at_each_epsilon_and_attacks_of_as_many_gradients(folder):  # noqa: F811
    for sigma, correct in ((0.0, 500), (0.24, 700)):
        evaluate(folder, "CPNI-W", "pgd", correct, epsilon=4.0, step_size=1.0, sigma=sigma)
    said = plain(words.figure4(folder))
    assert said.startswith("- Input noise of σ = 0.24 instead of σ = 0 adds, in points, +20.0 ± ") and "(ε = 4), +3.0 ± " in said
    assert "; not told apart from zero: ε = 8" in said
    for steps, samples, correct in ((7, 8, 500), (56, 1, 400)):
        attack = "pgd" if samples == 1 else "epgd"
        run = runs.EvaluationRun("cpni-w-0", digest("CPNI-W", 0), attack, steps=steps, samples=samples, draws=64)
        runs.write(runs.record(run, tier="cpu", n=1000, result=[runs.row("prediction", 64, correct, 1000)]), folder)
    assert plain(words.effort(folder)).startswith(
        "- Of 1 comparison at the same number of gradients, more steps win 1 and averaging wins 0; accuracy under EPGD less"
        " that under PGD, in points: +10.0 ± ")
    each = {name: paired.Difference(points, error, 100, tier="cpu", n=1000, runs=1) for name, points, error in (("a", 5, 1), ("b", 2.2, 1))}
    assert "more steps win 1 and averaging wins 0, in 1 the two are not told apart; " in plain(words._more_steps_or_averages(each))


def test_words_compare_attacks_made_elsewhere_with_those_on_the_network_itself(folder):  # noqa: F811
    train(folder, "CPNI-W", seed=1)
    train(folder, "PNI-W")
    train(folder, "EPGD-diverged", method="epgd")
    for source, correct in ((("CPNI-W", 0), 300), (("CPNI-W", 1), 400), (("PNI-W", 0), 350), (("EPGD-diverged", 0), 310)):
        transfer(folder, "pgd", correct, 0, source=source)
    assert plain(words.transfers(folder)).startswith(
        "- Accuracy of the base models of section 5 under an attack made on another network, less that under one made on the network"
        " itself, in points: +1.0 ± ")
    said = re.findall(r"\+(\d+\.\d) ± \d\.\d \(made on ([^)]+)\)", plain(words.transfers(folder)))
    assert said == [("1.0", "a network that shares its first training"), ("5.0", "PNI-W"), ("10.0", "a second CPNI-W")]


@pytest.mark.parametrize("said", [getattr(words, name) for name in ("figure1", "figure2", "figure3", "figure4", "effort", "transfers")])
def test_words_of_nothing_say_so(tmp_path, said):
    assert said(tmp_path) == "Not yet measured."
