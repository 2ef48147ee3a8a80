"""The page on attackers who know the defence: a figure and tables, from what `siam.studies.adaptive` wrote. No torch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from siam import bits, runs
from siam.files import read_other
from siam.pages.style import ALONE, INK, NETWORKS, Figure, Table, drawing, listed, undrawn
from siam.paired import by_image
from siam.paths import RESULTS
from siam.report import NOT_YET, evaluations, interval, luck, nearest_luck, warning

PLACE = "adaptive/record.json"  # in data/results
FIELDS = ("cells", "epsilon", "batch", "n", "split")
NAMES = {"plain": "plain, adversarial training"}  # no noise: what the others are held against
PLAIN, ANY = NAMES["plain"], "any of them"  # an image counts as right only if it is so under every attacker
PGD, EPGD, OFF = "PGD", "EPGD", "noise off"  # attackers that sentences are about


class Network(NamedTuple):
    """Of one network: σ, its largest M, and {attacker: which images are right [K, n]}, "" without an attack."""

    sigma: float
    M: int
    right: dict
    gradients: dict  # {attacker: gradients an image}


def read(folder=RESULTS):
    """The record of `siam.studies.adaptive`, or None. Raises ValueError, one line, for a file that is none."""
    path = Path(folder) / PLACE
    return read_other(path, "adaptive", FIELDS) if path.exists() else None


def networks(record):
    """{label: Network}, of the networks for which every attacker is measured."""
    found, everyone = {}, {cell["attacker"] for cell in record["cells"]}
    for cell in record["cells"]:
        label = NAMES.get(cell["label"], cell["label"])
        of = found.setdefault(label, Network(cell["sigma"], cell["draws"][-1], {}, {}))
        of.right[cell["attacker"]] = bits.unpack(cell["right"], len(cell["draws"]), record["n"])
        of.gradients[cell["attacker"]] = cell.get("steps", 0) * cell.get("samples", 0)
    found = {label: of for label, of in found.items() if set(of.right) == everyone and len(everyone) > 1}
    for of in found.values():
        attackers = [right for name, right in of.right.items() if name]
        of.right[ANY] = np.logical_and.reduce(attackers)
    return found


def _about(record):
    tiers = {cell["tier"] for cell in record["cells"]}
    return f"Tier {' and '.join(sorted(tiers))}, n = {record['n']:,} test images.{warning(tiers)}"


def _cell(right):
    low, high = runs.clopper_pearson(int(right.sum()), len(right))
    return dict(accuracy=right.mean(), low=low, high=high)


def taken(record, of, attacker, other=EPGD):
    """Points that `attacker` takes from a Network's vote beyond what `other` does: a Difference of one network with itself."""
    return by_image(100.0 * of.right[other][-1] - 100.0 * of.right[attacker][-1], record["batch"], n=record["n"])


def lead(record, found, label, attacker, folder=RESULTS):
    """Points that the vote of a network has over the one without noise, a Difference; None without the latter.

    Its ± counts what other trainings of the two would change, as our evaluations have it (`siam.report.luck`).
    """
    if PLAIN not in found:
        return None
    tier = min((cell["tier"] for cell in record["cells"]), key=runs.TIERS.index)
    of_training = nearest_luck(luck(evaluations(folder)), tier, "pgd" if attacker else "none")
    if of_training is None:
        return None
    each = 100.0 * found[label].right[attacker][-1] - 100.0 * found[PLAIN].right[attacker][-1]
    return by_image(each, record["batch"], (2 * of_training[0], of_training[1]), tier=tier, n=record["n"])


# ------------------------------------------------------------------------------------------------ the page


