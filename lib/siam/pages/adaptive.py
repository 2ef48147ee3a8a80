"""The page on attackers who know the defence: a figure and tables, from what `siam.studies.adaptive` wrote. No torch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from siam import bits, runs
from siam.files import read_other
from siam.pages.style import ALONE, GREY, INCHES, INK, NETWORKS, Figure, Table, drawing, listed, undrawn, unfilled
from siam.paired import mean_of, of_images, sum_of
from siam.paths import RESULTS
from siam.report import NOT_YET, TUNED, evaluations, interval, luck, nearest_luck, warning

PLACE = "adaptive/record.json"  # in data/results
FIELDS = ("cells", "epsilon", "batch", "n", "split")
PLAIN = "plain, adversarial training"  # no noise: what the others are held against
ANY = "any of them"  # an image counts as right only if it is so under every attacker
# Attackers that sentences and differences are about
BLIND, AUTO = "no gradients", "AutoAttack"
SUMMED = {"PGD": "PGD, summed", "EPGD": "EPGD, summed"}
ONE_BY_ONE = {"EPGD, 20 steps": "PGD, 160 steps", "aimed at the border": "aimed at the border, 160 steps"}  # of as many gradients
PGD, EPGD, LONG, OFF, BORDER, MOST = "PGD", "EPGD", "EPGD, 20 steps", "noise off", "aimed at the border", "aimed at the border, 32 draws"


class Network(NamedTuple):
    """One network: σ, its largest M, whether it draws any noise, the tier of its training, and for each attacker ("": none) which
    images are right [K, n] and how many gradients and other passes it takes an image."""

    sigma: float
    M: int
    noisy: bool
    trained: str
    right: dict
    cost: dict


def read(folder=RESULTS):
    """The record of `siam.studies.adaptive`, or None. Raises ValueError, one line, for a file that is none."""
    return read_other(Path(folder) / PLACE, "adaptive", FIELDS)


def networks(record, labels=None):
    """{label: Network} of those (among `labels`, where given) under the paper's two attackers at least; in ANY are the attackers that all
    of them face. A second network of one label has its checkpoint's name as well."""
    found, names = {}, {}
    for cell in record["cells"]:
        # Its label says nothing of how a network without noise was trained, its name does.
        label = PLAIN if cell["label"] == "plain" and "adversarial" in cell["checkpoint"] else cell["label"]
        label = names.setdefault(cell["checkpoint"], f"{label}, {cell['checkpoint']}" if label in names.values() else label)
        of = found.setdefault(label, Network(cell["sigma"], cell["draws"][-1], cell["noisy"], cell["trained"], {}, {}))
        of.right[cell["attacker"]] = bits.unpack(cell["right"], len(cell["draws"]), record["n"])
        if not cell["attacker"] or {"steps", "queries"} & set(cell):  # of an attacker of another kind it is not known
            of.cost[cell["attacker"]] = _cost(cell)
    found = {label: of for label, of in found.items() if {"", PGD, EPGD} <= set(of.right) and (labels is None or label in labels)}
    common = set.intersection(*(set(of.right) for of in found.values())) if found else set()
    return {label: of._replace(right=of.right | and_any({name: of.right[name] for name in common}))
            for label, of in found.items()}


def _cost(cell):
    """(gradients, other passes) of an image, by the attacker's settings: the passes compare images of its search, or find near classes."""
    samples, steps, judged, classes = (cell.get(key, 0) for key in ("samples", "steps", "judged", "classes"))
    if "then" in cell:  # of a network without noise: what `objectives` do, after a pass that says which classes are near
        return (1 + classes) * (steps + 1), 1 + 3 * (1 + classes)
    if objectives := len(cell.get("objectives", ())):  # each sees all images, at most: its votes, and both images of a comparison
        return objectives * (steps + 1) * samples, 3 * objectives * judged
    return (classes or 1) * steps * samples, samples + classes * judged if classes else 2 * cell.get("queries", 0) * samples


