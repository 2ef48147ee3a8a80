"""The page on section 4.3: σ learnt for each base model, beside σ swept over a grid, from what `siam.studies.learnt` wrote. No torch."""

from pathlib import Path

import numpy as np
import pandas as pd

from siam.cifar10 import HELDOUT
from siam.files import read_other
from siam.pages.style import BLUE, GREEN, INK, PINK, VERMILLION, Figure, Table, drawing, undrawn, unfilled
from siam.paired import ids_of, less
from siam.paths import RESULTS
from siam.report import ATTACKS, BASES, NOT_YET, SIGMA_MAX, cells_of, chosen, evaluations, find, interval, of_eight, select, usual, warning

PLACE = "learnt/record.json"  # in data/results
DRAWS = 8  # M of the curves
WEIGHTS = {0.25: BLUE, 0.5: GREEN, 0.75: PINK, 1.0: VERMILLION}  # w


def read(folder=RESULTS):
    """The record of `siam.studies.learnt`, or None. Raises ValueError, one line, for a file that is none."""
    return read_other(Path(folder) / PLACE, "learnt", ("cells", "steps", "start", "batch", "split"))


def ours_of(folder):
    """`report.cells_of` of the networks that σ was learnt for."""
    record, frame = read(folder), evaluations(folder)
    digests = [cell["digest"] for cell in record["cells"]] if record else []
    return cells_of(usual(frame[frame["digest"].isin(digests)]))


def learnt(folder=RESULTS):
    """A frame, one row per σ learnt: label and tier of the network, M, weight, sigma, sigmas, and our cells `none` and `pgd`
    at it (or None)."""
    record, (ours, _) = read(folder), ours_of(folder)
    about, rows = ("label", "tier", "M", "weight", "sigma", "sigmas"), []
    for cell in [] if record is None else record["cells"]:
        at = {"label": cell["label"], "rule": "prediction", "M": cell["M"], "sigma": cell["sigma"]}
        rows.append({name: cell[name] for name in about}
                    | {attack: find(ours, at, attack) for attack in ("none", "pgd")})
    return pd.DataFrame(rows, columns=[*about, "none", "pgd"])


def grid_choice(heldout, label, M):
    """The row (σ among it) that held-out images choose of a grid at a given M, as `report.chosen`."""
    return chosen(select(heldout, M=M), label, "prediction")


def curves(folder=RESULTS):
    """Figure: accuracy under PGD against clean accuracy, M = 8, along the σ swept and at the σ learnt, a panel a network."""
    title = f"The trade-off between clean and adversarial accuracy, prediction smoothing, M = {DRAWS}"
    found, (ours, heldout) = learnt(folder), ours_of(folder)
    found = found[(found["M"] == DRAWS) & found["none"].notna() & found["pgd"].notna()]
    if found.empty:
        return undrawn(title)
    ours = of_eight(select(ours[ours["sigma"] <= SIGMA_MAX], rule="prediction", M=DRAWS))
    panels, lines, used, apart = [], [], [], []
    for label in [label for label in BASES if label in set(found["label"])]:
        pairs = ours[ours["label"] == label].pivot_table(index="sigma", columns="attack", values="accuracy")[["none", "pgd"]].dropna()
        learning = found[found["label"] == label].sort_values("weight")
        # The grid is what held-out images chose from: a σ that was learnt has been evaluated on test images alone.
        swept = pairs[pairs.index.isin(select(heldout, label=label, rule="prediction", M=DRAWS)["sigma"])]
        sizes = set(select(ours[ours["sigma"].isin(swept.index)], label=label)["batch_size"])
        apart += [label] if {of.pgd["batch_size"] for of in learning.itertuples()} - sizes else []
        row = grid_choice(heldout, label, DRAWS)
        choice = [find(ours, row, attack) for attack in ("none", "pgd")]

        def draw(axes, swept=swept, learning=learning, choice=choice):
            axes.margins(0.16)
            axes.plot(100 * swept["none"], 100 * swept["pgd"], "-", color=INK, marker=".", ms=4, lw=1)
            # The line goes up and then to the left: beside its first point and above its last there is room for their names.
            for at, place in zip(swept.index[[0, -1]], (dict(xytext=(-6, -3), ha="right"), dict(xytext=(-4, 8)))):
                axes.annotate(f"σ = {at:g}", 100 * swept.loc[at], textcoords="offset points", **place)
            if all(cell is not None for cell in choice):
                axes.plot(*(100 * cell["accuracy"] for cell in choice), "D", mfc="none", color=INK, ms=8)
            for of in learning.itertuples():
                axes.plot(100 * of.none["accuracy"], 100 * of.pgd["accuracy"], "o", color=WEIGHTS.get(of.weight, INK), ms=5)

        said = ", ".join(f"w = {of.weight:g}: σ = {of.sigma:g}, clean {100 * of.none['accuracy']:.1f} %,"
                         f" PGD {100 * of.pgd['accuracy']:.1f} %"
                         for of in learning.itertuples())
        panels.append(drawing(draw, label, "clean accuracy, %", "accuracy under PGD, %", f"learnt σ: {said}", f"trade-off {label}"))
        for at in pairs.index:
            cells = [find(ours, {"label": label, "rule": "prediction", "M": DRAWS, "sigma": at}, attack)
                     for attack in ("none", "pgd")]
            used += cells
            weights = ", ".join(f"{w:g}" for w in select(learning, sigma=at)["weight"])
            lines.append({"Network": label, "σ": f"{at:g}", "learnt with w =": weights or "",
                          "held-out choice": "yes" if row["sigma"] != "–" and np.isclose(at, row["sigma"]) else "",
                          **{ATTACKS[name]: interval(cell) for name, cell in zip(("none", "pgd"), cells)},
                          "Records": ids_of(cells)})
    used = pd.DataFrame(used)
    tiers = " and ".join(sorted(set(used["tier"])))
    wide = 50 * (used["high"] - used["low"]).max()
    alone = f"; some dots of {' and '.join(apart)}, evaluated in batches of another size, share only the images" if apart else ""
    caption = (f"{title}. Tier {tiers}, n = {used['n'].min():,} test images. Each line follows σ as it grows over the grid that held-out"
               f" images choose from. Each interval over images is at most ± {wide:.1f} points, and neighbours share their images"
               f" and random numbers{alone}."
               f"{warning(used['tier'])}")
    legend = {"σ swept over a grid": ("currentColor", "-"), "σ of the grid that held-out images choose": ("currentColor", "D")}
    legend |= {f"σ learnt, {name}": (colour, "o") for name, (colour, _) in _weights(found).items()}
    return Figure(panels, legend, caption, Table(pd.DataFrame(lines), "Accuracy in percent (95 % interval)", 1))


