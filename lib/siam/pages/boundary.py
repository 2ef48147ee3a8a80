"""The page on decision boundaries: maps, curves and tables, from what `siam.studies.boundary` wrote. No torch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from scipy.stats import binom, norm

from siam.cifar10 import CLASSES, STD, sample
from siam.files import read_other
from siam.pages.grid import Grid
from siam.pages.style import ALONE, BLUE, GREEN, GREY, INK, NETWORKS, PINK, VERMILLION, Figure, Table, drawing, undrawn
from siam.paired import over_batches
from siam.paths import RESULTS
from siam.report import NOT_YET, warning

FIELDS = ("networks", "places", "draws", "epsilon", "reach", "alpha")
PLACE = "boundary/record.json"  # in data/results
LOOK = {"without noise": (INK, ":"), "one draw": (VERMILLION, "--"), "vote": (BLUE, "-")}  # how the three readings are drawn
NAMES = {"plain": "plain, normal training"}  # there is another plain network, trained on attacked images
DIRECTIONS = {"attack": "towards the attack", "random": "a random direction"}
ENOUGH = 100  # images that a condition leaves: on fewer no mean is compared
OTHERS = (VERMILLION, GREEN, PINK, "#E69F00", "#999999")  # classes but the image's own, by how much of a map they take


def read(folder=RESULTS):
    """The record of `siam.studies.boundary`, a dict, or None. Raises ValueError, one line, for a file that is none."""
    record = read_other(Path(folder) / PLACE, "boundary", FIELDS)
    if record is None:
        return None
    named = [{**one, "label": NAMES.get(one["label"], one["label"])} for one in record["networks"]]
    return {**record, "networks": named}


def _about(record):
    used = pd.DataFrame(record["networks"])
    return f"Tier {' and '.join(sorted(set(used['tier'])))}, n = {used['n'].min():,} test images.{warning(used['tier'])}"


def _difference(means, one, n):
    return over_batches(means, tier=one["tier"], n=n, runs=1, ids=(PLACE,))


# What claims are decided from: {comparison: a Difference}


def fewer_changes(record):
    """Changes of class along 100 lines that the vote has fewer than the network without noise, and than one draw."""
    found, most = {}, record["draws"]["lines"]
    for one in record["networks"]:
        changes = {(of["direction"], of["M"]): 100 * np.array(of["changes"]) for of in one["lines"]}
        for direction, words in DIRECTIONS.items():
            for other in (0, 1):
                fewer = changes[direction, other] - changes[direction, most]
                found[f"{one['label']}, {words}, {reading(other)} less vote"] = _difference(fewer, one, one["n"])
    return found


def reading(M):
    """What M is called, in words: 0 is the network without noise."""
    return {0: "without noise", 1: "one draw"}.get(M, f"vote of {M}")


def rise(record):
    """Points of probability by which an attack that fails lifts the strongest wrong class, of networks that have enough such images."""
    return {one["label"]: _difference(100 * np.array(one["competing"]["rose"]), one, one["competing"]["n"])
            for one in record["networks"] if one["competing"]["n"] >= ENOUGH}


class Median(NamedTuple):
    """Of n values, with its exact interval by order, of 95 % where it is the only one."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self):
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def median_radius(record, together=1):
    """{label: the Median of R / σ over images that are certified as what they are, and over all, 0 for those that are not}; together:
    how many of their intervals are to hold together with 95 %."""
    found = {}
    for one in record["networks"]:
        certified = np.array(one["certified"])
        if (certified > 0).sum() >= ENOUGH:
            found[one["label"]] = (_median(certified[certified > 0], together),
                                    _median(np.maximum(certified, 0), together))
    return found


def _median(values, together):
    # Of k independent values the median lies between the r-th from below and the r-th from above, but for one set in 20 · together.
    values, k = np.sort(values), len(values)
    r = int(binom.ppf(0.025 / together, k, 0.5))
    return Median(float(np.median(values)), float(values[r - 1]), float(values[-r]), k)


def largest(record):
    """The largest R / σ that so many passes can certify: all of them agree."""
    return norm.ppf(record["alpha"] ** (1 / (record["draws"]["certified"] - record["draws"]["chosen"])))


# ------------------------------------------------------------------------------------------------ the page


