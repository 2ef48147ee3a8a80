"""The page on section 4.1: does the base network's loss under noise bound the smoothed one's, image by image? No torch.

From what `siam.studies.bound` counted. Write p for the share of passes that name the true class, q for that of the strongest
other class:

    wrong     = 1[p < q]                       the 0-1 loss of the smoothed classifier, eq. (18)
    surrogate = 1 - max(p - q, 0)              eqs. (19) and (20); the same as (1 - p) + min(p, q)
    base      = 1 - p                          the base network's expected 0-1 loss, the end of eq. (21)

Equation (20) as printed says wrong = surrogate, the line after it and eq. (21) say wrong <= base and wrong = base. For
every image holds:  wrong <= surrogate,  base <= surrogate <= 2 base,  and therefore  wrong <= 2 base.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from siam import paired, runs
from siam.pages.style import BLUE, GREEN, INK, VERMILLION, Figure, Table, drawing, shown, undrawn, unfilled
from siam.paths import RESULTS
from siam.report import NOT_YET
from siam.votes import HALVES, load, name_of

PLACE = "bound/tallies.npz"  # in data/results
NETWORKS = {"cpni-w-long-0": "CPNI-W", "gauss-long-0": "Gauss"}
CHECKPOINT, SIGMA = "cpni-w-long-0", 0.24  # of the figures
ATTACKS = {"none": "clean", "pgd": "PGD"}


def read(folder=RESULTS):
    """What `siam.votes.load` gives, the cells in the order of the page; three empty dicts where nothing was counted."""
    path = Path(folder) / PLACE
    if not path.exists():
        return {}, {}, {}
    counts, labels, about = load(path)
    order = sorted(counts, key=lambda cell: ([*NETWORKS].index(cell[0]), [*ATTACKS].index(cell[1]), cell[2]))
    return {cell: counts[cell] for cell in order}, labels, about


def shares(votes, labels):
    """(p, q), both [N]: of votes [N, 10] the share of the true class, and that of the strongest other class."""
    votes = np.asarray(votes, float)
    of = votes / votes.sum(1, keepdims=True)
    true = np.arange(of.shape[1]) == np.asarray(labels)[:, None]
    return of[true], np.where(true, -1, of).max(1)


def losses(p, q):
    """The three losses of the module's head per image, a frame: wrong (0 or 1), surrogate, base. p = q counts as right,
    as in eq. (19)."""
    margin = np.maximum(p - q, 0)
    return pd.DataFrame({"wrong": (p < q).astype(float), "surrogate": 1 - margin, "base": 1 - p, "twice": 2 * (1 - p), "margin": p - q})


# What is claimed of each image (left <= right), and whether it holds for every image.
CLAIMS = {
    "wrong ≤ base": ("wrong", "base", False),
    "surrogate ≤ base": ("surrogate", "base", False),
    "wrong ≤ surrogate": ("wrong", "surrogate", True),
    "base ≤ surrogate": ("base", "surrogate", True),
    "surrogate ≤ 2 base": ("surrogate", "twice", True),
    "wrong ≤ 2 base": ("wrong", "twice", True),
}
LOOK = {
    "wrong, smoothed (18)": ("currentColor", "-"), "surrogate (19)": (BLUE, "-"), "base (21)": (VERMILLION, "-"),
    "twice base": (GREEN, "--"),
}
COLUMNS = dict(zip(LOOK, ("wrong", "surrogate", "base", "twice")))


def broken(frame):
    """{claim: images of a frame of `losses` for which it fails}; rounding (1e-9) is no failure."""
    return {name: int((frame[a] > frame[b] + 1e-9).sum()) for name, (a, b, _) in CLAIMS.items()}


def interval_of(values, about):
    """[mean, low, high] of a value per image. Images of a batch share their draws, so the batches are the sample."""
    return paired.interval_of(values, about["batch_size"])


def named(cell):
    """The network and the attack of a cell, as text."""
    return f"{NETWORKS[cell[0]]}, {ATTACKS[cell[1]]}"


def _title(cell):
    return f"{named(cell)}, σ = {cell[2]:g}"


def _all(folder):
    """{cell: frame of `losses` over all passes}, and what the record says of itself."""
    counts, labels, about = read(folder)
    return {cell: losses(*shares(votes.sum(0, dtype=int), labels)) for cell, votes in counts.items()}, about


def measured(about):
    tiers = " and ".join(sorted({cell["tier"] for cell in about["cells"]}))
    networks = " and ".join(dict.fromkeys(cell["cell"][0] for cell in about["cells"]))
    return (f"Tier {tiers}: small models ({networks}), not a reproduction; n = {about['images']:,} test images, M = {about['draws']}"
            f" passes of each, {about['precision']}.")


def sampled(about):
    """What an interval is over, for a caption."""
    size = about["batch_size"]
    return f"95\u00a0% intervals by Student's t over {about['images'] // size} batches of {size} images, which share their draws"


def probabilities(folder=RESULTS):
    """Figure: per image the share p of the true class against the margin p - q, of both networks, clean and attacked."""
    found, about = _all(folder)
    cells = [cell for cell in found if cell[2] == SIGMA]
    if not cells:
        return undrawn("Share of the true class and margin")
    panels, rows = [], []
    for cell in cells:
        frame = found[cell]
        right = frame["wrong"] == 0

        def draw(axes, frame=frame, right=right):
            # q lies between (1 - p) / 9 and 1 - p: above the upper line there is no room for q, below the lower p is missing.
            axes.fill([-1, 1, 0, -1 / 9], [0, 1, 0.1, 0], color=INK, alpha=0.07, lw=0)
            axes.axvline(0, color=INK, lw=0.8)
            axes.axhline(0.5, color=INK, lw=0.8, ls=":")
            for rows, colour in ((right, BLUE), (~right, VERMILLION)):
                points = frame[rows].drop_duplicates(["margin", "base"])
                axes.plot(points["margin"], 1 - points["base"], "o", color=colour, ms=2.2, alpha=0.6, mew=0)
            axes.set(xlim=(-1.05, 1.05), ylim=(-0.05, 1.05))

        between = int((right & (frame["base"] > 0.5)).sum())
        lowest = 1 - frame["base"][right].max()
        top = 1 - frame["base"][~right].min()
        rows.append({"Rows": f"σ = {SIGMA:g}", "Network": NETWORKS[cell[0]], "Attack": ATTACKS[cell[1]],
                     "right": f"{right.sum():,}", "wrong": f"{(~right).sum():,}",
                     "right with p < 1/2": f"{between:,}", "lowest p of a right image": f"{lowest:.2f}",
                     "highest p of a wrong image": f"{top:.2f}"})
        alt = (f"share of the true class against its margin, {right.sum()} images right and {(~right).sum()} wrong;"
               f" in every wrong one the true class has a share of at most one half, as it has in {between} of the right ones")
        panels.append(drawing(draw, named(cell), "margin p − q", "p, share of the true class",
                              alt, f"bound p {name_of(*cell)}"))
    legend = {"vote right": (BLUE, "-"), "vote wrong": (VERMILLION, "-")}
    caption = (f"Share of the true class and margin: every dot is an image, σ = {SIGMA:g}. Shaded: where a dot can lie"
               f" if there are ten classes. {measured(about)}")
    return Figure(panels, legend, caption, Table(pd.DataFrame(rows), "Images by vote and share", 2, PLACE))


def ordered(folder=RESULTS):
    """Figure: the losses of each image, images sorted by margin: the area under a curve is its mean, a side of eq. (21)."""
    found, about = _all(folder)
    cells = [cell for cell in found if cell[0] == CHECKPOINT and cell[2] == SIGMA]
    if not cells:
        return undrawn("The losses of each image")
    panels, rows = [], []
    for cell in cells:
        frame = found[cell].sort_values(["margin", "base"], ascending=[False, True]).reset_index(drop=True)

        def draw(axes, frame=frame):
            place = np.arange(len(frame)) / len(frame) * 100
            axes.plot(place, frame["twice"], "o", color=GREEN, ms=1.4, alpha=0.7, mew=0)
            axes.plot(place, frame["base"], "o", color=VERMILLION, ms=1.4, alpha=0.8, mew=0)
            axes.step(place, frame["wrong"], color=INK, lw=2.6)
            axes.plot(place, frame["surrogate"], color=BLUE, lw=1.3)
            axes.set(ylim=(-0.05, 2.05), xlim=(0, 100))

        parts = {"all images": frame, "right ones": frame[frame["wrong"] == 0], "wrong ones": frame[frame["wrong"] == 1]}
        for images, part in parts.items():
            rows.append({"Rows": _title(cell), "Mean of": images, **{name: f"{part[of].mean():.3f}" for name, of in COLUMNS.items()}})
        alt = ("losses of the images sorted by margin; the step of the smoothed error lies under the surrogate everywhere and,"
               " where the vote is wrong, above the base loss")
        panels.append(drawing(draw, ATTACKS[cell[1]].capitalize() if cell[1] == "none" else ATTACKS[cell[1]],
                              "images by margin, %", "loss", alt, f"bound order {name_of(*cell)}"))
    caption = (f"The losses of each image: {NETWORKS[CHECKPOINT]}, σ = {SIGMA:g}, images sorted from the largest margin to"
               f" the smallest. {measured(about)}")
    return Figure(panels, LOOK, caption, Table(pd.DataFrame(rows), "Mean losses", 1, PLACE))


def _sides(found, about):
    """{cell: {curve: [mean, low, high]}}."""
    return {cell: {name: interval_of(frame[column], about) for name, column in COLUMNS.items()}
            for cell, frame in found.items()}


def sides(folder=RESULTS):
    """Figure: the means of the losses against σ, panels by network and attack."""
    found, about = _all(folder)
    if not found:
        return undrawn("Both sides of the bound")
    sides, panels, rows = _sides(found, about), [], []
    for checkpoint, attack in product(NETWORKS, ATTACKS):
        cells = [cell for cell in sides if cell[:2] == (checkpoint, attack)]
        if not cells:
            continue

        def draw(axes, cells=cells):
            for name, (colour, dashes) in LOOK.items():
                mean, low, high = (100 * np.array(column) for column in zip(*(sides[cell][name] for cell in cells)))
                sigmas = [cell[2] for cell in cells]
                colour = INK if colour == "currentColor" else colour
                axes.fill_between(sigmas, low, high, color=colour, alpha=0.12, lw=0)
                axes.plot(sigmas, mean, dashes, color=colour, marker="o")
            axes.set(xticks=[cell[2] for cell in cells], ylim=(0, 160))

        title = named((checkpoint, attack))
        ends = {name: [100 * sides[cells[end]][name][0] for end in (0, -1)] for name in LOOK}
        alt = "mean losses against σ, first to last: " + "; ".join(f"{name} {a:.0f} to {b:.0f} %" for name, (a, b) in ends.items())
        panels.append(drawing(draw, title, "σ (normalised units)", "mean loss, %", alt, f"bound sides {checkpoint} {attack}"))
        for cell in cells:
            change = interval_of(found[cell]["base"] - found[cell]["wrong"], about)
            texts = {name: shown(sides[cell][name], 1, 100) for name in LOOK}
            rows.append({"Rows": title, "σ": f"{cell[2]:g}", **texts, "base − wrong": shown(change, 1, 100)})
    caption = f"Both sides of the bound: mean losses over images. Bands: {sampled(about)}. {measured(about)}"
    return Figure(panels, LOOK, caption, Table(pd.DataFrame(rows), "Mean losses in percent (95 % interval)", 1, PLACE))


def violations(folder=RESULTS):
    """Table: for how many images each inequality fails, cell by cell."""
    found, about = _all(folder)
    if not found:
        return unfilled("Images that break an inequality")
    rows = []
    for cell, frame in found.items():
        failures = broken(frame)
        rows.append({"Rows": named(cell), "σ": f"{cell[2]:g}",
                     "wrong ≠ surrogate": f"{int((abs(frame['wrong'] - frame['surrogate']) > 1e-9).sum()):,}",
                     **{name: f"{number:,}" for name, number in failures.items()}})
    caption = (f"Images that break an inequality, of n = {about['images']:,} each. The first three columns are the paper's"
               f" eq. (20), the line after it, and the step that leads to that line; the last four are what can be proved."
               f" {measured(about)}")
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def halves(folder=RESULTS):
    """Table: one half of the passes votes, the other says how probable the true class was: the bound by Markov, tested.

    `wrong` of the one against 2 (1 - p) of the other. Image by image chance may break it, the mean must not: the chance
    that a vote of M passes is wrong is at most 2 (1 - p) for every M.
    """
    counts, labels, about = read(folder)
    if not counts:
        return unfilled("Votes against independent shares")
    rows, M = [], about["draws"] // HALVES
    for cell, (voting, telling) in counts.items():
        wrong = losses(*shares(voting, labels))["wrong"].to_numpy()
        p, _ = shares(telling, labels)
        above = (wrong == 1) & (p > 0.5)
        sure = sum(runs.clopper_pearson(round(share * M), M)[0] > 0.5 for share in p[above])
        n, bad = len(p), int(above.sum())
        low, high = runs.clopper_pearson(bad, n)
        rows.append({"Rows": named(cell), "σ": f"{cell[2]:g}", "wrong": f"{int(wrong.sum()):,}",
                     "of these p > 1/2": f"{bad:,} ({100 * low:.1f}–{100 * high:.1f} % of n)", "surely": f"{sure:,}",
                     "2 (1 − p) − wrong, %": shown(interval_of(2 * (1 - p) - wrong, about), 1, 100)})
    caption = (f"Votes against independent shares: {M} passes vote, {M} others estimate p. In brackets: exact, over images."
               f" Surely: the exact 95\u00a0% interval of p lies above 1/2. Last column: {sampled(about)}. {measured(about)}")
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def in_words(folder=RESULTS):
    """What the counts say, a Markdown list."""
    found, about = _all(folder)
    if not found:
        return f"{NOT_YET.capitalize()}."
    total, everything = sum(map(len, found.values())), pd.concat(found.values())
    failures, n_wrong = broken(everything), int(everything["wrong"].sum())
    equal = int((abs(everything["wrong"] - everything["surrogate"]) < 1e-9).sum())
    gained = {cell: interval_of(frame["base"] - frame["wrong"], about) for cell, frame in found.items()}
    better = sum(low > 0 for _, low, _ in gained.values())
    worse = sum(high < 0 for *_, high in gained.values())
    unsure = "; ".join(_title(cell) for cell, (_, low, high) in gained.items() if low <= 0 <= high)
    ties = int((abs(everything["margin"]) < 1e-9).sum())
    ratio = [frame["surrogate"].mean() / frame["base"].mean() for frame in found.values()]
    lines = [
        f"Of {total:,} pairs of image and cell, eq. (20) holds as an equality for {equal:,}; the surrogate is larger for all"
        f" others, by {(everything['surrogate'] - everything['wrong']).mean():.3f} on average over all pairs.",
        f"*wrong ≤ base*, the line after eq. (20), fails for {failures['wrong ≤ base']:,} of the {n_wrong:,} pairs whose vote is"
        f" wrong: for all but those whose true class got no vote at all. The step that leads there, *surrogate ≤ base*, fails"
        f" for {failures['surrogate ≤ base']:,} of {total:,}.",
        f"On average over images, *wrong ≤ base* holds over the whole 95\u00a0% interval (by batches) in {better} of {len(found)} cells,"
        f" and fails over the whole of it in {worse or 'none'}{f' (open: {unsure})' if unsure else ''}. That voting helps on average"
        f" is an observation, not a theorem.",
        f"*wrong ≤ surrogate*, *base ≤ surrogate ≤ 2 base* and *wrong ≤ 2 base* fail for"
        f" {sum(failures[name] for name, (_, _, always) in CLAIMS.items() if always) or 'none'}. The surrogate's mean is"
        f" {min(ratio):.2f} to {max(ratio):.2f} times the base loss.",
        f"Ties between the true class and another: {ties} of {total:,}, counted as right as in eq. (19).",
    ]
    return "\n".join(f"- {line}" for line in lines)
