"""From records to the book's tables and figures, each beside what the paper prints.

Only records are read, so every page is rebuilt in seconds. Accuracies are fractions in frames, percent on
pages; σ is in normalised units, ε in 1/255 of the pixel range.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from siam import runs
from siam.paths import PAPER, RESULTS
from siam.style import NOT_YET, Figure, Table, fading, panel

ATTACKS = {"none": "Clean", "pgd": "PGD", "epgd": "EPGD"}
BASES = {"CPNI-W": "#0072B2", "EPGD-converged": "#009E73", "EPGD-diverged": "#CC79A7", "Gauss": "#D55E00"}
RULES = {"prediction": "-", "soft": "--", "weighted": ":"}  # the paper's three; the records hold two more

# A cell is one number of the paper, of one recipe; SAME is what the runs averaged in it must have in common.
CELL = ["label", "method", "recipe", "rule", "M", "sigma", "attack", "epsilon"]
SAME = ["tier", "n", "precision", "batch_size"]

FLOATS = ["epsilon", "step_size", "sigma", "source_sigma", "accuracy", "low", "high"]
WHOLES = ["steps", "samples", "draws", "images", "batch_size", "seed", "n", "M", "correct"]

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
CHOSEN = "σ and M chosen by us on held-out training images (highest PGD accuracy)"


# --- frames -------------------------------------------------------------------------------------------------

def _records(folder, kind):
    return [runs.read(path) for path in sorted((Path(folder) / kind).glob("*.json"))]


def trainings(folder=RESULTS):
    """One row per trained checkpoint: training_id, the fields of its run, recipe (the run without its seed,
    as text; start is the recipe of what it fine-tunes), tier, name, label, digest, epoch, held-out counts
    heldout_n, clean, adversarial; seconds.

    Raises ValueError for a file in folder/training that is no record.
    """
    columns = ["training_id", *runs.TrainingRun.__dataclass_fields__, "recipe", "tier", "name", "label",
               "digest", "epoch", "heldout_n", "clean", "adversarial", "seconds"]
    rows, records = [], _records(folder, "training")
    asked = {kept["digest"]: record["run"] for record in records for kept in record["checkpoints"]}

    def recipe(run):
        start = recipe(asked[run["start"]]) if run["start"] in asked else run["start"]
        return {**{key: value for key, value in run.items() if key != "seed"}, "start": start}

    for record in records:
        shared = {**record["run"], "recipe": json.dumps(recipe(record["run"]), sort_keys=True),
                  "training_id": record["id"], "tier": record["tier"], "seconds": record.get("seconds")}
        for checkpoint in record["checkpoints"]:
            heldout = checkpoint.get("heldout", {})
            rows.append({**shared, **checkpoint, **heldout, "heldout_n": heldout.get("n")})
    return pd.DataFrame(rows, columns=columns)


def evaluations(folder=RESULTS):
    """One row per evaluation, voting rule and M: the fields of its run; id, tier, n, device, commit; rule, M,
    correct, accuracy, low, high; of its training label, variant, method, training_id, training_seed, recipe;
    source_label, that of the network a transferred attack was made on.

    The attack of those is "transferred pgd", "transferred pgd_s" (PGD on a source with input noise), ….
    Raises ValueError for a file in folder/evaluation or folder/training that is no record.
    """
    about = ["id", "tier", "n", "device", "commit"]
    counts = ["rule", "M", "correct", "accuracy", "low", "high"]
    rows = [{**record["run"], **{key: record.get(key) for key in about}, **line}
            for record in _records(folder, "evaluation") for line in record["result"]]
    frame = pd.DataFrame(rows, columns=[*runs.EvaluationRun.__dataclass_fields__, *about, *counts])
    frame = frame.astype({**dict.fromkeys(FLOATS, float), **dict.fromkeys(WHOLES, int)})  # when empty as well
    smoothed = (frame["attack"] == "pgd") & (frame["source_sigma"] > 0)
    named = "transferred " + frame["attack"].mask(smoothed, "pgd_s")
    frame["attack"] = frame["attack"].where(frame["source"].isna(), named)
    trained = trainings(folder).rename(columns={"seed": "training_seed"}).drop_duplicates("digest")
    trained = trained[["digest", "label", "variant", "method", "training_id", "training_seed", "recipe"]]
    frame = frame.merge(trained, on="digest", how="left").astype({"training_seed": float})
    frame["source_label"] = frame["source"].map(dict(zip(trained["digest"], trained["label"])))
    frame["label"] = frame["label"].fillna(frame["checkpoint"])  # a reader's own network has no record
    return frame.fillna({"variant": "unknown", "method": "unknown", "training_id": "", "recipe": ""})


def paper(number, folder=PAPER):
    """The numbers printed in table `number`, 1 to 4, in percent; label, training, rule, M and sigma say
    which of our cells a row is and are empty where it is none. Raises ValueError for another number.
    """
    if number not in TABLES:
        raise ValueError(f"table = {number!r} is not allowed: give one of 1, 2, 3, 4")
    return pd.read_csv(Path(folder) / f"table{number}.csv")


def cells(frame):
    """One row per cell: of its evaluations those of the best tier, then of most images, then of the precision
    most of its network's have, averaged over runs.

    frame: rows of `evaluations`. Columns: CELL, tier, n, precision, accuracy (mean), std (over runs, NaN for
    one), runs, low, high, ids, seeds. Runs share their images, so the interval is the mean of theirs: more
    runs do not narrow it.
    """
    seeds = ["?" if pd.isna(trained) else f"{trained:g}" for trained in frame["training_seed"]]
    seeds = [f"{trained}/{seed}" for trained, seed in zip(seeds, frame["seed"])]
    alike = frame.groupby(["label", "method", "recipe", "precision"])["id"].transform("nunique")
    frame = frame.assign(order=frame["tier"].map(runs.TIERS.index), alike=alike, seeds=seeds)
    frame = frame.sort_values(["order", "n", "alike", "precision", "draws", "batch_size", "id"],
                              ascending=[False, False, False, False, False, True, True])
    groups = frame.groupby(CELL, sort=False)
    keep = np.ones(len(frame), bool)
    for column in SAME:
        keep &= (frame[column] == groups[column].transform("first")).to_numpy(bool)
    frame = frame[keep].drop_duplicates([*CELL, "digest", "source", "seed"])
    return frame.groupby(CELL).agg(
        tier=("tier", "first"), n=("n", "first"), precision=("precision", "first"),
        accuracy=("accuracy", "mean"), std=("accuracy", "std"),
        runs=("id", "size"), low=("low", "mean"), high=("high", "mean"),
        ids=("id", lambda ids: tuple(sorted(ids))), seeds=("seeds", lambda seeds: tuple(sorted(seeds))),
    ).reset_index()


def one_recipe(frame):
    """Of each base model (label and method) the evaluations of one recipe, so that no curve or table mixes
    networks that share a name: of the best tier on test images, then of most of them, then of most cells,
    then the last by its text.
    """
    def merit(rows):
        tested = rows[rows["split"] != "heldout"]
        order = tested["tier"].map(runs.TIERS.index)
        best = tested[order == order.max()]
        return max(order, default=-1), max(best["n"], default=0), len(best[CELL].drop_duplicates())

    chosen = {name: max((merit(rows), recipe) for recipe, rows in group.groupby("recipe"))[1]
              for name, group in frame.groupby(["label", "method"])}
    rows = zip(frame["label"], frame["method"], frame["recipe"])
    return frame[np.array([chosen[label, method] == recipe for label, method, recipe in rows], bool)]


def as_in_paper(frame):
    """The evaluations with the paper's attack (7 steps of ε/4; PGD: 1 gradient draw, EPGD: 8) or none. A
    transferred attack is made on another network of the same label."""
    attack = frame["attack"].str.removeprefix("transferred ")
    samples = frame["samples"] == attack.map({"pgd": 1, "pgd_s": 1, "epgd": 8})
    steps = (frame["steps"] == 7) & np.isclose(4 * frame["step_size"], frame["epsilon"])
    second = (frame["source_label"] == frame["label"]) & (frame["source"] != frame["digest"])
    return frame[(frame["attack"] == "none") | (samples & steps & (second | frame["source"].isna()))]


def _usual(folder):
    """The evaluations that pages compare: the attacks and trainings of the paper, one recipe each.

    A noisy network trained without an attack shares its label with the paper's, and is left to the explorer.
    """
    frame = as_in_paper(evaluations(folder))
    known = frame["method"] != "unknown"
    return one_recipe(frame[known & ((frame["method"] != "plain") | (frame["label"] == "plain"))])


def _select(frame, **values):
    for column, value in values.items():
        close = np.isclose(frame[column], value) if column in ("sigma", "epsilon") else frame[column] == value
        frame = frame[close]
    return frame


# --- tables -------------------------------------------------------------------------------------------------

def table(number, folder=RESULTS):
    """Table `number` of the paper: each printed number, ours, the difference, what ours was measured on.

    Returns a Table. Raises ValueError for a number that is none of 1 to 4.
    """
    printed = paper(number)
    title, names, attacks = TABLES[number]
    ours, heldout = _cells(folder, False), _cells(folder, True)
    lines, used = [], []
    for row in _rows(number, printed, ours, heldout):
        for column, attack in attacks.items():
            cell = _find(ours, row, attack)
            used += [] if cell is None else [cell]
            name = {"Rows": row["part"], **{text: _name(row[key]) for key, text in names.items()}}
            lines.append({**name, "Attack": NAMES[attack], **_compare(row, column, cell)})
    asked = [_find(ours, row, attack) is not None
             for row in printed.dropna(subset="label").to_dict("records") for attack in attacks.values()]
    caption = f"Table {number}: {title}. Measured: {sum(asked)} of the {len(asked)} cells that are ours."
    return Table(pd.DataFrame(lines), caption + _explain(pd.DataFrame(used)), len(names))


def contrasts(number, folder=RESULTS):
    """What changes between rows of table `number`, in the paper and in our records: a Markdown list."""
    printed = paper(number).to_dict("records")
    ours = _cells(folder, False)
    lines = []
    for text, one, other in CONTRASTS[number]:
        parts = []
        for column, attack in TABLES[number][2].items():
            pair = [_find(ours, printed[row], attack) for row in (one, other)]
            theirs = _signed(printed[one][column] - printed[other][column], 2)
            parts.append(f"{NAMES[attack]} {theirs} in the paper, {_contrast(*pair)} by us")
        lines.append(f"- {text}, in points: {'; '.join(parts)}.")
    return "\n".join(lines)


def attack_check(folder=RESULTS):
    """What PGD-7 leaves of normally and adversarially trained networks at M = 1, σ = 0: a Markdown list."""
    ours = _select(_cells(folder, False), rule="prediction", M=1, sigma=0)
    lines = []
    for method, training in {"plain": "normal", "adversarial": "adversarial"}.items():
        for label in ours[ours["method"] == method]["label"].unique():
            row = {"label": label, "training": method, "rule": "prediction", "M": 1, "sigma": 0}
            pair = [_find(ours, row, attack) for attack in ("none", "pgd")]
            if all(cell is not None for cell in pair):
                clean, pgd = (f"{100 * cell['accuracy']:.2f}\u00a0% (tier {cell['tier']}, n = {cell['n']:,})"
                              for cell in pair)
                lines.append(f"- {label}, {training} training: clean {clean}, under PGD-7 {pgd}.")
    return "\n".join(lines) or f"{NOT_YET.capitalize()}: no record holds both of a network."


def summary(folder=RESULTS):
    """The base models we have, as a Markdown table: one pass without input noise, then σ and M chosen on
    held-out images; accuracy in percent with its interval on test images. A row has one tier and one n."""
    ours, heldout = _cells(folder, False), _cells(folder, True)
    lines = ["| base model | σ | M | clean | PGD | EPGD | tier | n |", "|---|---|---|---|---|---|---|---|"]
    models = {"plain, normal training": ("plain", "plain"),
              "plain, adversarial training": ("plain", "adversarial")}
    models |= {label: (label, np.nan) for label in dict.fromkeys([*runs.VARIANTS[1:], *BASES])}
    for name, (label, training) in models.items():
        once = {"label": label, "training": training, "rule": "prediction", "M": 1, "sigma": 0.0}
        for row in (once, _chosen(heldout, label, "prediction", training)):
            found = [_find(ours, row, attack) for attack in ATTACKS]
            made = max((_measured_on(cell) for cell in found if cell is not None), default=None)
            if made:
                same = [cell is not None and _measured_on(cell) == made for cell in found]
                numbers = " | ".join(_interval(cell) if ok else NOT_YET for ok, cell in zip(same, found))
                last = f"{runs.TIERS[made[0]]} | {made[1]:,}"
                lines.append(f"| {name} | {_name(row['sigma'])} | {_name(row['M'])} | {numbers} | {last} |")
    return "\n".join(lines)


def _measured_on(cell):
    """Tier (as its place in their order) and number of images: compared cells have both in common."""
    return runs.TIERS.index(cell["tier"]), cell["n"]


def _interval(cell):
    return f"{100 * cell['accuracy']:.1f} ({100 * cell['low']:.1f}–{100 * cell['high']:.1f})"


def _contrast(one, other):
    """The difference of two cells of one tier and number of images, in points. ± combines their intervals as
    if they shared no images, which is on the safe side."""
    if one is None or other is None or _measured_on(one) != _measured_on(other):
        return NOT_YET
    wide = np.hypot(*(cell["high"] - cell["low"] for cell in (one, other))) / 2
    difference = _signed(100 * (one["accuracy"] - other["accuracy"]), 2)
    return f"{difference} ± {100 * wide:.2f} (tier {one['tier']}, n = {one['n']:,})"


def _cells(folder, heldout):
    """The cells measured with the paper's attacks: on test images, or on the held-out training images."""
    frame = _usual(folder)
    return cells(frame[(frame["split"] == "heldout") == heldout])


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
        rows += [_chosen(heldout, label, rule) for label, rule in bases]
    else:
        rows = [{**row, "part": "printed by the paper"} for row in rows]
    return rows


