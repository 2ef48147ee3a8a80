"""The paper's tables: each printed number, ours beside it, the difference, and what ours was measured on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from siam import runs
from siam.pages.style import Table
from siam.paired import less, of_differences
from siam.paths import PAPER, RESULTS
from siam.report import (ATTACKS, BASES, CELL, CHOSEN, NOT_YET, as_in_paper, by_tier, cells, cells_of, chosen, evaluations, find,
                         interval, made_on, measured_on, of_attack, select, signed, sources, suites, trainings, usual, warning)

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
PAPERS_CHOICE = "the paper's σ and M (its own choice, by its authors' code on test images)"
NEAREST = "nearest cell we measured, where we lack the paper's: not compared"
# The two networks of one noisy pass that have no noise: their names on every page.
PLAIN = {"plain": "plain, normal training", "adversarial": "plain, adversarial training"}
ALONE = "without the luck of training"  # the column of what images and draws alone leave unsure, half an interval
ENOUGH = 64  # votes: from here on more of them change little (Figure 1)


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
    rows, lines, used = filled(number, folder), [], []
    title, names, attacks = TABLES[number]
    for row, found in rows:
        tiers = sources([cell for cell in found.values() if cell is not None])["Tier"]
        # The tier first: a phone shows no more.
        part = f"Ours at tier{'s' * (' and ' in tiers)} {tiers}; {row['part']}" if tiers else row["part"]
        name = {"Rows": part, **{text: _name(row[key]) for key, text in names.items()}}
        for column, attack in attacks.items():
            used += [] if found[attack] is None else [found[attack]]
            lines.append({**name, "Attack": NAMES[attack], **_compare(row, column, found[attack])})
    asked = [cell is not None for row, found in rows if printed(row) for cell in found.values()]
    caption = f"Table {number}: {title}. Measured: {sum(asked)} of the {len(asked)} cells that we can measure."
    if any(row["part"] == NEAREST for row, _ in rows):
        caption += " Where the paper's cell is not measured, the nearest one we have follows in a part of its own."
    return Table(pd.DataFrame(lines), caption + _explain(pd.DataFrame(used)), len(names) + 1)


def filled(number, folder=RESULTS):
    """The rows of table `number` with our cells: [(row, {attack: cell or None})], those of one tier together, the best first."""
    theirs, frame = paper(number), evaluations(folder)
    best, heldout = cells_of(usual(frame))
    # What the best network of a name has no cell for, one of a lower tier may have.
    ours = pd.concat([best, *(cells_of(suite)[0] for suite in suites(frame))])
    ours = ours.drop_duplicates([key for key in CELL if key != "recipe"], ignore_index=True)
    rows = []
    for row in _rows(number, theirs, ours, heldout):
        there = best if row["part"].startswith(CHOSEN) else ours  # chosen for that network
        rows.append((row, {attack: _as_one(find(there, row, attack)) for attack in TABLES[number][2].values()}))
    parts = list(dict.fromkeys(row["part"] for row, _ in rows))

    def place(filled):
        row, found = filled
        return parts.index(row["part"]), -max((measured_on(cell)[0] for cell in found.values() if cell is not None), default=-1)

    return sorted(rows, key=place)


def printed(row):
    """Whether a row of `filled` is one that the paper prints and we can measure. Logits are averaged beside, not instead."""
    return "pgd" in row and not pd.isna(row["label"]) and row["rule"] != "soft-logits"


def _as_one(cell):
    """A cell whose runs got the very same images right, as nothing in it was random, is that of one run."""
    if cell is None or cell["runs"] == 1 or None in cell["right"] or len({*cell["networks"]}) + len({*cell["right"]}) > 2:
        return cell
    return pd.Series(cell.to_dict() | {"runs": 1, "std": np.nan}, dtype=object)


def contrasts(number, folder=RESULTS):
    """What changes between rows of table `number`, in the paper and in our records, tier by tier: a Table."""
    lines, used = [], []
    for text, attack, theirs, ours in compared(number, folder):
        name = {"Rows": text, "Attack": NAMES[attack], "Paper": signed(theirs, 2)}
        used += [difference for difference, _ in ours]
        for difference, at in ours or [(None, "")]:
            told, text = (sources([]), NOT_YET) if difference is None else (sources([difference]), str(difference))
            alone = f"± {difference.half_alone:.1f}" if difference is not None and difference.luck[0] else ""
            lines.append({**name, "Ours": text, ALONE: alone, "Tier": told["Tier"], "at": at, **told})
    frame = pd.DataFrame(lines)
    caption = f"What changes between rows of Table {number}, in points{of_differences(used)}"
    if not frame[ALONE].any():
        return Table(frame.drop(columns=ALONE), caption, 1)
    return Table(frame, f"{caption} {ALONE[0].upper()}{ALONE[1:]}: the ± if only images and draws could differ, and not trainings.", 1)


def compared(number, folder=RESULTS):
    """[(what changes, attack, the paper's difference, [(our Difference, its M and σ) of each of `by_tier` that has both rows])].
    """
    theirs = paper(number).to_dict("records")
    each = [cells_of(frame)[0] for frame in by_tier(evaluations(folder))]
    found = []
    for text, *rows in CONTRASTS[number]:
        one, other = (theirs[row] for row in rows)
        for column, attack in TABLES[number][2].items():
            pairs = [_pair(cells, (one, other), attack) for cells in each]
            ours = [(difference, _at(pair)) for pair in pairs if (difference := less(*pair)) is not None]
            found.append((text, attack, one[column] - other[column], ours))
    return found


def _pair(ours, rows, attack):
    """Our cells of two printed rows, or None for both. A large M that we lack is replaced by the largest that both have, σ by
    a neighbour on the paper's grid."""
    exact = [find(ours, row, attack) for row in rows]
    if all(cell is not None for cell in exact):
        return exact
    if any(pd.isna(row["label"]) or row["M"] < ENOUGH for row in rows):
        return None, None
    near = []
    for row in rows:
        of = select(ours, label=row["label"], rule=row["rule"], **of_attack(attack))
        of = of[of["M"].between(ENOUGH, row["M"]) & (np.abs(of["sigma"] - row["sigma"]) < 0.011)]
        of = of.assign(far=np.abs(of["sigma"] - row["sigma"])).sort_values("far")
        near.append(of.drop_duplicates("M").set_index("M", drop=False))
    shared = set(near[0].index) & set(near[1].index)
    return [of.loc[max(shared)] for of in near] if shared else (None, None)


def _at(pair):
    """M and σ of two cells, in words."""
    each = {name: list(dict.fromkeys(f"{cell[key]:g}" for cell in pair)) for name, key in (("M", "M"), ("σ", "sigma"))}
    return ", ".join(f"{name} = {' and '.join(values)}" for name, values in each.items())


def attack_check(folder=RESULTS):
    """What PGD-7 leaves of normally and adversarially trained networks at M = 1, σ = 0: a Table."""
    ours = select(cells_of(usual(evaluations(folder)))[0], rule="prediction", M=1, sigma=0)
    lines, used = [], []
    for method, training in {"plain": "Normal training", "adversarial": "Adversarial training"}.items():
        of = ours[ours["method"] == method]
        for label in _in_order(of, "label")["label"].unique():
            row = {"label": label, "training": method, "rule": "prediction", "M": 1, "sigma": 0}
            pair = [find(ours, row, attack) for attack in ("none", "pgd")]
            if all(cell is not None for cell in pair):
                shown = dict(zip(("Clean", "PGD"), map(interval, pair)))
                epochs = json.loads(pair[0]["recipe"])["schedule"]["epochs"]
                name = {"Rows": f"{training}, tier {pair[0]['tier']}", "Network": PLAIN[method] if label == "plain" else label}
                lines.append({**name, "Epochs": f"{epochs}", **shown, **sources(pair)})
                used += pair
    columns = ["Rows", "Network", "Epochs", "Clean", "PGD", "Tier", "n", "Records"]
    lines = lines or [dict.fromkeys(columns, "") | {"Clean": NOT_YET, "PGD": NOT_YET}]
    caption = f"What PGD leaves, accuracy in percent (95 % interval).{warning(cell.tier for cell in used)}"
    return Table(pd.DataFrame(lines, columns=columns), caption, 1)


def _in_order(frame, name):
    """The rows by tier, best first, then by the words of column `name`, numbers in them by their size: r=2 before r=10."""
    words = frame[name].astype(str).str.replace(r"\d+", lambda digits: digits[0].zfill(4), regex=True)
    return frame.assign(order=-frame["tier"].map(runs.TIERS.index), words=words).sort_values(["order", "words"])


def summary(folder=RESULTS):
    """The base models we have, as a Markdown table: one pass without input noise, then σ and M chosen on
    held-out images; accuracy in percent with its interval on test images. A row has one tier and one n."""
    ours, heldout = cells_of(usual(evaluations(folder)))
    lines = ["| base model | σ | M | clean | PGD | EPGD | tier | n |", "|---|---|---|---|---|---|---|---|"]
    models = {name: ("plain", training) for training, name in PLAIN.items()}
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

    Accuracies in percent of one noisy pass, clean / PGD: on the held-out images that chose the epoch, with the training's input noise;
    and on the test images without input noise, the cell that tables show of it.
    """
    lines = ["| checkpoint | network | training | seed | epoch kept | held-out | test | minutes | made by |",
             "|---|---|---|---|---|---|---|---|---|"]
    tested = select(as_in_paper(evaluations(folder)), rule="prediction", M=1, sigma=0, split="test")
    trained = trainings(folder)
    for kept in _in_order(trained, "name").itertuples():
        ours = cells(tested[tested["digest"] == kept.digest])
        test = [select(ours, **of_attack(attack)) for attack in ("none", "pgd")]
        test = [NOT_YET if of.empty else f"{100 * of['accuracy'].iloc[0]:.1f}" for of in test]
        n = "" if ours.empty else f" (n = {ours['n'].max():,})"
        # A record of a training of one's own may lack all of this.
        epochs = "–" if pd.isna(kept.epoch) else f"{kept.epoch:.0f} of {kept.schedule['epochs']}"
        heldout = "–" if pd.isna(kept.heldout_n) else (
            f"{100 * kept.clean / kept.heldout_n:.1f} / {100 * kept.adversarial / kept.heldout_n:.1f} (n = {int(kept.heldout_n):,})")
        minutes = "–" if pd.isna(kept.seconds) else f"{kept.seconds / 60:.0f}"
        rank = f", r = {kept.rank}" if kept.variant.startswith("CPNI") else ""
        noise = f", σ = {kept.sigma:g}" if kept.sigma else ""
        device = "GPU" if kept.device.startswith("cuda") else "CPU"
        lines.append(f"| `{kept.name}` | {kept.variant}{rank} | {kept.tier}, {kept.method}{noise} | {kept.seed} | {epochs} | "
                     f"{heldout} | {' / '.join(test)}{n} | {minutes} {device} | `{kept.training_id}` |")
    return "\n".join(lines)


def _rows(number, printed, ours, heldout):
    """The printed rows, then rows that the paper does not have; `part` says which they are."""
    rows = printed.to_dict("records")
    if number == 1:
        plain = {"part": "not in the paper", "label": "plain", "rule": "prediction", "M": 1, "sigma": 0.0}
        rows = [{**row, "part": f"printed by {row['source']}, {row['runs']} runs"} for row in rows]
        rows += [{**plain, "method": PLAIN[training], "training": training} for training in ("adversarial", "plain")]
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
        in_stds = f" ({signed(difference / std, 1)} std)" if cell["tier"] in runs.REPRODUCTIONS and not pd.isna(std) else ""
        line["Difference"] = signed(difference, 2) + in_stds
    return {**line, "Ours, %": _spread(100 * cell["accuracy"], 100 * cell["std"]),
            "95 % interval": f"{100 * cell['low']:.1f}–{100 * cell['high']:.1f}",
            "Tier": cell["tier"], "n": f"{cell['n']:,}", "Records": tuple(sorted(cell["ids"])),
            "Runs": counted(cell)}


def counted(cell):
    """How many runs a cell has, and their seeds "training/evaluation"."""
    return f"{cell['runs']} ({_seeds(cell['seeds'])}{', alike' if len(cell['seeds']) > cell['runs'] else ''})"


def _seeds(pairs):
    """Seeds "training/evaluation" in short: "0/0, 0/1, 1/0, 1/1" is "0–1 / 0–1"."""
    trainings, evaluations = zip(*(pair.split("/") for pair in pairs))
    each = [sorted(set(seeds), key=lambda seed: (len(seed), seed)) for seeds in (trainings, evaluations)]
    if len(pairs) < 2 or len(each[0]) * len(each[1]) != len(pairs):
        return ", ".join(pairs)
    dense = [seeds[-1].isdigit() and len(seeds) == int(seeds[-1]) - int(seeds[0]) + 1 for seeds in each]
    return " / ".join(f"{of[0]}–{of[-1]}" if whole and len(of) > 1 else ", ".join(of) for whole, of in zip(dense, each))


def _explain(used):
    """The end of a table's caption: what its cells were measured on, and how to read the differences."""
    if used.empty:
        return " No record holds any of them yet."
    held = used["tier"].isin(runs.REPRODUCTIONS)
    text = f" {made_on(used)}. Difference: ours − the paper's, in points"
    text += f" (in brackets, at tiers {' and '.join(runs.REPRODUCTIONS)}, in units of the paper's std)." if held.any() else "."
    if "fast" in set(used["tier"]):
        text += " At fast, a tenth of the paper's epochs, the brackets give the size of the difference and test nothing."
    if not held.all():
        text += " At the lower tiers, whose training falls short by more than luck, it is in points alone."
    text += " Runs: how many (seeds of training/evaluation)."
    text += " Alike: nothing was random, so they count as one." if (used["seeds"].str.len() > used["runs"]).any() else ""
    text += " One run has no std." if used["runs"].min() == 1 else ""
    return text + _batches(used[used["std"].notna()]) + warning(used["tier"])


def _batches(several):
    """What a caption says of the ± of cells of several runs."""
    if several.empty:
        return ""
    sizes = {size: " and ".join(dict.fromkeys(of["label"])) for size, of in several.groupby("batch_size", sort=False)}
    told = ", ".join(f"{size:,} ({labels})" for size, labels in sizes.items())
    return f" Images of a batch share the draws of the layers' noise, so a ± depends on the size of the batches: {told}."


def _name(value):
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _spread(mean, std):
    return f"{mean:.2f}" + ("" if pd.isna(std) else f" ± {std:.2f}")
