"""Tables and figures on synthetic records: the right cell, the best tier, nothing invented."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from siam import book, claims, paired, paths, report, runs
from siam.claims.rules import METHODS, read
from siam.pages import figures, findings, style, tables, ties, words_of_figures, words_of_tables

DIGITS = {"CPNI-W": "a", "PNI-W": "b", "Gauss": "c", "EPGD-diverged": "d", "EPGD-converged": "f", "plain": "e",
          "CPNI-W r=0": "0", "CPNI-W r=2": "2", "CPNI-W r=10": "1"}


def digest(label, seed):
    return (DIGITS[label] + str(seed)) * 8


def name(label, seed):
    return f"{label.lower().replace(' r=', '-r-')}-{seed}"


def train(folder, label, tier="cpu", seed=0, method="adversarial", epochs=2, start_seed=0, also=(), heldout=40, plan=(), **asked):
    variant = label if label in runs.VARIANTS else "CPNI-W"
    sigma = 0.24 if method == "gauss" else 0
    start = digest("CPNI-W", start_seed) if method in ("gauss", "epgd") else None
    schedule = {"tier": tier, "epochs": epochs, **dict(plan)}
    run = runs.TrainingRun(variant, method, schedule, seed=seed, sigma=sigma, start=start, **asked)
    kept = [{"name": name(label, seed), "label": label, "digest": digest(label, seed),
             "epoch": epochs, "heldout": {"n": 100, "clean": 70, "adversarial": heldout}} for label in (label, *also)]
    runs.write(runs.record(run, tier=tier, checkpoints=kept, history=[], seconds=1.0), folder)


def evaluate(folder, label, attack, correct, n=1000, tier="cpu", sigma=0.0, draws=8, seed=0, training_seed=0,
             rules=("prediction", "soft"), **asked):
    run = runs.EvaluationRun(name(label, training_seed), digest(label, training_seed), attack,
                             sigma=sigma, samples=8 if attack.startswith("epgd") else 1, draws=draws, images=n,
                             seed=seed, **asked)
    result = [runs.row(rule, 2**k, correct + k, n) for rule in rules for k in range(draws.bit_length())]
    runs.write(runs.record(run, tier=tier, n=n, result=result), folder)
    return run


@pytest.fixture
def folder(tmp_path):
    """CPNI-W at σ = 0 and 0.24 up to M = 8, clean and PGD, and a held-out grid; nothing else."""
    train(tmp_path, "CPNI-W")
    for sigma, clean, pgd in ((0.0, 700, 400), (0.24, 650, 430)):
        evaluate(tmp_path, "CPNI-W", "none", clean, sigma=sigma)
        evaluate(tmp_path, "CPNI-W", "pgd", pgd, sigma=sigma)
        evaluate(tmp_path, "CPNI-W", "pgd", round(pgd / 2), n=500, sigma=sigma, split="heldout")
    return tmp_path


def line(table, **values):
    frame = table.frame
    for column, value in values.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


def test_frames_join_training_and_keep_unknown_networks(folder):
    evaluate(folder, "Gauss", "none", 10)  # no training record
    frame = report.evaluations(folder)
    assert set(frame["label"]) == {"CPNI-W", "gauss-0"}
    ours = frame[frame["label"] == "CPNI-W"]
    assert len(ours) == 6 * 2 * 4 and set(ours["method"]) == {"adversarial"}
    assert set(ours["training_seed"]) == {0}
    assert list(report.trainings(folder)["heldout_n"]) == [100]


def test_frames_of_nothing_have_their_columns(tmp_path):
    assert {"label", "accuracy", "tier", "sigma"} <= set(report.evaluations(tmp_path).columns)
    assert report.evaluations(tmp_path).empty and report.trainings(tmp_path).empty


def test_a_corrupt_record_is_named(folder):
    path = next((folder / "evaluation").glob("*.json"))
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=path.name):
        report.evaluations(folder)


def test_difference_and_interval_of_a_table(folder):
    row = line(tables.table(1, folder), Method="CPNI-W", Attack="PGD")
    assert row["Paper, %"] == "48.84 ± 0.55" and row["Ours, %"] == "40.00"
    assert row["Difference"] == "−8.84"  # no std at a tier that is no reproduction
    low, high = runs.clopper_pearson(400, 1000)
    assert row["95 % interval"] == f"{100 * low:.1f}–{100 * high:.1f}"
    assert (row["Tier"], row["n"], row["Runs"]) == ("cpu", "1,000", "1 (0/0)")
    assert len(row["Records"]) == 1


def test_what_is_not_measured_says_so_and_what_is_not_ours_is_a_dash(folder):
    table = tables.table(1, folder)
    missing = table.frame[table.frame["Method"] == "CPNI-A-a"]
    assert list(missing["Ours, %"]) == [style.NOT_YET] * 2 and set(missing["Records"]) == {()}
    theirs = table.frame[table.frame["Rows"] == "printed by He et al. [16], 5 runs"]
    assert "Measured: 2 of the 8 cells" in table.caption
    assert set(theirs["Ours, %"]) == {"–"}


def test_two_runs_have_a_std_and_one_has_none(folder):
    train(folder, "CPNI-W", seed=1)
    evaluate(folder, "CPNI-W", "pgd", 420, training_seed=1)
    table = tables.table(1, folder)
    row = line(table, Method="CPNI-W", Attack="PGD")
    assert row["Ours, %"] == "41.00 ± 1.41" and row["Runs"] == "2 (0–1 / 0)" and len(row["Records"]) == 2
    assert "±" not in line(table, Method="CPNI-W", Attack="Clean")["Ours, %"]
    assert "One run has no std" in table.caption


@pytest.mark.parametrize("pairs, short", [
    (["0/0"], "0/0"), (["0/0", "0/1", "0/2"], "0 / 0–2"), ([f"{a}/{b}" for a in range(3) for b in range(12)], "0–2 / 0–11"),
    (["0/0", "0/2"], "0 / 0, 2"), (["0/0", "0/1", "1/0"], "0/0, 0/1, 1/0"), (["?/0", "?/1"], "? / 0–1"),
])
def test_seeds_are_named_in_short(pairs, short):
    assert tables._seeds(tuple(pairs)) == short


def test_many_records_fold(folder):
    few, many = (style.links(tuple(f"{i:016x}" for i in range(k))) for k in (4, 5))
    assert few.count("<a ") == 4 and "details" not in few
    assert many.count("<a ") == 5 and many.startswith("<details><summary>5 records</summary>")


def test_best_tier_wins_then_most_images_and_tiers_are_not_averaged(folder):
    evaluate(folder, "CPNI-W", "pgd", 50, n=100, tier="smoke", split="sample-test")
    evaluate(folder, "CPNI-W", "pgd", 100, n=500)
    row = line(tables.table(1, folder), Method="CPNI-W", Attack="PGD")
    assert (row["Ours, %"], row["Tier"], row["n"]) == ("40.00", "cpu", "1,000")
    evaluate(folder, "CPNI-W", "pgd", 4500, n=10_000, tier="fast")
    row = line(tables.table(1, folder), Method="CPNI-W", Attack="PGD")
    assert (row["Ours, %"], row["Tier"], row["n"]) == ("45.00", "fast", "10,000")
    assert "cpu" in tables.table(1, folder).caption  # the clean cell is still cpu, and the caption says so


def test_other_recipes_are_not_averaged(folder):
    """The one trained longest stands for the network, then the one that held-out images prefer; not the one with most cells."""
    for seed, of, shown in ((1, dict(epochs=1, heldout=90), "40.00"), (2, dict(heldout=39, plan={"lr": 1}), "40.00"),
                            (3, dict(heldout=41, plan={"lr": 2}), "93.00"), (4, dict(epochs=9, heldout=5), "94.00")):
        train(folder, "CPNI-W", seed=seed, **of)
        evaluate(folder, "CPNI-W", "pgd", 900 + 10 * seed, training_seed=seed)
        row = line(tables.table(1, folder), Method="CPNI-W", Attack="PGD")
        assert (row["Ours, %"], row["Runs"]) == (shown, "1 (0/0)" if shown == "40.00" else f"1 ({seed}/0)")


def test_a_curve_has_one_recipe(folder):
    train(folder, "CPNI-W", seed=1, heldout=40, plan={"lr": 1})
    for sigma in (0.24, 0.36):
        evaluate(folder, "CPNI-W", "pgd", 900, sigma=sigma, training_seed=1)

    def curve():
        frame = figures.figure1(folder).numbers.frame
        frame = frame[frame["Panel"] == "PGD"]
        return dict(zip(frame["σ (normalised units)"], (text[:4] for text in frame["M = 1"])))

    assert curve() == {"0": "40.0", "0.24": "43.0"}  # nothing at 0.36: that is another network
    evaluate(folder, "CPNI-W", "pgd", 1800, n=2000, sigma=0.12, training_seed=1)
    assert curve() == {"0": "40.0", "0.24": "43.0"}  # more cells beat more images, of which a cell or two may have most
    for sigma in (0.4, 0.44, 0.48):
        evaluate(folder, "CPNI-W", "pgd", 900, sigma=sigma, training_seed=1)
    assert set(curve()) == {"0.12", "0.24", "0.36", "0.4", "0.44", "0.48"}
    evaluate(folder, "CPNI-W", "pgd", 7000, n=10_000, tier="fast", sigma=0.12)
    assert curve() == {"0.12": "70.0"}  # and a better tier beats both
    assert {r["Ours, %"] for _, r in tables.table(1, folder).frame.iterrows()} >= {"40.00", "70.00"}


def test_recipes_are_told_apart_to_the_network_that_was_fine_tuned(folder):
    train(folder, "CPNI-W", seed=1)
    train(folder, "CPNI-W", seed=2, epochs=9)
    for seed in (0, 1, 2):
        train(folder, "Gauss", seed=seed, method="gauss", start_seed=seed)
    recipes = report.trainings(folder).query("label == 'Gauss'").set_index("seed")["recipe"]
    assert recipes[0] == recipes[1] != recipes[2]


def test_a_normally_trained_noisy_network_stands_in_for_nothing(folder):
    before = figures.figure1(folder).numbers.frame, tables.table(3, folder).frame, tables.summary(folder)
    train(folder, "CPNI-W", seed=1, method="plain")
    for split in ("test", "heldout"):
        evaluate(folder, "CPNI-W", "pgd", 990, sigma=0.24, training_seed=1, split=split)
    after = figures.figure1(folder).numbers.frame, tables.table(3, folder).frame, tables.summary(folder)
    assert before[0].equals(after[0]) and before[1].equals(after[1]) and before[2] == after[2]
    assert 0.99 in set(report.evaluations(folder)["accuracy"])  # it is known, and left out


def test_the_precision_is_said_and_a_curve_keeps_to_one(folder):
    assert "precision fp32." in figures.figure1(folder).caption
    for sigma in (0.12, 0.24, 0.36):
        for attack, correct in (("none", 800), ("pgd", 500)):
            evaluate(folder, "CPNI-W", attack, correct, sigma=sigma, precision="bf16")
    figure = figures.figure1(folder)
    assert "precision bf16 and fp32." in figure.caption  # σ = 0 is there in fp32 only
    frame = figure.numbers.frame.set_index(["Panel", "σ (normalised units)"])
    assert frame.loc[("PGD", "0.24"), "M = 1"].startswith("50.0")  # not its fp32 twin amid the others' bf16
    assert "precision fp32." in tables.table(1, folder).caption


def transfer(folder, attack, correct, source_sigma, source=("CPNI-W", 1), **asked):
    evaluate(folder, "CPNI-W", attack, correct, sigma=0.02, source=digest(*source), source_sigma=source_sigma,
             **asked)


def test_table4_fills_from_transferred_attacks(folder):
    train(folder, "CPNI-W", seed=1)
    for attack, correct, source_sigma in (("pgd", 600, 0), ("pgd", 580, 0.02), ("epgd", 500, 0.02)):
        transfer(folder, attack, correct, source_sigma)
    table = tables.table(4, folder)
    eight = table.frame[table.frame["M"] == "8"].set_index("Attack")["Ours, %"]
    assert list(eight.index) == ["transferred PGD", "transferred PGD-s", "transferred EPGD"]
    assert list(eight) == ["60.30", "58.30", "50.30"]
    assert "Measured: 6 of the 6 cells" in table.caption
    assert [ours.split(" ±")[0] for ours in tables.contrasts(4, folder).frame["Ours"]] == ["+0.1"] * 3
    assert "0.02" not in set(figures.figure1(folder).numbers.frame["σ (normalised units)"])


@pytest.mark.parametrize("asked", [
    dict(steps=3), dict(source=("PNI-W", 0)), dict(source=("CPNI-W", 0)), dict(source=("Gauss", 0)),
], ids=["fewer steps", "another label", "the network itself", "an unknown source"])
def test_table4_takes_the_papers_attack_on_a_second_network_only(folder, asked):
    train(folder, "CPNI-W", seed=1)
    train(folder, "PNI-W")
    transfer(folder, "pgd", 600, 0, **asked)
    assert set(tables.table(4, folder).frame["Ours, %"]) == {style.NOT_YET}


def test_two_sources_are_two_runs(folder):
    for seed in (1, 2):
        train(folder, "CPNI-W", seed=seed)
        transfer(folder, "pgd", 500 + 100 * seed, 0, source=("CPNI-W", seed))
    row = line(tables.table(4, folder), M="4", Attack="transferred PGD")
    assert row["Ours, %"].startswith("65.20 ±") and row["Runs"].startswith("2 ")


def test_the_map_of_transfers_has_a_row_a_source_and_a_column_a_target(folder):
    train(folder, "CPNI-W", seed=1)
    train(folder, "plain", method="plain")
    for source, correct in ((("CPNI-W", 0), 300), (("CPNI-W", 1), 400), (("plain", 0), 650)):
        transfer(folder, "pgd", correct, 0, source=source)
    transfer(folder, "pgd", 900, 0.02, source=("plain", 0))  # a source with input noise is another question
    evaluate(folder, "CPNI-W", "none", 690, sigma=0.02)
    figure = figures.transfers(folder)
    evaluate(folder, "CPNI-W", "none", 640, sigma=0.02, draws=64)  # of another sweep, more votes: the same cell again
    assert figures.transfers(folder).numbers.frame.equals(figure.numbers.frame)
    assert "Colours run from 30 to 40 %" in figure.caption  # of 30 to 69
    frame = figure.numbers.frame.set_index("Made on")
    assert list(frame.index) == ["CPNI-W", "CPNI-W, seed 1", "plain, normal training", "no attack"]
    assert [text.split()[0] for text in frame["CPNI-W"]] == ["30.3", "40.3", "65.3", "69.3"]
    assert list(frame.columns) == ["Panel", "CPNI-W", "Records"] and all(len(ids) == 1 for ids in frame["Records"])
    assert figure.panels[0].count(">30<") == 1 and "made on: CPNI-W: 30 to 30 %" in figure.panels[0]
    assert figure.panels[0].startswith('<div class="table-scroll" tabindex="0"') and "min-width" in figure.panels[0]
    assert figures.transfers(folder / "training").panels == []


def test_networks_of_two_tiers_have_two_names(folder):
    for seed, tier in ((1, "long"), (2, "cpu")):
        train(folder, "Gauss", seed=seed, method="gauss", tier=tier)
    known = report.trainings(folder)
    known = known.assign(seed=known["seed"].where(known["label"] != "Gauss", 0))  # as a first training of each tier has
    names = figures.network_names(known, set(known["digest"]))
    assert sorted(names.values()) == ["CPNI-W", "Gauss, tier cpu", "Gauss, tier long"]
    assert figures.network_names(known, {digest("Gauss", 1)}) == {digest("Gauss", 1): "Gauss"}


def better_trained(folder):
    """CPNI-W of a better tier, that has met the paper's attacks and nothing else."""
    train(folder, "CPNI-W", tier="long", seed=5, epochs=40)
    for attack in ("pgd", "epgd"):
        evaluate(folder, "CPNI-W", attack, 6000, n=10_000, tier="long", training_seed=5, draws=64)