def _nearest(row, ours):
    """The cell of ours nearest to a printed row we have not measured: in σ first, then in doublings of M."""
    near = _select(ours[ours["attack"].isin(ATTACKS)], label=row["label"], rule=row["rule"])
    if near.empty or any(_find(ours, row, attack) is not None for attack in ATTACKS):
        return None
    far = 1000 * np.abs(near["sigma"] - row["sigma"]) + np.abs(np.log2(near["M"] / row["M"]))
    M, sigma = near.loc[far.idxmin(), ["M", "sigma"]]
    return {"label": row["label"], "rule": row["rule"], "M": M, "sigma": sigma, "part": NEAREST}


def _chosen(heldout, label, rule, training=np.nan):
    """σ and M of the highest PGD accuracy on held-out training images (ties: fewer draws, less noise)."""
    row = {"label": label, "training": training, "rule": rule, "M": "–", "sigma": "–", "part": CHOSEN}
    found = _select(heldout, label=label, rule=rule, attack="pgd", epsilon=8)
    found = _one_tier(found if pd.isna(training) else _select(found, method=training))
    if len(found):
        best = found.sort_values(["accuracy", "M", "sigma"], ascending=[False, True, True]).iloc[0]
        row.update(M=best["M"], sigma=best["sigma"], part=f"{CHOSEN}, n = {best['n']:,}")
    return row