def accuracies(folder=RESULTS):
    """Figure: the accuracy of every network's vote under every attacker; its numbers have one pass as well, and what an attacker
    takes beyond EPGD."""
    title, record = "Accuracy of the vote under attackers who know the defence", read(folder)
    found = networks(record) if record else {}
    if not found:
        return undrawn(title)
    attackers = [name for name in next(iter(found.values())).right if name]
    look = {label: (NETWORKS.get(label, INK), "o") for label in found}

    def draw(axes):
        places = np.arange(len(attackers))
        for k, (label, of) in enumerate(found.items()):
            shift = 0.13 * (k - (len(found) - 1) / 2)
            axes.plot([100 * of.right[name][-1].mean() for name in attackers], places + shift, "o", color=look[label][0], ms=4.5)
        axes.set_yticks(places, attackers)
        axes.invert_yaxis()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.axhline(len(attackers) - 1.5, color=INK, lw=0.8)

    said, rows = [], []
    for label, of in found.items():
        name_of = f"{label}, σ = {of.sigma:g}, M = {of.M}" if of.M > 1 else f"{label}, no noise"
        said.append(f"{label}: " + ", ".join(f"{name} {100 * of.right[name][-1].mean():.1f} %" for name in attackers))
        for name, right in of.right.items():
            beyond = taken(record, of, name) if name not in ("", EPGD) else None
            rows.append({"Rows": name_of, "Attacker": name or "no attack",
                         "Gradients an image": f"{of.gradients[name]}" if name in of.gradients else "",
                         "one pass, %": interval(_cell(right[0])) if of.M > 1 else "",
                         "the vote, %": interval(_cell(right[-1])), "takes beyond EPGD": "" if beyond is None else str(beyond)})
    wide = max(50 * (cell["high"] - cell["low"]) for of in found.values() for cell in (_cell(of.right[name][-1]) for name in attackers))
    caption = (f"{title}, ε = {record['epsilon']:g}/255. {ANY.capitalize()}: images that are right under every attacker above. Each point"
               f" ± {wide:.1f}, but all are of the same images and draws: what one attacker takes beyond another is told far more exactly,"
               f" below. {_about(record)}")
    legend = {label: ("currentColor" if colour == INK else colour, mark) for label, (colour, mark) in look.items()}
    panel = drawing(draw, "All networks", "accuracy, %", "", "; ".join(said), "adaptive", 1.4 * ALONE)
    name = "Accuracy in percent (95 % interval), and points that an attacker takes beyond EPGD (± half a 95 % interval over batches)"
    return Figure([panel], legend, caption, Table(pd.DataFrame(rows), name, 1, PLACE))


def leads(folder=RESULTS):
    """Table: what each network's vote has over adversarial training without any noise, under each attacker."""
    record = read(folder)
    found, caption = networks(record) if record else {}, "The vote less adversarial training without noise"
    rows = []
    for name in next(iter(found.values())).right if PLAIN in found else ():
        told = {f"{label}, σ = {of.sigma:g}": lead(record, found, label, name, folder) for label, of in found.items() if label != PLAIN}
        rows.append({"Rows": "both under the same attacker", "Attacker": name or "no attack",
                     **{label: NOT_YET if one is None else str(one) for label, one in told.items()}})
    if not rows:
        return Table(pd.DataFrame([["both under the same attacker", NOT_YET]], columns=["Rows", "Attacker"]), f"{caption}.", 1)
    M = max(of.M for of in found.values())
    caption += (f": points of accuracy ± half a 95 % interval, that another training of either would give another number included. M = {M}."
                f" {_about(record)}")
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def in_words(folder=RESULTS):
    """What the record says, a Markdown list."""
    record = read(folder)
    found = networks(record) if record else {}
    noisy = {label: of for label, of in found.items() if of.M > 1}
    single = [name for name in next(iter(noisy.values())).right if name not in ("", ANY)] if noisy else []
    lines = []
    for label, of in noisy.items():
        strongest = min(single, key=lambda name: of.right[name][-1].sum())
        leaves = {name: f"{100 * of.right[name][-1].mean():.1f} %" for name in ("", PGD, EPGD, strongest, ANY)}
        # The strongest of several: each of them is to keep its 95 %.
        beyond = taken(record, of, strongest).among(len(single) - 1)
        more = "none of the others takes more"
        if strongest != EPGD:
            more = f"*{strongest}* leaves {leaves[strongest]}, {beyond} points beyond EPGD"
        lines.append(f"**{label}** (σ = {of.sigma:g}, M = {of.M}) is right on {leaves['']} of the images. PGD leaves {leaves[PGD]}, EPGD"
                     f" {leaves[EPGD]}; {more}. {leaves[ANY]} survive all {len(single)}.")
    if noisy and OFF in single:
        told = [f"{taken(record, of, OFF, PGD)} beyond PGD and {taken(record, of, OFF)} beyond EPGD ({label})"
                for label, of in noisy.items()]
        lines.append(f"With the noise off PGD costs an eighth of EPGD's gradients and takes, in points, {'; '.join(told)}.")
    return listed(lines)


def headline(folder=RESULTS, label="CPNI-W"):
    """What is left of a network's lead under all attackers together, a sentence; None where that is not measured."""
    record = read(folder)
    found = networks(record) if record else {}
    if label not in found or (last := lead(record, found, label, ANY, folder)) is None:
        return None
    of = found[label]
    single = sum(name not in ("", ANY) for name in of.right)
    sure = "" if last.low > 0 or last.high < 0 else ", which is not told apart from zero"
    left = [f"{100 * one.right[ANY][-1].mean():.1f} %" for one in (of, found[PLAIN])]
    return (f"[Attackers who know the defence](notebooks/adaptive.ipynb), {single} of them, leave {left[0]} to the vote and {left[1]} to"
            f" adversarial training without noise: {last} points{sure} ({label}, σ = {of.sigma:g}, M = {of.M}; tier {last.tier},"
            f" n = {last.n:,}).")