def test_attacks_are_drawn_against_the_gradients_they_take(folder):
    for steps, samples in ((1, 1), (7, 8), (56, 1)):
        run = runs.EvaluationRun("cpni-w-0", digest("CPNI-W", 0), "pgd" if samples == 1 else "epgd", steps=steps, samples=samples, draws=64)
        runs.write(runs.record(run, tier="cpu", n=1000, result=[runs.row("prediction", 64, 500 - steps, 1000)]), folder)
    frame = figures.effort(folder).numbers.frame
    assert list(frame["Gradients"]) == ["56", "1", "56"] and list(frame["Steps"]) == ["7", "1", "56"]
    assert [text.split()[0] for text in frame["Accuracy"]] == ["49.3", "49.9", "44.4"]
    better_trained(folder)
    assert figures.effort(folder).numbers.frame.equals(frame)
    assert figures.effort(folder / "training").panels == []


def test_weaker_attacks_do_not_stand_in_for_the_papers(folder):
    train(folder, "PNI-W")
    evaluate(folder, "PNI-W", "pgd", 900, steps=3)
    evaluate(folder, "PNI-W", "pgd", 900, epsilon=4.0, step_size=1.0)
    row = line(tables.table(1, folder), Method="PNI-W", Attack="PGD", Rows="printed by the paper, 10 runs")
    assert row["Ours, %"] == style.NOT_YET
    run = runs.EvaluationRun("cpni-w-0", digest("CPNI-W", 0), "epgd", samples=16, sigma=0.24, draws=512)  # of a cell of Table 3
    runs.write(runs.record(run, tier="cpu", n=1000, result=[runs.row("prediction", 512, 450, 1000)]), folder)
    assert run.id not in set(report.as_in_paper(report.evaluations(folder))["id"])
    assert "Measured: 0 of the 30 cells" in tables.table(3, folder).caption