def maps(folder=RESULTS, label="CPNI-W"):
    """Grid: the class that each classifier sees on a plane through an image, a row for each of the first test images."""
    title, record = "Decision boundaries around test images", read(folder)
    one = next((one for one in record["networks"] if one["label"] == label), None) if record else None
    if one is None:
        return Grid(f"{title}. {NOT_YET.capitalize()}.", [], {})
    pictures = sample()["test_images"][: len(one["slices"])]
    reach = record["reach"]
    said = [np.array([list(map(int, row)) for row in rows]).reshape(3, len(rows) // 3, -1) for rows in one["slices"]]
    colours = [_colours(maps, own) for maps, own in zip(said, one["labels"])]
    drawn = [_coloured(maps, of, reach) for maps, of in zip(said, colours)]
    columns = {("image", ""): pictures} | {(name, "" if name != "vote" else f"M = {record['draws']['slices']}"): np.stack(of)
                                           for name, of in zip(LOOK, zip(*drawn))}
    caption = (f"{title}: {label}. The first {len(drawn)} test images, not hand-picked; σ = {one['sigma']:g}. The centre of a map is the"
               f" image. To the right lies what PGD-{record['steps']} of ε = {record['epsilon']:g}/255, made on the noisy network,"
               f" adds to it, its full length at the small cross and {reach:g} times that at the edge. Upwards lies a random direction of"
               f" the same length. Blue: the image's own class. The other colours are named under each image, in order of how much of the"
               f" row they take. Each pass keeps one draw over the whole map. Tier {one['tier']}.")
    keys = [{CLASSES[c]: colour for c, colour in of.items()} for of in colours]
    return Grid(caption, [CLASSES[label] for label in one["labels"]], columns, width=7, keys=keys)


def _colours(said, own):
    """The colours of the classes in some maps: {class: colour}, the image's own first, then by how much of the maps they take."""
    counts = np.bincount(said.ravel(), minlength=10)
    others = [c for c in np.argsort(-counts, kind="stable") if c != own and counts[c]]
    return {own: BLUE} | {int(c): OTHERS[min(place, len(OTHERS) - 1)] for place, c in enumerate(others)}


def _coloured(said, colours, reach):
    """Maps of classes [3, side, side] as pictures uint8 [3, 3 side, 3 side, 3]: the same colours in all, the image and the
    attacked image marked."""
    palette = np.zeros((10, 3))
    for c, colour in colours.items():
        palette[c] = to_rgb(colour)
    pictures = np.kron((255 * palette[said]).astype(np.uint8), np.ones((1, 3, 3, 1), np.uint8))
    centre = pictures.shape[1] // 2
    there = centre + round(3 * (said.shape[1] - 1) / 2 / reach)
    for across, half in ((centre, 4), (there, 2)):
        pictures[:, centre - half : centre + half + 1, across - half // 4 : across + half // 4 + 1] = 255
        pictures[:, centre - half // 4 : centre + half // 4 + 1, across - half : across + half + 1] = 255
    return pictures


def lines(folder=RESULTS):
    """Figure: the share of images whose class is still that of the image itself, against the way gone, a panel for each
    network and direction; its numbers have how often the class changes, for each M."""
    title, record = "How far the class stays the same", read(folder)
    if record is None:
        return undrawn(title)
    panels, rows, fewer, places = [], [], fewer_changes(record), record["places"]
    drawn = dict(zip((0, 1, record["draws"]["lines"]), LOOK.values()))
    for one in record["networks"]:
        for direction, words in DIRECTIONS.items():
            of = {line["M"]: line for line in one["lines"] if line["direction"] == direction}
            unchanged = {M: 100 * (1 - np.array(line["changed"])) for M, line in of.items()}

            def draw(axes, unchanged=unchanged):
                for M, (colour, dashes) in drawn.items():
                    axes.plot(places, unchanged[M], dashes, color=colour)
                axes.set(ylim=(0, 103))

            near = int(np.argmin(np.abs(np.array(places) - 1)))
            said = "; ".join(f"{reading(M)}: {unchanged[M][near]:.0f} % after ε, {unchanged[M][-1]:.0f} % at the end" for M in drawn)
            panels.append(drawing(draw, one["label"], f"{words}, in ε", "class unchanged, %", said, f"lines {one['label']} {direction}"))
            for M, line in of.items():
                less = fewer.get(f"{one['label']}, {words}, {reading(M)} less vote")
                rows.append({"Rows": "lines from test images", "Network": f"{one['label']}, σ = {one['sigma']:g}", "Direction": words,
                             "Classifier": reading(M), "class unchanged after ε, %": f"{unchanged[M][near]:.1f}",
                             "changes of class in 100 lines": f"{100 * np.mean(line['changes']):.1f}",
                             f"less vote of {record['draws']['lines']}": "" if less is None else str(less)})
    caption = (f"{title}: along lines {places[-1]:g} ε long, in the direction of what PGD-{record['steps']}, made on the noisy"
               f" network, adds, and in a random one that is as long in every pixel. {_about(record)}")
    legend = {f"vote of {record['draws']['lines']}" if name == "vote" else name: ("currentColor" if colour == INK else colour, dashes)
              for name, (colour, dashes) in LOOK.items()}
    name = "Changes of class along lines (± half a 95 % interval over batches)"
    return Figure(panels, legend, caption, Table(pd.DataFrame(rows), name, 2, PLACE))


def competing(folder=RESULTS):
    """Figure: the strongest wrong class's probability before and after an attack that fails, a panel for each network."""
    title, record = "Competing classes where the attack fails", read(folder)
    if record is None:
        return undrawn(title)
    panels, rows, rises = [], [], rise(record)
    for one in record["networks"]:
        before, after = (np.sort(one["competing"][name]) for name in ("before", "after"))
        share = 100 * np.arange(1, len(before) + 1) / len(before)

        def draw(axes, before=before, after=after, share=share):
            axes.step(before, share, color=INK, ls=":", where="post")
            axes.step(after, share, color=VERMILLION, where="post")
            axes.set(xlim=(0, None), ylim=(0, 103))

        higher = 100 * np.mean(np.array(one["competing"]["after"]) > np.array(one["competing"]["before"]))
        said = f"mean {before.mean():.3f} before, {after.mean():.3f} after"
        axis, salt = "images with at most that, %", f"competing {one['label']}"
        panels.append(drawing(draw, one["label"], "probability of the runner-up", axis, said, salt))
        rows.append({"Rows": "images on which the vote is right before and after", "Network": f"{one['label']}, σ = {one['sigma']:g}",
                     "Images": f"{len(before):,}", "mean before": f"{before.mean():.3f}", "mean after": f"{after.mean():.3f}",
                     "rise, points": str(rises.get(one["label"], "too few images")),
                     "images where it rises, %": f"{higher:.1f}"})
    caption = (f"{title}: the strongest wrong class's softmax, the mean over M = {record['draws']['competing']} passes, on images on which"
               f" the vote is right before and after PGD-{record['steps']}; the curves give the share of these images with at most that"
               f" probability. {_about(record)}")
    legend = {"before the attack": ("currentColor", ":"), "after it": (VERMILLION, "-")}
    name = "The strongest wrong class (rise ± half a 95 % interval over batches)"
    return Figure(panels, legend, caption, Table(pd.DataFrame(rows), name, 1, PLACE))


def certified(folder=RESULTS):
    """Figure: certified accuracy against the radius in units of σ, a curve for each network."""
    title, record = "Certified radii", read(folder)
    if record is None:
        return undrawn(title)
    grid, medians = np.linspace(0, 2.3, 93), median_radius(record)
    curves = {one["label"]: [100 * np.mean(np.array(one["certified"]) > r) for r in grid] for one in record["networks"]}
    look = {label: (NETWORKS.get(label, GREY), "-") for label in curves}

    def draw(axes):
        for label, curve in curves.items():
            axes.plot(grid, curve, color=look[label][0])
        axes.axvline(0.5, color=INK, ls=":", lw=1)
        axes.annotate("σ/2", (0.5, 2), xytext=(3, 0), textcoords="offset points")
        axes.set(ylim=(0, None))

    said = "; ".join(f"{label}: {curve[0]:.0f} % at 0, {curve[20]:.0f} % at σ/2, {curve[40]:.0f} % at σ" for label, curve in curves.items())
    rows = []
    for one in record["networks"]:
        ratios, (median, of_all) = np.array(one["certified"]), medians.get(one["label"], (None, None))
        rows.append({"Rows": "L2 radius R", "Network": f"{one['label']}, σ = {one['sigma']:g}",
                     **{f"certified right at {name}, %": f"{100 * np.mean(ratios > r):.1f}"
                        for name, r in (("R > 0", 0), ("σ/2", 0.5), ("σ", 1))},
                     "median R / σ": NOT_YET if median is None else f"{median}", "of": "" if median is None else f"{median.n:,} images",
                     "median R, pixels": "" if median is None else f"{median.value * one['sigma'] * min(STD):.3f}",
                     "median R / σ of all": NOT_YET if of_all is None else f"{of_all}"})
    caption = (f"{title}: the share of images certified as their true class, each with {100 * (1 - record['alpha']):g} % confidence,"
               f" against the radius in units of σ. M = {record['draws']['certified']}, of which {record['draws']['chosen']} choose the"
               f" class. {_about(record)}")
    panel = drawing(draw, "All networks", "radius R / σ", "certified and right, %", said, "certified", ALONE)
    return Figure([panel], look, caption, Table(pd.DataFrame(rows), "Certified radii (95 % interval)", 1, PLACE))