def _find(ours, row, attack):
    """The cell of ours that a row and an attack name, or None."""
    if pd.isna(row["label"]) or row["M"] == "–":
        return None
    found = _select(ours, attack=attack, epsilon=0 if attack == "none" else 8,
                    **{key: row[key] for key in ("label", "rule", "M", "sigma")})
    if not pd.isna(row.get("training")):
        found = _select(found, method=row["training"])
    return None if found.empty else found.iloc[0]


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
        in_stds = "" if pd.isna(std) else f" ({_signed(difference / std, 1)} std)"
        line["Difference"] = _signed(difference, 2) + in_stds
    return {**line, "Ours, %": _spread(100 * cell["accuracy"], 100 * cell["std"]),
            "95 % interval": f"{100 * cell['low']:.1f}–{100 * cell['high']:.1f}",
            "Tier": cell["tier"], "n": f"{cell['n']:,}", "Records": cell["ids"],
            "Runs": f"{cell['runs']} ({', '.join(cell['seeds'])})"}


def _explain(used):
    """The end of a table's caption: what its cells were measured on."""
    if used.empty:
        return " No record holds any of them yet."
    one = " One run has no std." if used["runs"].min() == 1 else ""
    return (f" {_made_on(used)}. Difference: ours − the paper's, in points (in the paper's std)."
            f" Runs: how many (seeds of training/evaluation).{one}{_warning(used)}")