@pytest.fixture
def own(monkeypatch):
    """An attack and a voting rule of the reader's own."""
    monkeypatch.setattr(runs, "ATTACKS", (*runs.ATTACKS, "zoo"))
    monkeypatch.setattr(runs, "RULES", (*runs.RULES, "borda"))


def test_an_attack_of_ones_own_is_in_no_number_of_the_papers(folder, own):
    def shown():
        parts = [*(tables.table(number, folder) for number in (1, 2, 3, 4)), tables.summary(folder), tables.cards(folder),
                 *(draw(folder) for draw in (figures.figure1, figures.figure2, figures.figure4, figures.effort)),
                 *(draw(folder) for draw in (findings.lengths, findings.gains, findings.units, findings.calibration)),
                 claims.table(claims.verdicts(folder))]
        return [part if isinstance(part, str) else part._repr_html_() for part in parts]

    def others():
        (measured,) = read(folder)
        return {at: cell["ids"] for at, cell in measured.others.items()}

    before = shown(), others()
    for n in (1000, 10_000):
        run = evaluate(folder, "CPNI-W", "zoo", 900, n=n, sigma=0.24, rules=("prediction", "borda"))
    assert (shown(), others()) == before
    frame = report.with_own(report.evaluations(folder))
    assert run.id in set(frame["id"]) and run.id not in set(report.as_in_paper(frame)["id"])
    (cell,) = report.cells(report.select(frame, attack="zoo", rule="borda", M=8)).itertuples()
    assert cell.ids == (run.id,) and cell.n == 10_000