def and_any(right):
    """{attacker: which images are right}, and which are so under all of them ("" is none)."""
    return right | {ANY: np.logical_and.reduce([of for name, of in right.items() if name])}


def single(found):
    """The attackers that all of the networks `found` face, one by one."""
    first, *others = (of.right for of in found.values())
    return [name for name in first if name not in ("", ANY) and all(name in right for right in others)]


def about(record, found):
    """Which networks a record of attackers is of, those `found`, and the tier that it counts as: the end of a caption."""
    trained, tiers = {of.trained for of in found}, {cell["tier"] for cell in record["cells"]}
    return (f"Networks of the tier {' and '.join(sorted(trained))} on {record['n']:,} test images, which counts as tier"
            f" {' and '.join(sorted(tiers))}.{warning(tiers)}")


def cell_of(right, batch=0):
    """The accuracy of which images are right [n], with its interval: the exact one, and of a single pass, `batch` images of which share
    their draw, as wide as that over batches."""
    low, high = runs.clopper_pearson(int(right.sum()), len(right))
    if batch:
        low, high = runs.with_draws((low, high), right.astype(float), batch)
    return dict(accuracy=right.mean(), low=low, high=high)


def taken(record, of, attacker, other=EPGD):
    """Points that `attacker` takes from a Network's vote beyond what `other` does: a Difference of one network with itself."""
    return of_images(of.right[other][-1], of.right[attacker][-1], record["batch"], **measured_in(record))


def votes_add(record, of, attacker):
    """Points that the vote of a Network has over its single pass under an attacker, a Difference."""
    return of_images(of.right[attacker][-1], of.right[attacker][0], record["batch"], **measured_in(record))


def measured_in(record, place=PLACE):
    """What a Difference of one training says of its measurement: the record of attackers at `place`."""
    return dict(tier=min((cell["tier"] for cell in record["cells"]), key=runs.TIERS.index), n=record["n"], runs=1, ids=(place,))


def takes(folder, label, attacker, other):
    """Points that `attacker` takes from the vote of a network beyond what `other` does, a Difference; None where one is not measured."""
    record = read(folder)
    of = networks(record).get(label) if record else None
    return taken(record, of, attacker, other) if of and {attacker, other} <= set(of.right) else None


def lead(record, found, label, attacker, known):
    """Points that the vote of a network has over the one without noise, a Difference; None without the latter, and where no network
    was trained so often that one knows what another training changes: `known`, of `siam.report.luck`, which its ± allows for."""
    if PLAIN not in found:
        return None
    attack = "pgd" if attacker else "none"
    each = [nearest_luck(known, found[one].trained, attack, one != PLAIN) for one in (label, PLAIN)]
    if None in each:
        return None
    if label in TUNED and (added := nearest_luck(known, found[label].trained, attack, True, label)):
        each.append(added)
    right = [found[one].right[attacker][-1] for one in (label, PLAIN)]
    return of_images(*right, record["batch"], sum_of((1, of) for of in each), **measured_in(record))


# ------------------------------------------------------------------------------------------------ the page


