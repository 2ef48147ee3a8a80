"""The paper's tables: each printed number, ours beside it, the difference, and what ours was measured on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from siam import runs
from siam.pages.style import Table
from siam.paired import less, of_differences
from siam.paths import PAPER, RESULTS
from siam.report import (ATTACKS, BASES, CELL, CHOSEN, NOT_YET, as_in_paper, cells, cells_of, chosen, evaluations, find, interval,
                         made_on, measured_on, select, signed, sources, suites, trainings, usual, warning)

# Attacks made on another network than the one they meet; PGD-s: on a source with input noise.
TRANSFERRED = {"transferred pgd": "transferred PGD", "transferred pgd_s": "transferred PGD-s",
               "transferred epgd": "transferred EPGD"}
NAMES = ATTACKS | TRANSFERRED

# By number: title, the columns that name a row, and which attack each printed column is.
SMOOTHED = {"label": "Base model", "rule": "Rule", "M": "M", "sigma": "σ"}
TABLES = {
    1: ("The base models, one noisy forward pass", {"method": "Method"}, {"clean": "none", "pgd": "pgd"}),
    2: ("Prior art", {"method": "Method"}, {"clean": "none", "pgd": "pgd"}),
    3: ("Smoothing against white-box attacks", SMOOTHED, {"clean": "none", "pgd": "pgd", "epgd": "epgd"}),
    4: ("Transferred attacks", SMOOTHED,
        {attack.removeprefix("transferred "): attack for attack in TRANSFERRED}),
}
# What the paper concludes from a table: in words, and the two of its rows that are compared.
CONTRASTS = {
    1: [("Coloured noise in the weights instead of white", 1, 0),
        ("Coloured noise on the activations instead of the weights", 2, 1)],
    2: [("Smoothing EPGD-diverged instead of one pass through PNI-W", 5, 2)],
    3: [("CPNI-W: input noise of σ = 0.24 instead of none", 1, 0),
        ("EPGD-diverged instead of CPNI-W, no input noise", 2, 0),
        ("EPGD-diverged: soft instead of prediction smoothing, M = 512, σ = 0.19", 6, 4)],
    4: [("M = 8 instead of 4", 1, 0)],
}
# The parts of table 3: whose choice σ and M are.
PAPERS_CHOICE = "the paper's σ and M (its own choice, made on the test set)"
NEAREST = "nearest cell we measured, where we lack the paper's: not compared"


def paper(number, folder=PAPER):
    """The numbers printed in table `number`, 1 to 4, in percent; label, training, rule, M and sigma say
    which of our cells a row is and are empty where it is none. Raises ValueError for another number.
    """
    if number not in TABLES:
        raise ValueError(f"table = {number!r} is not allowed: give one of 1, 2, 3, 4")
    return pd.read_csv(Path(folder) / f"table{number}.csv")


def table(number, folder=RESULTS):
    """Table `number` of the paper: each printed number, ours, the difference, what ours was measured on.

    Returns a Table. Raises ValueError for a number that is none of 1 to 4.
    """
    printed = paper(number)
    title, names, attacks = TABLES[number]
    frame = evaluations(folder)
    best, heldout = cells_of(usual(frame))
    # What the best network of a name has no cell for, one of a lower suite may have.
    ours = pd.concat([best, *(cells_of(suite)[0] for suite in suites(frame))])
    ours = ours.drop_duplicates([key for key in CELL if key != "recipe"], ignore_index=True)
    lines, used = [], []
    for row in _rows(number, printed, ours, heldout):
        for column, attack in attacks.items():
            cell = find(best if row["part"].startswith(CHOSEN) else ours, row, attack)  # chosen for that network
            used += [] if cell is None else [cell]
            name = {"Rows": row["part"], **{text: _name(row[key]) for key, text in names.items()}}
            lines.append({**name, "Attack": NAMES[attack], **_compare(row, column, cell)})
    asked = [find(ours, row, attack) is not None
             for row in printed.dropna(subset="label").to_dict("records") for attack in attacks.values()]
    caption = f"Table {number}: {title}. Measured: {sum(asked)} of the {len(asked)} cells that are ours."
    return Table(pd.DataFrame(lines), caption + _explain(pd.DataFrame(used)), len(names))


def contrasts(number, folder=RESULTS):
    """What changes between rows of table `number`, in the paper and in our records: a Table.

    The two rows of a difference are of networks trained at one tier, the first of `suites` that has both.
    """
    printed = paper(number).to_dict("records")
    ours = [cells_of(frame)[0] for frame in suites(evaluations(folder))]
    lines, used = [], []
    for text, one, other in CONTRASTS[number]:
        for column, attack in TABLES[number][2].items():
            found = (less(*(find(cells, printed[row], attack) for row in (one, other))) for cells in ours)
            found = [difference for difference in found if difference is not None][:1]
            used += found
            lines.append({"Rows": text, "Attack": NAMES[attack], "Paper": signed(printed[one][column] - printed[other][column], 2),
                          "Ours": str(found[0]) if found else NOT_YET, **sources(found)})
    return Table(pd.DataFrame(lines), f"What changes between rows of Table {number}, in points{of_differences(used)}", 1)


def attack_check(folder=RESULTS):
    """What PGD-7 leaves of normally and adversarially trained networks at M = 1, σ = 0: a Table."""
    ours = select(cells_of(usual(evaluations(folder)))[0], rule="prediction", M=1, sigma=0)
    lines, used = [], []
    for method, training in {"plain": "Normal training", "adversarial": "Adversarial training"}.items():
        for label in ours[ours["method"] == method]["label"].unique():
            row = {"label": label, "training": method, "rule": "prediction", "M": 1, "sigma": 0}
            pair = [find(ours, row, attack) for attack in ("none", "pgd")]
            if all(cell is not None for cell in pair):
                shown = dict(zip(("Clean", "PGD"), map(interval, pair)))
                epochs = json.loads(pair[0]["recipe"])["schedule"]["epochs"]
                lines.append({"Rows": training, "Network": label, "Epochs": f"{epochs}", **shown, **sources(pair)})
                used += pair
    columns = ["Rows", "Network", "Epochs", "Clean", "PGD", "Tier", "n", "Records"]
    lines = lines or [dict.fromkeys(columns, "") | {"Clean": NOT_YET, "PGD": NOT_YET}]
    caption = f"What PGD leaves, accuracy in percent (95 % interval).{warning(cell.tier for cell in used)}"
    return Table(pd.DataFrame(lines, columns=columns), caption, 1)


def summary(folder=RESULTS):
    """The base models we have, as a Markdown table: one pass without input noise, then σ and M chosen on
    held-out images; accuracy in percent with its interval on test images. A row has one tier and one n."""
    ours, heldout = cells_of(usual(evaluations(folder)))
    lines = ["| base model | σ | M | clean | PGD | EPGD | tier | n |", "|---|---|---|---|---|---|---|---|"]
    models = {"plain, normal training": ("plain", "plain"),
              "plain, adversarial training": ("plain", "adversarial")}
    models |= {label: (label, np.nan) for label in dict.fromkeys([*runs.VARIANTS[1:], *BASES])}
    for name, (label, training) in models.items():
        once = {"label": label, "training": training, "rule": "prediction", "M": 1, "sigma": 0.0}
        for row in (once, chosen(heldout, label, "prediction", training)):
            found = [find(ours, row, attack) for attack in ATTACKS]
            made = max((measured_on(cell) for cell in found if cell is not None), default=None)
            if made:
                same = [cell is not None and measured_on(cell) == made for cell in found]
                numbers = " | ".join(interval(cell) if ok else NOT_YET for ok, cell in zip(same, found))
                last = f"{runs.TIERS[made[0]]} | {made[1]:,}"
                lines.append(f"| {name} | {_name(row['sigma'])} | {_name(row['M'])} | {numbers} | {last} |")
    return "\n".join(lines)


def cards(folder=RESULTS):
    """What is known of each trained network, as a Markdown table: one line per checkpoint, best tier first.

    Accuracies in percent of one noisy pass without input noise, clean / PGD: on the held-out images that chose the
    epoch, and on the test images, the cell that tables show of it.
    """
    lines = ["| checkpoint | network | training | seed | epoch kept | held-out | test | minutes | made by |",
             "|---|---|---|---|---|---|---|---|---|"]
    tested = select(as_in_paper(evaluations(folder)), rule="prediction", M=1, sigma=0, split="test")
    trained = trainings(folder)
    trained = trained.assign(order=-trained["tier"].map(runs.TIERS.index)).sort_values(["order", "name"])
    for kept in trained.itertuples():
        ours = cells(tested[tested["digest"] == kept.digest])
        test = [select(ours, attack=attack, epsilon=0 if attack == "none" else 8) for attack in ("none", "pgd")]
        test = [NOT_YET if of.empty else f"{100 * of['accuracy'].iloc[0]:.1f}" for of in test]
        n = "" if ours.empty else f" (n = {ours['n'].max():,})"
        heldout = " / ".join(f"{100 * right / kept.heldout_n:.1f}" for right in (kept.clean, kept.adversarial))
        rank = f", r = {kept.rank}" if kept.rank else ""
        noise = f", σ = {kept.sigma:g}" if kept.sigma else ""
        device = "GPU" if kept.device.startswith("cuda") else "CPU"
        lines.append(f"| `{kept.name}` | {kept.variant}{rank} | {kept.tier}, {kept.method}{noise} | {kept.seed} | {kept.epoch} of "
                     f"{kept.schedule['epochs']} | {heldout} (n = {kept.heldout_n:,}) | {' / '.join(test)}{n} | "
                     f"{kept.seconds / 60:.0f} {device} | `{kept.training_id}` |")
    return "\n".join(lines)


def _rows(number, printed, ours, heldout):
    """The printed rows, then rows that the paper does not have; `part` says which they are."""
    rows = printed.to_dict("records")
    if number == 1:
        plain = {"part": "ours only", "label": "plain", "rule": "prediction", "M": 1, "sigma": 0.0}
        rows = [{**row, "part": f"printed by {row['source']}, {row['runs']} runs"} for row in rows]
        rows.append({**plain, "method": "no noise, adversarial training", "training": "adversarial"})
        rows.append({**plain, "method": "no noise, normal training", "training": "plain"})
    elif number == 3:
        near = [row for row in (_nearest(row, ours) for row in rows) if row]
        bases = printed[["label", "rule"]].drop_duplicates().itertuples(index=False)
        code = PAPERS_CHOICE + ", logits averaged as in the authors' code"
        rows = [{**row, "part": PAPERS_CHOICE} for row in rows]
        rows += [{**row, "rule": "soft-logits", "part": code} for row in rows if row["rule"] == "soft"]
        rows += [row for i, row in enumerate(near) if row not in near[:i]]
        rows += [chosen(heldout, label, rule) for label, rule in bases]
    else:
        rows = [{**row, "part": "printed by the paper"} for row in rows]
    return rows


def _nearest(row, ours):
    """The cell of ours nearest to a printed row we have not measured: in σ first, then in doublings of M."""
    near = select(ours[ours["attack"].isin(ATTACKS)], label=row["label"], rule=row["rule"])
    if near.empty or any(find(ours, row, attack) is not None for attack in ATTACKS):
        return None
    far = 1000 * np.abs(near["sigma"] - row["sigma"]) + np.abs(np.log2(near["M"] / row["M"]))
    M, sigma = near.loc[far.idxmin(), ["M", "sigma"]]
    return {"label": row["label"], "rule": row["rule"], "M": M, "sigma": sigma, "part": NEAREST}


def _compare(row, column, cell):
    """The columns of one comparison, as text."""
    printed, std = row.get(column, np.nan), row.get(column + "_std", np.nan)
    line = {"Paper, %": "–" if pd.isna(printed) else _spread(printed, std),
            "Ours, %": "–" if pd.isna(row["label"]) else NOT_YET,
            "Difference": "", "95 % interval": "", "Tier": "", "n": "", "Runs": "", "Records": ()}
    if cell is None:
        return line
    difference = 100 * cell["accuracy"] - printed
    if not pd.isna(printed):
        in_stds = "" if pd.isna(std) else f" ({signed(difference / std, 1)} std)"
        line["Difference"] = signed(difference, 2) + in_stds
    return {**line, "Ours, %": _spread(100 * cell["accuracy"], 100 * cell["std"]),
            "95 % interval": f"{100 * cell['low']:.1f}–{100 * cell['high']:.1f}",
            "Tier": cell["tier"], "n": f"{cell['n']:,}", "Records": cell["ids"],
            "Runs": f"{cell['runs']} ({_seeds(cell['seeds'])})"}


def _seeds(pairs):
    """Seeds "training/evaluation" in short: "0/0, 0/1, 1/0, 1/1" is "0–1 / 0–1"."""
    trainings, evaluations = zip(*(pair.split("/") for pair in pairs))
    each = [sorted(set(seeds), key=lambda seed: (len(seed), seed)) for seeds in (trainings, evaluations)]
    if len(pairs) < 2 or len(each[0]) * len(each[1]) != len(pairs):
        return ", ".join(pairs)
    dense = [seeds[-1].isdigit() and len(seeds) == int(seeds[-1]) - int(seeds[0]) + 1 for seeds in each]
    return " / ".join(f"{of[0]}–{of[-1]}" if whole and len(of) > 1 else ", ".join(of) for whole, of in zip(dense, each))


def _explain(used):
    """The end of a table's caption: what its cells were measured on."""
    if used.empty:
        return " No record holds any of them yet."
    one = " One run has no std." if used["runs"].min() == 1 else ""
    return (f" {made_on(used)}. Difference: ours − the paper's, in points (in the paper's std)."
            f" Runs: how many (seeds of training/evaluation).{one}{warning(used['tier'])}")


def _name(value):
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _spread(mean, std):
    return f"{mean:.2f}" + ("" if pd.isna(std) else f" ± {std:.2f}")