def test_a_rule_of_ones_own_does_not_choose_whose_numbers_are_shown(tmp_path, own):
    for seed, counted in enumerate((("prediction", "borda"), ("prediction",))):
        train(tmp_path, "CPNI-W", seed=seed, epochs=2 + seed)
        evaluate(tmp_path, "CPNI-W", "pgd", 400, training_seed=seed, rules=counted)
    frame = report.evaluations(tmp_path)
    assert set(report.usual(frame)["digest"]) == {digest("CPNI-W", 1)} and set(report.usual(frame)["rule"]) == {"prediction"}
    assert set(report.with_own(frame)["rule"]) == {"prediction", "borda"}


def test_plain_rows_keep_normal_and_adversarial_training_apart(folder):
    train(folder, "plain", method="plain")
    evaluate(folder, "plain", "pgd", 3)
    table = tables.table(1, folder)
    assert line(table, Method="plain, normal training", Attack="PGD")["Ours, %"] == "0.30"
    assert line(table, Method="plain, adversarial training", Attack="PGD")["Ours, %"] == style.NOT_YET


def test_table3_names_its_choices_and_never_substitutes(folder):
    frame = tables.table(3, folder).frame
    printed = frame[(frame["Base model"] == "CPNI-W") & (frame["Rows"] == tables.PAPERS_CHOICE)]
    assert set(printed["Ours, %"]) == {style.NOT_YET}  # the paper has M = 512, ours stops at 8
    assert "follows in a part of its own" in tables.table(3, folder).caption
    near = frame[frame["Rows"] == "Ours at tier cpu; " + tables.NEAREST]
    assert set(near["Base model"]) == {"CPNI-W"}
    assert set(zip(near["M"], near["σ"])) == {("8", "0"), ("8", "0.24")}
    assert set(near["Paper, %"]) == {"–"} and set(near["Difference"]) == {""}


def test_table3_chooses_on_heldout_and_reports_test(folder):
    frame = tables.table(3, folder).frame
    chosen = frame[frame["Rows"] == "Ours at tier cpu; " + tables.CHOSEN + ", n = 500"]
    row = chosen[(chosen["Rule"] == "prediction") & (chosen["Attack"] == "PGD")].iloc[0]
    assert (row["M"], row["σ"], row["Ours, %"], row["n"]) == ("8", "0.24", "43.30", "1,000")


def test_exact_cell_of_table3_is_compared_and_then_needs_no_neighbour(folder):
    evaluate(folder, "CPNI-W", "pgd", 450, sigma=0.24, draws=512)
    frame = tables.table(3, folder).frame
    row = frame[(frame["M"] == "512") & (frame["σ"] == "0.24") & (frame["Attack"] == "PGD")].iloc[0]
    assert row["Ours, %"] == "45.90" and row["Difference"] == "−10.02"
    near = frame[frame["Rows"].str.endswith(tables.NEAREST)]
    assert set(near["σ"]) == {"0"}


def test_table3_counts_the_authors_soft_rule_as_a_row_of_its_own(folder):
    train(folder, "EPGD-diverged", method="epgd")
    evaluate(folder, "EPGD-diverged", "pgd", 450, sigma=0.19, draws=512, rules=("soft-logits",))
    table = tables.table(3, folder)
    row = line(table, Rule="soft-logits", Attack="PGD", σ="0.19")
    assert row["Paper, %"] == "58.32 ± 0.33" and row["Ours, %"] == "45.90"
    assert "Measured: 0 of the 30 cells" in table.caption


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_tables_of_nothing_print_the_papers_numbers(tmp_path, number):
    table = tables.table(number, tmp_path)
    printed = tables.paper(number)
    for column in tables.TABLES[number][2]:
        shown = [float(text.split()[0]) for text in table.frame["Paper, %"] if text != "–"]
        assert set(printed[column]) <= set(shown)
    assert set(table.frame["Ours, %"]) <= {style.NOT_YET, "–"}
    assert style.NOT_YET in repr(table) and "No record holds any" in table.caption


def test_table_html_is_well_formed_and_links_records(folder):
    text = re.sub('<tr class="names">.*?</tr>', "", tables.table(3, folder)._repr_html_())
    assert text.count("<tr>") == text.count("</tr>") and '<div class="table-scroll"' in text
    for number, span in enumerate(re.findall(r'rowspan="(\d+)"', text)):
        assert int(span) >= 1
    ids = {path.stem for path in (folder / "evaluation").glob("*.json")}
    linked = set(re.findall(r'href="\.\./data/results/evaluation/(\w+)\.json"', text))
    assert linked and linked <= ids
    # Every line of the grid is as wide as the head: cells plus the row headers that span it.
    width, covered = text.count('scope="col"'), []
    for row in re.findall(r"<tr>(.*?)</tr>", text)[1:]:
        if "rowgroup" in row:
            assert not [left for left in covered if left > 1] and f'colspan="{width}"' in row
            covered = []
            continue
        covered = [left - 1 for left in covered if left > 1]
        assert len(covered) + row.count("<td") + row.count("<th") == width
        covered += [int(span) for span in re.findall(r'rowspan="(\d+)"', row)]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_contrasts_of_nothing_give_the_papers_side_only(tmp_path, number):
    table = tables.contrasts(number, tmp_path)
    assert len(table.frame) == len(tables.CONTRASTS[number]) * len(tables.TABLES[number][2])
    assert all(table.frame["Paper"].str.match(r"[+−]\d")) and set(table.frame["Ours"]) == {style.NOT_YET}
    assert "Not yet measured by us" in table.caption


def test_each_training_weighs_the_same_in_a_cell(tmp_path):
    """One network is evaluated with five seeds and two with the first of them alone: the cell is of that seed."""
    for training, correct in enumerate((700, 500, 510)):
        train(tmp_path, "CPNI-W", seed=training)
        for seed in range(5 if training == 0 else 1):
            evaluate(tmp_path, "CPNI-W", "none", correct - 10 * seed, training_seed=training, seed=seed, draws=1, rules=("prediction",))
    (cell,) = (one for _, one in report.cells(report.evaluations(tmp_path)).iterrows())
    assert (cell["runs"], cell["seeds"], cell["accuracies"]) == (3, ("0/0", "1/0", "2/0"), (0.7, 0.5, 0.51))
    assert cell["accuracy"] == pytest.approx(0.57) and cell["std"] == pytest.approx(np.std([0.7, 0.5, 0.51], ddof=1))