def accuracies(folder=RESULTS):
    """Figure: the accuracy of every network's vote under every attacker; its numbers have one pass as well, and paired differences."""
    title, record = "Accuracy of the vote under attackers who know the defence", read(folder)
    found = networks(record) if record else {}
    if not found:
        return undrawn(title)
    attackers = [*single(found), ANY]
    look = {label: (NETWORKS.get(label, INK), "o") for label in found}

    def draw(axes):
        places = np.arange(len(attackers))
        for k, (label, of) in enumerate(found.items()):
            shift = 0.13 * (k - (len(found) - 1) / 2)
            axes.plot([100 * of.right[name][-1].mean() for name in attackers], places + shift, "o", color=look[label][0], ms=4)
        axes.set_yticks(places, attackers)
        axes.invert_yaxis()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.axhline(len(attackers) - 1.5, color=INK, lw=0.8)

    said, rows = [], []
    for label, of in found.items():
        name_of = f"{label}, σ = {of.sigma:g}, M = {of.M}" if of.noisy else f"{label}, no noise"
        said.append(f"{label}: " + ", ".join(f"{name} {100 * of.right[name][-1].mean():.1f} %" for name in attackers))
        for name, right in of.right.items():
            gain = votes_add(record, of, name) if of.noisy else ""
            beyond = taken(record, of, name) if name not in ("", EPGD) else ""
            longer = taken(record, of, name, LONG) if LONG in of.right and name not in ("", BLIND, PGD, EPGD, OFF, LONG, ANY) else ""
            rows.append({"Rows": name_of, "Attacker": name or "no attack",
                         "Gradients per image": f"{'≤ ' * (name == AUTO)}{of.cost[name][0]:,}" if name in of.cost else "",
                         "Other passes": f"{of.cost[name][1]:,}" if name in of.cost and of.cost[name][1] else "",
                         "one pass, %": interval(cell_of(right[0], record["batch"])) if of.noisy else "",
                         "the vote, %": interval(cell_of(right[-1])),
                         "vote less one pass": f"{gain}", "takes beyond EPGD": f"{beyond}", f"beyond {LONG}": f"{longer}"})
    wide = max(50 * (cell["high"] - cell["low"]) for of in found.values() for cell in (cell_of(of.right[name][-1]) for name in attackers))
    caption = (f"{title}, prediction smoothing, ε = {record['epsilon']:g}/255. {ANY.capitalize()}: images that are right under each of the"
               f" {len(single(found))} attackers that all of these networks met. Each point ± {wide:.1f} at most, but all share their"
               f" images and draws, so most differences are known more exactly: see below. {about(record, found.values())}")
    legend = {label: ("currentColor" if colour == INK else colour, mark) for label, (colour, mark) in look.items()}
    panel = drawing(draw, "All networks", "accuracy, %", "", "; ".join(said), "adaptive", 1.1 * ALONE, 1.5 * INCHES)
    name = "Accuracy in percent (95 % interval), and differences in points (± half a 95 % interval over batches)"
    return Figure([panel], legend, caption, Table(pd.DataFrame(rows), name, 1, PLACE))


