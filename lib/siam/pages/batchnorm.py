"""The page on BatchNorm's statistics under noise: figures and their numbers, from what `siam.studies.batchnorm` wrote. No torch."""

from pathlib import Path

import pandas as pd

from siam.files import read_other
from siam.pages.style import BLUE, GREEN, INK, PINK, VERMILLION, Figure, Table, change, drawing, shown, undrawn
from siam.paths import RESULTS
from siam.report import ATTACKS, warning

PLACE = "batchnorm/record.json"  # in data/results
FIELDS = ("networks", "rows", "settings", "n", "tier", "split")
NETWORKS = {"plain": "no noise"}  # of those that were trained adversarially
NAMES = {"running": "running", "counted": "counted again", "whole": "counted on uncropped images", "draw": "each draw's",
         "batch": "the batch's own"}
LOOK = {"counted": GREEN, "whole": PINK, "draw": BLUE, "batch": VERMILLION}  # of those that are held against the first
LESS = [f"{NAMES[kind][0].upper()}{NAMES[kind][1:]} less running" for kind in LOOK]
COLUMNS = ["Network", "Noise", "σ", "Attack", "Running", *LESS]


def read(folder=RESULTS):
    """The record of `siam.studies.batchnorm`, or None. Raises ValueError, one line, for a file that is none."""
    return read_other(Path(folder) / PLACE, "batchnorm", FIELDS)


def _ends(average):
    return [average[name] for name in ("mean", "low", "high")]


def cells(record, M):
    """{(network's name, strength of its noise, σ): {attack: {statistics: row of the record}}} at M votes, in the order of the record."""
    names = {of["checkpoint"]: f"{NETWORKS.get(of['label'], of['label'])}, {of['tier']}" for of in record["networks"]}
    found = {}
    for row in (row for row in record["rows"] if row["M"] == M):
        cell = found.setdefault((names[row["checkpoint"]], row["strength"], row["sigma"]), {})
        cell.setdefault(row["attack"], {})[row["statistics"]] = row
    return found


def _named(name, strength, sigma):
    """A cell's name beside the axis."""
    return f"{name}{f', noise × {strength}' if strength != 1 else ''}{f', σ = {sigma:g}' if sigma else ''}"


def changes(M, folder=RESULTS):
    """Figure: what other statistics than the running ones add to the accuracy at M votes, a panel for clean images and one for PGD."""
    title = f"What BatchNorm's statistics change, {'one pass' if M == 1 else f'{M} votes'}"
    record = read(folder)
    if record is None:
        return undrawn(title)
    found, panels, lines = cells(record, M), [], []
    names = [_named(*cell) for cell in found]
    for attack in dict.fromkeys(attack for cell in found.values() for attack in cell):
        more = {kind: [cell[attack][kind]["more"] for cell in found.values()] for kind in LOOK}

        def draw(axes, more=more):
            axes.axvline(0, color=INK, lw=1)
            for (kind, of), off in zip(more.items(), (-0.27, -0.09, 0.09, 0.27)):
                mean = [one["mean"] for one in of]
                ends = [[m - one["low"] for m, one in zip(mean, of)], [one["high"] - m for m, one in zip(mean, of)]]
                axes.errorbar(mean, [i + off for i in range(len(of))], xerr=ends, fmt="o", color=LOOK[kind], ms=4, lw=1.3)
            axes.set_yticks(range(len(names)), [name.replace(", ", "\n", 1) for name in names])
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.grid(False, axis="y")

        said = "; ".join(f"{name}: " + ", ".join(f"{NAMES[kind]} {change(of[i], 1)}" for kind, of in more.items())
                         for i, name in enumerate(names))
        panels.append(drawing(draw, ATTACKS[attack], "points over running statistics", "", said, f"batchnorm {attack} {M}",
                              3.4, 0.52 * len(names) + 0.8))
    for (name, strength, sigma), cell in found.items():
        for attack, of in cell.items():
            lines.append(dict(zip(COLUMNS, (
                name, "none" if name.startswith(NETWORKS["plain"]) else f"× {strength}", f"{sigma:g}", ATTACKS[attack],
                shown(_ends(of["running"]["accuracy"]), 1), *(change(of[kind]["more"], 1) for kind in LOOK)))))
    batch, epsilon = (record["settings"][name] for name in ("batch", "epsilon"))
    caption = (f"{title}: points of accuracy relative to the running statistics, which all other pages use; same images, noise and"
               f" attack; 95 % intervals by Student's t over batches of {batch}, which all were"
               f" held beside one counting of the statistics and the same training images. First {record['n']:,} test images, prediction"
               f" smoothing,"
               f" PGD with ε = {epsilon:g}/255, made through the statistics under evaluation.{warning([record['tier']])}")
    numbers = Table(pd.DataFrame(lines), "Accuracy in percent by BatchNorm's statistics, differences in points (95 % intervals)", 3, PLACE)
    return Figure(panels, {NAMES[kind]: (colour, "o") for kind, colour in LOOK.items()}, caption, numbers)