def test_contrasts_compare_like_with_like(folder):
    train(folder, "PNI-W")
    evaluate(folder, "PNI-W", "pgd", 380)
    evaluate(folder, "PNI-W", "none", 350, n=500)
    clean, pgd = tables.contrasts(1, folder).frame.iloc[:2, 1:7].to_numpy().tolist()
    assert pgd == ["PGD", "+2.73", "+2.0 ± 4.3", "cpu", "M = 1, σ = 0", "1,000"]
    assert clean == ["Clean", "−4.36", style.NOT_YET, "", "", ""]  # other numbers of images


def test_a_contrast_says_what_images_and_draws_alone_leave_unsure(folder, monkeypatch):
    def column(luck):
        one = paired.by_image(each, 10, luck, tier="cpu", n=100, runs=1)
        monkeypatch.setattr(tables, "compared", lambda number, folder: [("a row", "pgd", 1.0, [(one, "M = 1")])])
        return tables.contrasts(1, folder).frame.get(tables.ALONE)

    each = 100 * np.random.default_rng(0).integers(-1, 2, 100)
    assert column((9.0, 4)).tolist() == [f"± {paired.by_image(each, 10).half:.1f}"]
    assert column((0.0, np.inf)) is None  # a network compared with itself


def test_contrasts_are_taken_tier_by_tier_at_the_most_votes_both_have(folder):
    def pgd():
        frame = tables.contrasts(3, folder).frame
        rows = frame[frame["Rows"].str.startswith("CPNI-W") & (frame["Attack"] == "PGD")]
        return [(row["Ours"].split(" ±")[0], row["at"], row["Tier"]) for _, row in rows.iterrows()]

    assert pgd() == [(style.NOT_YET, "", "")]  # 8 votes are too few to stand for 512
    evaluate(folder, "CPNI-W", "pgd", 420, sigma=0.0, draws=64)
    evaluate(folder, "CPNI-W", "pgd", 450, sigma=0.24, draws=128)
    assert pgd() == [("+3.0", "M = 64, σ = 0.24 and 0", "cpu")]
    train(folder, "CPNI-W", tier="long", seed=5, epochs=40)
    for sigma, correct in ((0.0, 4400), (0.24, 4800)):
        evaluate(folder, "CPNI-W", "pgd", correct, n=10_000, tier="long", training_seed=5, sigma=sigma, draws=512)
    assert pgd() == [("+4.0", "M = 512, σ = 0.24 and 0", "long"), ("+3.0", "M = 64, σ = 0.24 and 0", "cpu")]


def test_a_part_of_a_table_has_one_tier_and_the_best_comes_first(folder):
    train(folder, "PNI-W", tier="long", epochs=40)
    evaluate(folder, "PNI-W", "pgd", 3800, n=10_000, tier="long")
    parts = list(dict.fromkeys(tables.table(1, folder).frame["Rows"]))
    assert parts[:3] == [f"{start}printed by the paper, 10 runs" for start in ("Ours at tier long; ", "Ours at tier cpu; ", "")]
    assert tables.filled(1, folder)[0][0]["label"] == "PNI-W"


def test_only_a_reproduction_is_held_against_the_papers_std(folder):
    assert "points alone" in tables.table(1, folder).caption and "the paper's std" not in tables.table(1, folder).caption
    evaluate(folder, "CPNI-W", "pgd", 4500, n=10_000, tier="fast")
    table = tables.table(1, folder)
    assert line(table, Method="CPNI-W", Attack="PGD")["Difference"] == "−3.84 (−7.0 std)"
    assert line(table, Method="CPNI-W", Attack="Clean")["Difference"] == "−8.48"
    assert "(in brackets, at tiers fast and paper, in units of the paper's std)" in table.caption and "points alone" in table.caption


def test_a_caption_says_on_what_batches_a_std_rests(folder):
    assert "Images of a batch" not in tables.table(1, folder).caption  # single runs: no std
    train(folder, "PNI-W")
    for seed in (1, 2):
        evaluate(folder, "CPNI-W", "pgd", 410, seed=seed)
        evaluate(folder, "PNI-W", "pgd", 380, seed=seed, batch_size=500)
    caption = tables.table(1, folder).caption
    assert "depends on the size of the batches: 500 (PNI-W), " in caption and "(CPNI-W)" in caption


def test_networks_of_unlike_training_are_shown_but_never_compared(folder):
    """CPNI-W is trained anew at a better tier, alone: its row shows it, and what compares networks stays with the others."""
    train(folder, "PNI-W")
    evaluate(folder, "PNI-W", "pgd", 380)
    train(folder, "Gauss", method="gauss")
    evaluate(folder, "Gauss", "pgd", 410)
    before = figures.figure2(folder)._repr_html_(), repr(tables.contrasts(1, folder))
    train(folder, "CPNI-W", tier="long", seed=5, epochs=40)
    evaluate(folder, "CPNI-W", "pgd", 6000, n=10_000, tier="long", training_seed=5)
    evaluate(folder, "CPNI-W", "none", 900, training_seed=5)  # of 1,000 images, so of tier cpu like all of the others'
    row = line(tables.table(1, folder), Method="CPNI-W", Attack="PGD")
    assert (row["Ours, %"], row["Tier"], row["n"]) == ("60.00", "long", "10,000")
    figure = figures.figure2(folder)
    left = " Left out, as too little of this is measured at their tier yet: CPNI-W (tier long)."
    assert left in figure.caption and (figure._repr_html_().replace(left, ""), repr(tables.contrasts(1, folder))) == before
    assert "Tiers long and cpu: small models of the experiment" in tables.table(1, folder).caption
    three = tables.table(3, folder).frame  # where it has no cell, the other one's stands, with its tier
    assert set(three[three["Rows"].str.endswith(tables.NEAREST) & (three["σ"] == "0.24") & (three["Attack"] == "PGD")]["Tier"]) == {"cpu"}
    evaluate(folder, "CPNI-W", "pgd", 500, sigma=0.24, training_seed=5, split="heldout")
    three = tables.table(3, folder).frame  # but not where σ and M were chosen for the better one
    assert set(three[three["Rows"].str.contains(tables.CHOSEN, regex=False)]["Ours, %"]) == {style.NOT_YET}
    train(folder, "Gauss", tier="long", method="gauss", seed=5, start_seed=5)
    evaluate(folder, "Gauss", "pgd", 8000, n=10_000, tier="long", training_seed=5)
    figure = figures.figure2(folder)
    assert "60.0 (" in figure.numbers.frame.to_string() and "Left out" not in figure.caption  # it has as many base models now
    assert repr(tables.contrasts(1, folder)) == before[1]