def leads(folder=RESULTS):
    """Table: what each network's vote has over adversarial training without any noise, under each attacker."""
    record = read(folder)
    found, caption = networks(record) if record else {}, "The vote less adversarial training without noise"
    rows, known = [], luck(evaluations(folder))
    for name in ("", *single(found), ANY) if PLAIN in found else ():
        told = {f"{label}, σ = {of.sigma:g}": lead(record, found, label, name, known) for label, of in found.items() if of.noisy}
        rows.append({"Rows": "both under the same attacker", "Attacker": name or "no attack",
                     **{label: NOT_YET if one is None else str(one) for label, one in told.items()}})
    if not rows:
        return unfilled(f"{caption}.", ("Rows", "Attacker"))
    M = max(of.M for of in found.values())
    caption += (f": points of accuracy ± half a 95 % interval. Each interval holds by itself and allows for another training of either"
                f" network. All columns share one training without noise. Prediction smoothing, M = {M}. {about(record, found.values())}")
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def in_words(folder=RESULTS):
    """What the record says, a Markdown list."""
    record = read(folder)
    found = networks(record) if record else {}
    noisy, lines, known = {label: of for label, of in found.items() if of.noisy}, [], luck(evaluations(folder))
    for label, of in noisy.items():
        others = [name for name in single(found) if name != EPGD]
        strongest = min(others, key=lambda name: of.right[name][-1].sum())
        leaves = {name: f"{100 * of.right[name][-1].mean():.1f} %" for name in ("", PGD, EPGD, strongest, ANY)}
        beyond = taken(record, of, strongest).among(len(others))  # each of those it was picked from is to keep its 95 %
        lines.append(f"**{label}** (σ = {of.sigma:g}, M = {of.M}) is right on {leaves['']} of the images. PGD leaves {leaves[PGD]}, EPGD"
                     f" {leaves[EPGD]}; the strongest, *{strongest}*, {leaves[strongest]}, {beyond} points beyond EPGD, where ± allows for"
                     f" its being picked from {len(others)}. {leaves[ANY]} survive all {len(others) + 1}.")
    if noisy and OFF in single(found):
        told = [f"{taken(record, of, OFF, PGD)} beyond PGD and {taken(record, of, OFF)} beyond EPGD ({label})"
                for label, of in noisy.items()]
        costs = next(iter(noisy.values())).cost
        lines.append(f"PGD with the noise off uses {costs[OFF][0]} gradients per image, EPGD {costs[EPGD][0]}. What PGD with the"
                     f" noise off takes from the vote is, in points, {'; '.join(told)}.")
    for alone, together in SUMMED.items() if noisy else ():
        if together in single(found):
            told = ", ".join(f"{taken(record, of, together, alone)} ({label})" for label, of in found.items())
            lines.append(f"How much more {alone} takes when it steps along the sum of all gradients so far, in points: {told}.")
    if noisy and BLIND in single(found):
        told = [f"{taken(record, of, PGD, BLIND)} ({label})" for label, of in found.items()]
        costs = next(iter(noisy.values())).cost
        fewer = f" ({found[PLAIN].cost[BLIND][1]:,} for the network without noise)" if PLAIN in found else ""
        lines.append(f"The attacker who sees no gradients uses {costs[BLIND][1]:,} passes per image{fewer}, PGD {costs[PGD][0]}"
                     f" gradients. How much more PGD takes than this one, in points: {', '.join(told)}.")
    if noisy and {BORDER, MOST} <= set(single(found)):
        told = [f"{taken(record, of, MOST, BORDER)} ({label})" for label, of in noisy.items()]
        lines.append("How much more an attack aimed at the border takes from the vote with 32 draws a step than with 8, in points:"
                     f" {', '.join(told)}.")
    for averaged, each in ONE_BY_ONE.items() if noisy else ():
        if {averaged, each} <= set(single(found)):
            costs = next(iter(noisy.values())).cost
            told = [f"{taken(record, of, each, averaged)} ({label})" for label, of in noisy.items()]
            lines.append(f"With the {costs[each][0]} gradients of *{averaged}*, *{each}*, each along a single draw, takes more from the"
                         f" vote, in points: {', '.join(told)}.")
    if faced := {label: of for label, of in noisy.items() if {AUTO, MOST} <= set(of.right)}:
        costs = next(iter(faced.values())).cost
        told = "; ".join(f"{100 * of.right[AUTO][-1].mean():.1f} %, {taken(record, of, AUTO)} and {taken(record, of, AUTO, MOST)} ({label})"
                         for label, of in faced.items())
        lines.append(f"The accuracy that {AUTO}, with up to {costs[AUTO][0]:,} gradients per image, leaves the vote, and the points that it"
                     f" takes beyond EPGD and beyond *{MOST}* ({costs[MOST][0]} gradients): {told}.")
    if noisy:
        of_all = {name: mean_of(votes_add(record, of, name) for of in noisy.values()) for name in ("", *single(found), ANY)}
        told = "; ".join(f"{one} ({_italic([name or 'no attack'])})" for name, one in of_all.items())
        lines.append(f"The vote's lead over one pass, in points, mean of {len(noisy)} network{'s' * (len(noisy) > 1)}: {told}.")
    for label in noisy:
        each = {name: lead(record, found, label, name, known) for name in [*single(found), ANY]}
        if None not in each.values():
            ahead, behind = (_italic(name for name, one in each.items() if side(one)) for side in (
                lambda one: one.low > 0, lambda one: one.high < 0))
            lines.append(f"With each difference taken by itself, the vote of {label} is distinguishably ahead of adversarial training"
                         f" without noise under {ahead}; and behind under {behind}.")
    return listed(lines)


def _italic(names):
    """Names that have commas of their own, one after the other."""
    return ", ".join(f"*{name}*" for name in names) or "none of them"