def _made_on(used):
    """What some cells were measured on, in words: once if the same for all, else for each `part`."""
    def words(cells):
        tiers = " and ".join(tier for tier in reversed(runs.TIERS) if tier in set(cells["tier"]))
        precisions = " and ".join(sorted(set(cells["precision"])))
        return (f"tier {tiers}, n = {_range(cells['n'])} images, runs per cell: {_range(cells['runs'])},"
                f" precision {precisions}")

    parts = {part: words(cells) for part, cells in used.groupby("part", sort=False)} if "part" in used else {}
    same = len(set(parts.values())) < 2
    text = words(used) if same else "; ".join(f"{part}: {made_on}" for part, made_on in parts.items())
    return text[0].upper() + text[1:]


def _warning(used):
    weak = " and ".join(tier for tier in ("cpu", "smoke") if tier in set(used["tier"]))
    return f" Tier {weak}: a small model of the experiment, not a reproduction." if weak else ""


def _range(values):
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def _name(value):
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _spread(mean, std):
    return f"{mean:.2f}" + ("" if pd.isna(std) else f" ± {std:.2f}")


def _signed(value, digits):
    return f"{value:+.{digits}f}".replace("-", "−")


# --- figures ------------------------------------------------------------------------------------------------

def _draw(number, title, frame, panels, hue, look, x="sigma", xlabel="σ (normalised units)"):
    """A Figure of rows of `_usual`. panels: {title: selection of cells}; hue: cells -> the names of their
    curves; look: names of the curves -> {name: (colour, dashes)}, in the order of the legend.
    """
    title = f"Figure {number}: {title}."
    frame = cells(frame[frame["split"] != "heldout"])
    found = {name: _select(frame, **chosen) for name, chosen in panels.items()}
    ours = {name: _one_tier(part) for name, part in found.items()}
    left = [f"{label} ({name})" for name, part in found.items()
            for label in sorted(set(part["label"]) - set(ours[name]["label"]))]
    ours = {name: part.assign(curve=hue(part)) for name, part in ours.items() if len(part)}
    if not ours:
        return Figure([], {}, f"{title} {NOT_YET.capitalize()}: no record holds any of it.", None)
    everything = pd.concat([part.assign(part=name + ", " + part["label"]) for name, part in ours.items()])
    look = look(everything.sort_values(["M", "sigma"])["curve"].unique())
    drawn, numbers = [], []
    for name, part in ours.items():
        curves = {curve: part[part["curve"] == curve].sort_values(x) for curve in look}
        curves = {curve: points for curve, points in curves.items() if len(points)}
        drawn.append(panel(curves, look, x, xlabel, name, f"figure{number} {name}"))
        wide = part.assign(text=part.apply(_point, axis=1)).pivot(index=x, columns="curve", values="text")
        wide = wide.reindex(columns=list(look)).astype(object).fillna(NOT_YET).rename(index="{:g}".format)
        numbers.append(wide.reset_index(names=xlabel).assign(Panel=name))
    missing = ", ".join(name for name in panels if name not in ours)
    missing = f" {NOT_YET.capitalize()}: {missing}." if missing else ""
    left = f" Left out, as of a lower tier than the rest of the panel: {', '.join(left)}." if left else ""
    one_M = everything["M"].nunique() == 1
    nested = "" if one_M else " Points along M are nested: they share their forward passes."
    caption = (f"{title} {_made_on(everything)}. Bands: exact 95\u00a0% interval over images."
               f"{nested}{missing}{left}{_warning(everything)}")
    numbers = pd.concat(numbers)[["Panel", xlabel, *look]]
    table = Table(numbers, "Accuracy in percent (95 % interval), tier", 1)
    return Figure(drawn, look, caption, table)