def test_unknown_table_is_refused():
    with pytest.raises(ValueError, match="table = 5 is not allowed: give one of 1, 2, 3, 4"):
        tables.table(5)


FIGURES = [figures.figure1, figures.figure2, figures.figure3, figures.figure4]


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_of_nothing_say_so(tmp_path, figure):
    drawn = figure(tmp_path)
    assert style.NOT_YET in drawn._repr_html_().lower() and "<svg" not in drawn._repr_html_()
    assert style.NOT_YET in repr(drawn).lower()


def test_the_attack_check_pairs_clean_and_pgd_of_a_network(folder):
    train(folder, "plain", method="plain")
    evaluate(folder, "plain", "none", 800)
    assert "plain, normal training" not in set(tables.attack_check(folder).frame["Network"])
    evaluate(folder, "plain", "pgd", 3)
    assert tables.attack_check(folder).frame.iloc[0, :7].tolist() == [
        "Normal training, tier cpu", "plain, normal training", "2", "80.0 (77.4–82.4)", "0.3 (0.1–0.9)", "cpu", "1,000"]


def test_the_summary_has_one_pass_and_the_held_out_choice(folder):
    lines = tables.summary(folder).splitlines()
    assert lines[2:] == [
        "| CPNI-W | 0 | 1 | 70.0 (67.1–72.8) | 40.0 (36.9–43.1) | not yet measured | cpu | 1,000 |",
        "| CPNI-W | 0.24 | 8 | 65.3 (62.3–68.3) | 43.3 (40.2–46.4) | not yet measured | cpu | 1,000 |",
    ]


def test_a_row_of_the_summary_has_one_tier_and_number_of_images(folder):
    evaluate(folder, "CPNI-W", "epgd", 200, n=500)
    assert tables.summary(folder).splitlines()[2].endswith("36.9–43.1) | not yet measured | cpu | 1,000 |")
    evaluate(folder, "CPNI-W", "epgd", 3000, n=10_000, tier="fast")
    assert tables.summary(folder).splitlines()[2] == (
        "| CPNI-W | 0 | 1 | not yet measured | not yet measured | 30.0 (29.1–30.9) | fast | 10,000 |")


def test_the_summary_tells_the_two_trainings_of_plain_apart(folder):
    train(folder, "plain", method="plain")
    train(folder, "plain", seed=1)
    evaluate(folder, "plain", "none", 800)
    evaluate(folder, "plain", "none", 600, training_seed=1)
    assert [row[:44] for row in tables.summary(folder).splitlines()[2:4]] == [
        "| plain, normal training | 0 | 1 | 80.0 (77.", "| plain, adversarial training | 0 | 1 | 60.0"]


def test_every_table_can_be_taken_away_as_it_is(folder):
    table = tables.table(1, folder)
    (data,) = re.findall('download="table-1.csv" href="data:text/csv;base64,([^"]*)"', table._repr_html_())
    frame = pd.read_csv(io.BytesIO(base64.b64decode(data)), dtype=str, keep_default_na=False)
    assert list(frame.columns) == list(table.frame.columns) and list(frame["Ours, %"]) == list(table.frame["Ours, %"])
    assert frame["Records"].iloc[2] == " ".join(table.frame["Records"].iloc[2])


def test_a_table_that_is_wider_than_the_text_says_so():
    """Headings, names and lists of records break between words; numbers do not, nor does a record's id."""
    def shown(**cells):
        return style.Table(pd.DataFrame([{"Rows": "all", "Network": "plain, adversarial training"} | cells]), "A table.", 1)._repr_html_()

    narrow, wide = "<tbody>", '<tbody class="full-width">'
    assert narrow in shown(**{"Clean": "76.0 (75.1–76.8)", "a heading of so many words that it is long": "1", "Records": ("0" * 16,) * 4})
    assert wide in shown(**{f"Attack {k}": "76.0 (75.1–76.8)" for k in range(6)})