def overview(folder=RESULTS, label="CPNI-W"):
    """Figure for the first page: a network's vote and its single pass beside adversarial training without noise, under few attackers and
    all of them together."""
    title, record = "What noise and votes are worth, and against whom", read(folder)
    found = networks(record, (label, PLAIN)) if record else {}
    if not {label, PLAIN} <= set(found):
        return undrawn(title)
    of, alone, colour = found[label], found[PLAIN], NETWORKS.get(label, INK)
    attackers = {"": "no attack"} | {name: name for name in (PGD, SUMMED[PGD], EPGD) if name in of.right}
    attackers[ANY] = f"best of {len(single(found))} attacks"
    series = {"adversarial training without noise": (alone, -1, GREY, "o"), f"one noisy pass of {label}": (of, 0, colour, "O"),
              f"the vote of {label}, M = {of.M}": (of, -1, colour, "o")}
    each = {text: [cell_of(one.right[name][row], 0 if row else record["batch"]) for name in attackers]
            for text, (one, row, *_) in series.items()}

    def draw(axes):
        places = np.arange(len(attackers))
        for k, (text, (*_, shade, mark)) in enumerate(series.items()):
            middle, low, high = (100 * np.array([cell[key] for cell in each[text]]) for key in ("accuracy", "low", "high"))
            axes.errorbar(middle, places + 0.2 * (k - 1), xerr=(middle - low, high - middle), fmt="o", color=shade, ms=5, elinewidth=1,
                          mfc="none" if mark == "O" else shade)
        axes.set_yticks(places, attackers.values())
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")

    said = "; ".join(f"{text}: " + ", ".join(f"{name} {100 * cell['accuracy']:.1f} %" for name, cell in zip(attackers.values(), of_text))
                     for text, of_text in each.items())
    rows = [{"Rows": "accuracy, % (95 % interval)", "Attack": name} | {text: interval(of_text[i]) for text, of_text in each.items()}
            for i, name in enumerate(attackers.values())]
    caption = (f"{title}: accuracy and its 95 % interval. {SUMMED[PGD]}: along the sum of its gradients, as in the authors' published"
               f" code. Last row: images that are right under each of the {len(single(found))} attackers. All points share their"
               f" images, so differences are more certain than the bars suggest. {label} at σ = {of.sigma:g}, in one pass as"
               f" in the vote, prediction smoothing, ε = {record['epsilon']:g}/255. {about(record, (of, alone))}")
    legend = {text: (shade, mark) for text, (*_, shade, mark) in series.items()}
    panel = drawing(draw, "What attacks leave", "accuracy, %", "", said, "overview", 1.1 * ALONE, 1.15 * INCHES)
    return Figure([panel], legend, caption, Table(pd.DataFrame(rows), title, 1, PLACE))


class Last(NamedTuple):
    """What is left of a network's `lead` under all of so many attackers together; its Network, and that without noise."""

    attackers: int
    lead: object
    voting: Network
    alone: Network


def last_lead(folder=RESULTS, label="CPNI-W"):
    """A Last, or None where that is not measured."""
    record = read(folder)
    found = networks(record, (label, PLAIN)) if record else {}
    if label not in found or (last := lead(record, found, label, ANY, luck(evaluations(folder)))) is None:
        return None
    return Last(len(single(found)), last, found[label], found[PLAIN])


def headline(folder=RESULTS, label="CPNI-W"):
    """`last_lead` as a sentence, or None."""
    last = last_lead(folder, label)
    if last is None:
        return None
    sure = ", which is not told apart from zero" if last.lead.unsure else ""
    left = [f"{100 * one.right[ANY][-1].mean():.1f} %" for one in (last.voting, last.alone)]
    return (f"**An attacker who knows.** If [the attacker who knows the defence](notebooks/adaptive.ipynb) may pick for each image the best"
            f" of {last.attackers} attacks, the vote is still right on {left[0]} of the images and adversarial training without noise"
            f" on {left[1]}: {last.lead} points{sure} ({label}, σ = {last.voting.sigma:g}, M = {last.voting.M}; tier {last.lead.tier},"
            f" n = {last.lead.n:,}).")