def _point(cell):
    return f"{_interval(cell)}, {cell['tier']}"


def _one_tier(frame):
    """Only the cells of the best tier there is: what stands in one panel is comparable."""
    order = frame["tier"].map(runs.TIERS.index)
    return frame[order == order.max()]


def _by_draws(frame):
    return "M = " + frame["M"].astype(str)


def _attack(attack):
    return {"attack": attack, "epsilon": 0 if attack == "none" else 8}


def figure1(folder=RESULTS):
    """Accuracy of CPNI-W with prediction smoothing against σ, a curve for each M; panels clean, PGD, EPGD."""
    panels = {name: dict(label="CPNI-W", rule="prediction", **_attack(key)) for key, name in ATTACKS.items()}
    return _draw(1, "CPNI-W with prediction smoothing", _usual(folder), panels, _by_draws, fading)


def figure2(folder=RESULTS):
    """Accuracy at M = 8 against σ for the paper's base models and voting rules; panels clean, PGD, EPGD."""
    frame = _usual(folder)
    frame = frame[frame["label"].isin(BASES) & frame["rule"].isin(RULES)]
    panels = {name: dict(M=8, **_attack(key)) for key, name in ATTACKS.items()}
    styles = {f"{label}, {rule}": (colour, dashes)
              for label, colour in BASES.items() for rule, dashes in RULES.items()}

    def look(names):
        return {name: style for name, style in styles.items() if name in names}

    return _draw(2, "Base models and voting rules, M = 8", frame, panels,
                 lambda part: part["label"] + ", " + part["rule"], look)


def figure3(folder=RESULTS):
    """Accuracy of Gauss and EPGD-diverged with prediction smoothing against σ, a curve for each M."""
    panels = {f"{label}, {ATTACKS[key]}": dict(label=label, rule="prediction", **_attack(key))
              for key in ("epgd", "pgd") for label in ("Gauss", "EPGD-diverged")}
    title = "Gauss and EPGD-diverged with prediction smoothing"
    return _draw(3, title, _usual(folder), panels, _by_draws, fading)


def figure4(folder=RESULTS):
    """Accuracy of CPNI-W, prediction smoothing, M = 8, under PGD against ε; curves: σ with 2 or more ε."""
    pgd = dict(label="CPNI-W", rule="prediction", M=8, attack="pgd")
    frame = _select(_usual(folder), **pgd)
    frame = frame[frame.groupby("sigma")["epsilon"].transform("nunique") >= 2]
    title = "CPNI-W with prediction smoothing, M = 8, under PGD"
    return _draw(4, title, frame, {"PGD": pgd}, lambda part: "σ = " + part["sigma"].map("{:g}".format),
                 fading, "epsilon", "ε (1/255 of the pixel range)")