def test_the_texts_show_what_the_records_say():
    """`make render` writes the table; what a reader sees first must not go stale."""
    assert tables.summary() in (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert tables.cards() in (paths.ROOT / "data" / "checkpoints" / "README.md").read_text(encoding="utf-8")
    short = words_of_tables.in_short()
    assert short and all(short in (paths.ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "book/intro.md"))
    assert words_of_tables.headlines() in (paths.ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    assert book.overview() == book.OVERVIEW.read_text(encoding="utf-8")
    assert f"{ties.in_words()}\n{words_of_tables.two_votes()}" in (paths.ROOT / "book" / "differences.md").read_text(encoding="utf-8")


def test_every_checkpoint_has_a_card_that_says_what_it_is(folder):
    train(folder, "PNI-W")
    lines = tables.cards(folder).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| `cpni-w-0`", "| `pni-w-0`"]
    assert "| CPNI-W, r = 5 | cpu, adversarial | 0 | 2 of 2 | 70.0 / 40.0 (n = 100) | 70.0 / 40.0 (n = 1,000) |" in lines[0]
    assert lines[1].count(style.NOT_YET) == 2


def test_ranks_stand_in_the_order_of_their_size_and_none_is_left_out(folder):
    for rank in 10, 2, 0:
        train(folder, f"CPNI-W r={rank}", rank=rank)
        for attack in "none", "pgd":
            evaluate(folder, f"CPNI-W r={rank}", attack, 500)
    train(folder, "PNI-W", tier="long", rank=0)
    assert [card.split(" | ")[1] for card in tables.cards(folder).splitlines()[2:]] == [
        "PNI-W", "CPNI-W, r = 5", "CPNI-W, r = 0", "CPNI-W, r = 2", "CPNI-W, r = 10"]
    assert list(tables.attack_check(folder).frame["Network"]) == ["CPNI-W", "CPNI-W r=0", "CPNI-W r=2", "CPNI-W r=10"]


def test_every_checkpoint_that_ships_has_a_card():
    there = {path.stem for path in (paths.ROOT / "data" / "checkpoints").glob("*.safetensors")}
    assert there <= {line.split("`")[1] for line in tables.cards().splitlines()[2:]}
    assert sum(path.stat().st_size for path in (paths.ROOT / "data" / "checkpoints").glob("*.safetensors")) < 60e6


def test_figure1_draws_a_curve_for_each_M_and_names_what_is_missing(folder):
    figure = figures.figure1(folder)
    assert list(figure.legend) == ["M = 1", "M = 2", "M = 4", "M = 8"]
    assert len(figure.panels) == 2 and "Not yet measured: EPGD" in figure.caption
    for words in ("Tier cpu", "n = 1,000", "nested", "not a reproduction"):
        assert words in figure.caption
    assert figure.numbers.frame.iloc[-1]["M = 8"] == "43.3 (40.2–46.4)"  # all of one tier: the caption says which
    assert figure.numbers.caption == "Accuracy in percent (95 % interval), tier cpu."
    assert 'd>43.3<span class="break"> </span>(40.2–46.4)<' in figure._repr_html_()  # a line may end there


def test_figures_are_deterministic_coloured_by_the_page_and_described(folder):
    one, two = figures.figure1(folder)._repr_html_(), figures.figure1(folder)._repr_html_()
    assert one == two and style.INK not in one and "currentColor" in one
    assert one.count('role="img" aria-label="') == 2 and "40.0 to 43.0 %" in one
    ids = re.findall(r' id="([^"]+)"', one)
    assert ids and len(ids) == len(set(ids))


def test_a_curve_has_one_tier(folder):
    evaluate(folder, "CPNI-W", "pgd", 4500, n=10_000, tier="fast", sigma=0.24)
    figure = figures.figure1(folder)
    pgd = figure.numbers.frame[figure.numbers.frame["Panel"] == "PGD"]
    assert len(pgd) == 1 and pgd.iloc[0]["M = 1"].endswith("fast")
    assert "Clean: tier cpu, n = 1,000" in figure.caption
    assert "PGD: tier fast, n = 10,000" in figure.caption


def test_a_panel_has_one_tier_and_says_whom_it_leaves_out(folder):
    train(folder, "Gauss", method="gauss")
    evaluate(folder, "Gauss", "pgd", 4100, n=10_000, tier="fast")
    figure = figures.figure2(folder)
    pgd = figure.numbers.frame[figure.numbers.frame["Panel"] == "PGD, prediction"]
    assert pgd["Gauss"].iloc[0].endswith("fast")
    assert list(pgd["CPNI-W"]) == [figures.LACKING] and "–: not yet measured" in figure.numbers.caption
    left = "Left out, being of a lower tier than the rest of the panel: CPNI-W (PGD, prediction), CPNI-W (PGD, soft)."
    assert left in figure.caption


def test_figure2_has_a_panel_for_each_attack_and_rule_and_a_curve_for_each_base_model(folder):
    train(folder, "Gauss", method="gauss")
    evaluate(folder, "Gauss", "pgd", 410, sigma=0.24, rules=("prediction", "weighted", "second"))
    figure = figures.figure2(folder)
    # What lies at one σ alone is drawn as a dot, and the legend says so.
    assert figure.legend == {"CPNI-W": (style.NETWORKS["CPNI-W"], "-"), "Gauss (σ = 0.24 alone)": (style.NETWORKS["Gauss"], "o")}
    frame = figure.numbers.frame
    panels = ["Clean, prediction", "Clean, soft", "PGD, prediction", "PGD, soft", "PGD, weighted"]
    assert list(dict.fromkeys(frame["Panel"])) == panels
    at = frame[frame["σ (normalised units)"] == "0.24"].set_index("Panel")  # of M = 8: three correct more than of M = 1
    assert at["Gauss"]["PGD, weighted"].startswith("41.3 (") and at["CPNI-W"]["PGD, weighted"] == figures.LACKING


def test_panels_under_one_attack_share_their_axis(folder):
    train(folder, "Gauss", method="gauss")
    evaluate(folder, "Gauss", "pgd", 900, sigma=0.24, rules=("weighted",))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "panel", lambda *of: seen.append((of[4], of[7])) or "")
        figures.figure2(folder)
    limits = dict(seen)
    assert limits["PGD, prediction"] == limits["PGD, weighted"] != limits["Clean, prediction"] == limits["Clean, soft"]
    low, high = limits["PGD, prediction"]
    assert low < 100 * runs.clopper_pearson(403, 1000)[0] and high > 100 * runs.clopper_pearson(903, 1000)[1]


def test_figure3_has_its_four_panels(folder):
    for label, method in (("Gauss", "gauss"), ("EPGD-diverged", "epgd")):
        train(folder, label, method=method)
        for attack in ("pgd", "epgd"):
            evaluate(folder, label, attack, 300)
    assert len(figures.figure3(folder).panels) == 4


def test_figure4_is_against_epsilon_at_the_papers_step(folder):
    evaluate(folder, "CPNI-W", "pgd", 550, epsilon=4.0, step_size=1.0)
    evaluate(folder, "CPNI-W", "pgd", 550, epsilon=2.0, step_size=2.0)
    frame = figures.figure4(folder).numbers.frame
    better_trained(folder)
    assert "tier long" in figures.figure1(folder).numbers.caption and figures.figure4(folder).numbers.frame.equals(frame)
    assert "Bars" not in figures.figure4(folder).caption
    assert list(frame["ε (1/255 of the pixel range)"]) == ["4", "8"] and list(frame.columns[2:]) == ["σ = 0", "Records"]


def test_figures_of_one_network_are_of_the_best_tier_that_has_them_without_its_siblings(folder):
    """Three base models are of the tier cpu, of the tier fast is CPNI-W alone."""
    for label in ("Gauss", "EPGD-diverged"):
        train(folder, label, method=METHODS[label])
        evaluate(folder, label, "pgd", 300)
    for epsilon in (2.0, 4.0, 16.0):
        evaluate(folder, "CPNI-W", "pgd", 550, epsilon=epsilon, step_size=epsilon / 4)
    train(folder, "CPNI-W", tier="fast", seed=5)
    for done, (epsilon, steps, samples) in enumerate(((2.0, 7, 1), (4.0, 7, 1), (16.0, 7, 1), (8.0, 7, 1), (8.0, 56, 1), (8.0, 7, 8)), 1):
        run = runs.EvaluationRun("cpni-w-5", digest("CPNI-W", 5), "pgd" if samples == 1 else "epgd", steps=steps, samples=samples,
                                 epsilon=epsilon, step_size=epsilon / 4, draws=64)
        rows = [runs.row("prediction", M, 500, 1000) for M in (8, 64)]
        runs.write(runs.record(run, tier="fast", n=1000, result=rows), folder)
        assert ("under PGD. Tier fast" in figures.figure4(folder).caption) == (done >= 4)
    assert "fast" in figures.effort(folder).caption and "(tier fast" in words_of_figures.effort(folder)
    assert "Tier fast" not in figures.figure3(folder).caption


def test_a_curve_of_figure4_keeps_to_the_batch_size_that_most_of_its_points_have(folder):
    """Small batches share their draws among fewer images: their std is another one."""
    for seed, correct in enumerate((300, 320)):
        for epsilon in (4.0, 16.0):
            evaluate(folder, "CPNI-W", "pgd", correct, epsilon=epsilon, step_size=epsilon / 4, seed=seed, batch_size=500,
                         rules=("prediction",))
        evaluate(folder, "CPNI-W", "pgd", correct + 100, seed=seed, batch_size=500, rules=("prediction",))  # of 250: 403
    figure = figures.figure4(folder)
    frame = figure.numbers.frame.set_index("ε (1/255 of the pixel range)")
    assert frame.loc["8", "σ = 0"].startswith("41.3 (") and frame.loc["16", "σ = 0"].startswith("31.3 (")
    assert "Bars: standard deviation over runs, in batches of 500 images" in figure.caption


def test_printed_numbers_of_the_paper_add_up():
    """Table 2 repeats numbers of tables 1 and 3: a slip of the pen in one of the files shows here."""
    one, two, three = tables.paper(1), tables.paper(2), tables.paper(3)
    numbers = ["clean", "clean_std", "pgd", "pgd_std"]
    smooth = two[two["method"] == "Smooth (our)"]
    assert len(smooth) == len(smooth.merge(three, on=["label", "rule", "M", "sigma", *numbers])) == 1
    pni = two[two["label"] == "PNI-W"][numbers].to_numpy()
    assert (pni == one[one["label"] == "PNI-W"][numbers].to_numpy()).all() and pni.size == 4
    assert pd.concat([one, two])["clean"].between(75, 92).all() and len(three) == 10


def test_a_figures_numbers_can_be_downloaded_and_the_papers_choice_is_marked(folder):
    figure = figures.figure1(folder)
    html = figure._repr_html_()
    name, data = re.search('download="([^"]*)" href="data:text/csv;base64,([^"]*)"', html).groups()
    assert name == "figure-1.csv"
    read = pd.read_csv(io.StringIO(base64.b64decode(data).decode()), dtype=str)
    assert list(read.columns) == list(figure.numbers.frame.columns) and len(read) == len(figure.numbers.frame)
    assert "Short ticks at 0.24" in html and "Short ticks on the axis: σ of the best cell" in figure.caption


def test_spread_over_runs_is_drawn_apart_from_the_interval(folder):
    assert "Bars: standard deviation over runs" not in figures.figure1(folder).caption
    evaluate(folder, "CPNI-W", "pgd", 420, seed=1)
    assert "Bars: standard deviation over runs" in figures.figure1(folder).caption


def contrast(one, other):
    """How far the luminances of two colours lie apart, by the WCAG."""
    def luminance(colour):
        rgb = np.array(to_rgb(colour))
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def seen(colour, by):
    """A colour as CIELAB [3], seen by normal eyes or with Machado's matrices of colour blindness."""
    rgb = np.array(to_rgb(colour))
    linear = np.clip(by @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]] @ linear / [0.9505, 1, 1.0888]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