def _weights(found):
    return {f"w = {weight:g}": (colour, "-") for weight, colour in WEIGHTS.items() if weight in set(found["weight"])}


def descents(folder=RESULTS):
    """Figure: σ after every step of the descent, a curve for each w, a panel for each network and M."""
    title = "How σ is learnt"
    found, record = learnt(folder), read(folder)
    if found.empty:
        return undrawn(title)
    panels, lines = [], []
    for (label, M), of in found.groupby(["label", "M"], sort=False):
        def draw(axes, of=of):
            for one in of.itertuples():
                axes.plot(range(len(one.sigmas) + 1), [record["start"], *one.sigmas], color=WEIGHTS.get(one.weight, INK), lw=1.4)
            axes.set(ylim=(0, None))

        said = ", ".join(f"w = {one.weight:g}: to {one.sigma:g}" for one in of.itertuples())
        alt, salt = f"from {record['start']:g}; {said}", f"learnt {label} {M}"
        panels.append(drawing(draw, f"{label}, M = {M}", "step", "σ (normalised units)", alt, salt))
        for one in of.itertuples():
            lines.append({"Network": label, "M": f"{M}", "w": f"{one.weight:g}", "σ, the mean of the last steps": f"{one.sigma:g}",
                          **{f"step {k}": f"{one.sigmas[k - 1]:.3f}" for k in (1, 5, 10, 20, 30) if k <= len(one.sigmas)}})
    caption = (f"{title}: {record['steps']} steps from σ = {record['start']:g}, each on {record['batch']} of the {HELDOUT:,} training"
               f" images that no network has seen.{warning(found['tier'])}")
    return Figure(panels, _weights(found), caption, Table(pd.DataFrame(lines), "σ along the descent", 2, PLACE))


def comparison(folder=RESULTS):
    """Table: each σ learnt beside the σ that held-out images choose of a grid at the same M, and PGD accuracy at both."""
    found, (ours, heldout) = learnt(folder), ours_of(folder)
    columns = ["Network", "M", "w", "σ learnt", "σ of the grid", "Clean", "PGD", "PGD at the grid's σ", "Difference", "Records"]
    if found.empty:
        return unfilled("σ learnt and σ of the grid.", columns)
    lines, used = [], []
    for one in found.itertuples():
        row = grid_choice(heldout, one.label, one.M)
        other = find(ours, row, "pgd")
        used += [cell for cell in (one.none, one.pgd, other) if cell is not None]
        difference = less(one.pgd, other)
        lines.append(dict(zip(columns, (
            one.label, f"{one.M}", f"{one.weight:g}", f"{one.sigma:g}", row["sigma"] if row["sigma"] == "–" else f"{row['sigma']:g}",
            *(NOT_YET if cell is None else interval(cell) for cell in (one.none, one.pgd, other)),
            NOT_YET if difference is None else str(difference),
            ids_of((one.none, one.pgd, other)),
        ))))
    used = pd.DataFrame(used)
    caption = ("σ learnt and σ of the grid, prediction smoothing: accuracy in percent (95 % interval). Difference: learnt less grid, in"
               f" points ± half a 95 % interval. Tier {' and '.join(sorted(set(used['tier'])))}, n = {used['n'].min():,}."
               f"{warning(used['tier'])}")
    return Table(pd.DataFrame(lines), caption, 3)