EYES = {"normal": np.eye(3),
        "deuteranope": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
        "protanope": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])}


@pytest.mark.parametrize("ground", ["#ffffff", "#14181e", "#121212"])  # of the page: light, and the theme's dark ones
def test_lines_are_seen_on_the_page(ground):
    ramps = [style.of_draws(2**k) for k in range(11)]
    noises = [style.of_sigma(sigma) for sigma in np.linspace(0, 0.48, 25)]
    assert min(contrast(colour, ground) for colour in [*ramps, *noises, *style.NETWORKS.values()]) > 2.95


@pytest.mark.parametrize("by", EYES)
def test_neighbours_among_curves_are_told_apart(by):
    colours = [seen(style.of_draws(2**k), EYES[by]) for k in range(9)]
    assert min(np.linalg.norm(np.subtract(*pair)) for pair in zip(colours, colours[1:])) > 10  # a difference of 2 is just seen


def test_a_strength_of_noise_and_a_number_of_votes_have_one_colour(folder):
    assert dict(figures.figure1(folder).legend)["M = 8"] == (style.of_draws(8), "--")
    evaluate(folder, "CPNI-W", "pgd", 550, epsilon=4.0, step_size=1.0, sigma=0.24)
    assert figures.figure4(folder).legend == {"σ = 0.24": (style.BLUE.lower(), "-")}
    assert [style.of_sigma(sigma).upper() for sigma in (0, 0.24, 0.48)] == [style.GREEN, style.BLUE, style.VERMILLION]


def test_a_row_keeps_its_names_while_its_table_scrolls(folder):
    text = tables.table(3, folder)._repr_html_()
    assert text.count('<th scope="col" class="first outer">') == 1 == text.count('<th scope="col" class="inner">')
    line, *_ = re.findall('<tr class="names"><th scope="rowgroup" colspan="13"><span>(.*?)</span>', text)
    assert line == "Base model: CPNI-W, Rule: prediction, M: 512, σ: 0"
    alone = style.Table(pd.DataFrame([["all", "CPNI-W", "50.0"]], columns=["Rows", "Network", "PGD"]), "One name.", 1)._repr_html_()
    assert '<th scope="row" class="first inner"' in alone and "names" not in alone


def test_of_equal_accuracies_on_heldout_images_fewer_draws_and_then_less_noise_are_chosen(tmp_path):
    train(tmp_path, "CPNI-W")
    for sigma in (0.24, 0.12):
        run = runs.EvaluationRun("cpni-w-0", digest("CPNI-W", 0), "pgd", sigma=sigma, draws=4, images=500, split="heldout")
        rows = [runs.row("prediction", M, 200 + (M > 1), 500) for M in (1, 2, 4)]
        runs.write(runs.record(run, tier="cpu", n=500, result=rows), tmp_path)
    row = report.chosen(report.cells(report.evaluations(tmp_path)), "CPNI-W", "prediction")
    assert (row["M"], row["sigma"]) == (2, 0.12)
