"""How a verdict is read off records: cells, their differences, and what chance allows to be said of them.

`siam.claims` has the claims, `siam.paired` the differences. A verdict is read off cells of at least LEAST images, one about
spread off at least SEEDS runs. A difference counts where its 95 % interval leaves out zero.
"""

from dataclasses import dataclass, field, replace
from itertools import compress, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2, t

from siam import runs
from siam.paired import averaged, less, luck_of, mean_of
from siam.paths import RESULTS
from siam.report import (ATTACKS, BASES, NOT_YET, SIGMA_MAX, as_in_paper, by_tier, cells, chosen, evaluations, interval, measured_on,
                         of_any_effort, of_eight, select)

HOLDS, PART, FAILS, OPEN = "holds", "holds in part", "does not hold", "undecided"
VERDICTS = (HOLDS, PART, FAILS, OPEN, NOT_YET)
LEAST, SEEDS = 1000, 3  # images; runs of a std
SAME = 2.0  # points: two accuracies agree where their difference is surely less; the gain of rank 5, "at least 2%", is of that size
NARROW = 0.12  # σ: an optimum is found where the range that it lies in is no wider
METHODS = {"Gauss": "gauss", "EPGD-converged": "epgd", "EPGD-diverged": "epgd"}  # else adversarial


@dataclass(frozen=True)
class Verdict:
    """verdict: one of VERDICTS. evidence: one line. tier: the worst of what was compared, or "". ids: its records. missing: how
    many of the comparisons that the claim asks for are not measured."""

    verdict: str
    evidence: str
    tier: str = ""
    ids: tuple = ()
    missing: int = 0


class Place(NamedTuple):
    """What names a cell of test images under the paper's attacks; sigma is rounded to six digits."""

    label: str
    method: str
    rule: str
    attack: str
    sigma: float
    M: int


@dataclass(frozen=True)
class Measured:
    """Records as the claims read them, of networks trained at one tier. at: cells of test images by their Place; others: those of
    other PGD and EPGD than the paper's by (label, steps, samples, σ, M), prediction smoothing; transfers: those of PGD made on one
    network and shown to another by their digests (source, target), prediction smoothing, σ = 0.02, M = 8. repeated: as `at`, but of one
    training of each network, that evaluated with the most seeds: a std over runs is of these. levels: the same of each tier
    whose levels may be held against the paper's, best first."""

    folder: Path
    at: dict
    others: dict
    transfers: dict
    repeated: dict
    heldout: pd.DataFrame
    frame: pd.DataFrame = field(repr=False)
    levels: tuple = field(default=(), repr=False)


def read(folder=RESULTS):
    """What the functions below are given, a Measured for each of `report.by_tier`, in their order. Raises ValueError for a file
    in folder that is no record."""
    everything = evaluations(folder)
    found = [_measured(folder, of, everything[everything["trained"].isin(of["trained"])]) for of in by_tier(everything)]
    levels = tuple(one for one in found if set(one.frame["trained"]) & set(runs.REPRODUCTIONS))
    return [replace(one, levels=levels) for one in found]


def _measured(folder, frame, everything):
    held = frame["split"] == "heldout"
    ours = of_eight(frame[~held & (frame["n"] >= LEAST)])
    longer = of_any_effort(everything[everything["digest"].isin(frame["digest"]) & (everything["n"] >= LEAST)])
    others = {(cell["label"], steps, samples, round(cell["sigma"], 6), cell["M"]): cell
              for (steps, samples), of in longer.groupby(["steps", "samples"]) for _, cell in cells(of).iterrows()}
    heldout, tested = cells(frame[held]), everything[everything["split"] == "test"]
    at, repeated = (placed(cells(of)) for of in (ours, of_one_training(ours)))
    return Measured(Path(folder), at, others, _transfers(tested), repeated, heldout, as_in_paper(tested))


def of_one_training(frame):
    """Of evaluations those of one training of each network, the one evaluated with the most seeds: its runs alone are independent."""
    each = frame.groupby(["label", "method", "digest"])["seed"].agg(["nunique", "size"]).sort_values(["nunique", "size"])
    return frame[frame["digest"].isin(each.reset_index().drop_duplicates(["label", "method"], keep="last")["digest"])]


def placed(cells):
    """{Place: cell} of `report.cells`."""
    return {Place(cell["label"], cell["method"], cell["rule"], cell["attack"], round(cell["sigma"], 6), cell["M"]): cell
            for _, cell in cells.iterrows()}


def _transfers(tested):
    """`Measured.transfers`."""
    shown = select(tested, attack="transferred pgd", rule="prediction", M=8, sigma=0.02, steps=7, epsilon=8, seed=0)
    shown = shown[shown["n"] >= LEAST]
    found = cells(shown.assign(label=list(zip(shown["source"], shown["digest"]))))  # so that no two pairs share a cell
    of_one = found.assign(label=[target for _, target in found["label"]])  # whatever the source, it is the target that answers
    return dict(zip(found["label"], (cell for _, cell in of_one.iterrows())))


class Optimum(NamedTuple):
    """best: the cell of the highest accuracy over σ; near: the σ not told apart from its. The optimum lies between low and high:
    the nearest σ on either side that is told apart, or 0 or SIGMA_MAX, which belong to it; where the grid ends before either, high is
    infinite. cells: all that were compared.

    The true best σ is among `near` so surely that all of the `ranges` that `optimum_of` was told of hold theirs with 95 %."""

    best: pd.Series
    low: float
    high: float
    near: list
    cells: list


# Cells and their differences


def pick(measured, label, attack, M, sigma, rule="prediction"):
    """A cell of at least LEAST test images, or None."""
    return measured.at.get(_place(label, attack, M, sigma, rule))


def pick_repeated(measured, label, attack, M, sigma, rule="prediction"):
    """The same of one training alone (`Measured.repeated`)."""
    return measured.repeated.get(_place(label, attack, M, sigma, rule))


def _place(label, attack, M, sigma, rule):
    return Place(label, METHODS.get(label, "adversarial"), rule, attack, round(sigma, 6), M)


def pick_other(measured, label, steps, samples, sigma, M):
    """The cell of at least LEAST test images under PGD of `steps` steps, or EPGD of `samples` samples a step; or None."""
    return measured.others.get((label, steps, samples, round(sigma, 6), M))


def draws_of(measured, label, attack, sigma=None):
    wanted = label, METHODS.get(label, "adversarial"), "prediction", attack
    return {at.M for at in measured.at if (at.label, at.method, at.rule, at.attack) == wanted and sigma in (None, at.sigma)}


def sigmas_of(measured, label, attack, M, rule="prediction"):
    wanted = label, METHODS.get(label, "adversarial"), rule, attack, M
    return sorted(at.sigma for at in measured.at if (at.label, at.method, at.rule, at.attack, at.M) == wanted)


def pick_chosen(measured, label, attack, M=None):
    """The cell of test images at the σ and M (or the σ at a given M), of those measured on them, that have the best PGD
    accuracy on held-out images."""
    heldout = select(measured.heldout, label=label, rule="prediction", **{} if M is None else {"M": M})
    there = [pick(measured, label, "pgd", cell.M, cell.sigma) is not None for cell in heldout.itertuples()]
    row = chosen(heldout[np.array(there, bool)], label, "prediction")
    return None if row["M"] == "–" else pick(measured, label, attack, row["M"], row["sigma"])


def at_sigmas(measured, label, attack, one, other):
    """{σ up to SIGMA_MAX: the difference of two (rule, M) of a network, or None}; M = None: the largest there is at a σ."""
    found = {}
    for sigma in sorted({at.sigma for at in measured.at if (at.label, at.attack) == (label, attack) and at.sigma <= SIGMA_MAX}):
        Ms = [M if M else max(draws_of(measured, label, attack, sigma), default=0) for _, M in (one, other)]
        pair = [pick(measured, label, attack, M, sigma, rule) for (rule, _), M in zip((one, other), Ms)]
        if Ms[0] != Ms[1] or one[0] != other[0]:
            found[sigma] = less(*pair)
    return found


def over_sigmas(measured, label, attack, one, other):
    """The mean of `at_sigmas`."""
    return mean_of(at_sigmas(measured, label, attack, one, other).values())


def votes_add(measured, one, other, attacks):
    """What M = `one` adds to M = `other`, averaged over σ, for each base model and attack."""
    return {f"{label}, {ATTACKS[attack]}": over_sigmas(measured, label, attack, ("prediction", one), ("prediction", other))
            for label, attack in product(BASES, attacks)}


def prediction_adds(measured, Ms, attacks, rule):
    """What prediction smoothing has more than another rule, averaged over σ."""
    return {f"{label}, {ATTACKS[attack]}, M = {M}, {rule}": over_sigmas(measured, label, attack, ("prediction", M), (rule, M))
            for label, attack, M in product(BASES, attacks, Ms)}


def on_average(differences, name):
    """{name: the mean of {what: Difference or None}}, and as None those that are not in it (`paired.mean_of`): a claim about all asks
    for them too."""
    found = [one for one in differences.values() if one is not None]
    used = averaged(found)
    return {name: mean_of(found)} | {what: None for what, one in differences.items() if not any(one is other for other in used)}


# Verdicts from differences


def rises(difference, at_least=0.0, at_most=np.inf):
    """Is it surely above zero, and surely of the size that is said? A wide interval reaches any size, and proves none."""
    if difference.low > 0:
        return HOLDS if at_least <= difference.low and difference.high <= at_most else PART
    return FAILS if difference.high < 0 or difference.high < at_least else OPEN


def agrees(difference):
    """Is it surely less than SAME in size, or surely more?"""
    if -SAME < difference.low and difference.high < SAME:
        return HOLDS
    return FAILS if difference.low > SAME or difference.high < -SAME else OPEN


def together(each, complete=True):
    """One verdict of several: what holds everywhere holds, what holds somewhere holds in part."""
    if set(each) == {HOLDS}:
        return HOLDS if complete else PART
    if HOLDS in each or PART in each:
        return PART
    return FAILS if FAILS in each else OPEN


def judge(differences, lacking, decide=rises):
    """The verdict of {what: Difference or None}; lacking: what would measure those that are None.

    decide: a function of a Difference, or one for each. Where not all hold, chance would have its way with some of many:
    what some of k do is read off intervals that all k keep with 95 % (Bonferroni).
    """
    found = {name: one for name, one in differences.items() if one is not None}
    if not found:
        return lacks(lacking)
    decide = decide if isinstance(decide, dict) else dict.fromkeys(found, decide)
    each = {name: decide[name](one) for name, one in found.items()}
    if set(each.values()) != {HOLDS}:
        each = {name: decide[name](one.among(len(found))) for name, one in found.items()}
    said = summary({name: f"{name}: {one}{_alone(one)}" for name, one in found.items()}, each)
    if len(found) > 4:
        ends = [find(found, key=lambda name: found[name].points) for find in (min, max)]
        said += "; from " + " to ".join(f"{found[name]} ({name})" for name in ends)
    missing = [name for name in differences if name not in found]
    said += "" if not missing else f"; {NOT_YET}: {', '.join(missing) if len(missing) < 5 else f'{len(missing)} more'}"
    return decided(together(list(each.values()), not missing), said, found.values(), len(missing))


def _alone(one):
    """How far a Difference between trainings is from sure for its images and draws alone."""
    return f", ± {one.half_alone:.1f} without the luck of training" if one.luck[0] else ""


def summary(texts, each):
    """Up to four texts, or how many comparisons have which verdict."""
    kinds = [f"{kind} for {list(each.values()).count(kind)}" for kind in VERDICTS if kind in each.values()]
    return "; ".join(texts.values()) if len(texts) < 5 else f"Of {len(texts)} comparisons: {', '.join(kinds)}"


def decided(verdict, evidence, used, missing=0):
    """A Verdict on some cells or differences: the worst tier, and what they have at least."""
    used = [dict(tier=one.tier, n=one.n, runs=one.runs, ids=one.ids) for one in used]
    tier = min((one["tier"] for one in used), key=runs.TIERS.index)
    n, least = min(one["n"] for one in used), min(one["runs"] for one in used)
    about = f"tier {tier}, n = {n:,}, {least} run{'s' if least > 1 else ''} or more"
    return Verdict(verdict, f"{evidence} ({about}).", tier, tuple(sorted({id for one in used for id in one["ids"]})), missing)


def lacks(lacking):
    return Verdict(NOT_YET, f"Lacking: {lacking}.")


def level(measured, find, decide, lacking):
    """A verdict on an accuracy itself: not at a tier whose levels say nothing about the paper's. That of a schedule shorter than the
    paper's reaches an accuracy or leaves the question open, as the schedule alone may be why it does not.

    find: takes a Measured and gives the cell or None. One network is enough, so the best tier decides that has it.
    """
    there = [cell for cell in map(find, (*measured.levels, measured)) if cell is not None]
    cell = max(there, key=lambda cell: runs.TIERS.index(cell["tier"]), default=None)
    if cell is None:
        return lacks(lacking)
    # Another training would have had another level.
    (variance, freedom), accuracy = luck_of(cell), 100 * cell["accuracy"]
    half = t.ppf(0.975, freedom) * np.sqrt(variance)
    low, high = (accuracy + way * np.hypot(100 * cell[end] - accuracy, half) for way, end in ((-1, "low"), (1, "high")))
    said = f"{interval(cell)} %" + (f", ± {half:.1f} by the luck of training" if variance else "")
    if cell["tier"] not in runs.REPRODUCTIONS:
        weak = f"measured only at tier {cell['tier']}, whose levels say nothing about the paper's: {said} (n = {cell['n']:,})"
        return Verdict(NOT_YET, f"{weak[0].upper()}{weak[1:]}. Lacking: {lacking}.", cell["tier"], tuple(sorted(cell["ids"])))
    verdict = decide(low, high)
    if verdict == FAILS and cell["tier"] != "paper":
        verdict, said = OPEN, f"{said}, which is less, but comes from a schedule shorter than the paper's, and that alone may be why"
    return decided(verdict, said, [cell])


def spread(pairs, decide, lacking, labels=()):
    """A verdict on {what: cells of `Measured.repeated`}, each decided from their runs, of which they share the seeds: none with fewer
    than SEEDS. labels: of each of them, which is what a name begins with, the claim asks for something; what it asks for is not known
    otherwise.

    decide: takes the cells and how many comparisons are to keep the 95 % together, as in `judge`.
    """
    there = {name: of for name, of in pairs.items() if all(cell is not None for cell in of)}
    found = {name: _shared(of) for name, of in there.items() if len({measured_on(cell) for cell in of}) == 1}
    enough = {name: of for name, of in found.items() if all(cell["runs"] >= SEEDS for cell in of)}
    if not enough:
        have = max((min(cell["runs"] for cell in of) for of in found.values()), default=0)
        return lacks(f"{SEEDS} or more runs of each cell (there {'is' if have == 1 else 'are'} {have}); {lacking}")
    each = {name: decide(*of, comparisons=1) for name, of in enough.items()}
    if set(each.values()) != {HOLDS}:
        each = {name: decide(*of, comparisons=len(enough)) for name, of in enough.items()}
    said = {name: f"{name}: " + " and ".join(f"{100 * cell['accuracy']:.2f} (std {100 * cell['std']:.2f})" for cell in of)
            for name, of in enough.items()}
    used, few, none = [cell for of in enough.values() for cell in of], len(found) - len(enough), len(pairs) - len(found)
    missing = sum(all(name.partition(",")[0] != label for name in enough) for label in labels) if labels else few + none
    text = summary(said, each)
    if len(said) > 4:
        text += f"; stds from {100 * min(cell['std'] for cell in used):.2f} to {100 * max(cell['std'] for cell in used):.2f} points"
    text += f"; {few} more with fewer than {SEEDS} runs" if few else ""
    text += f"; {NOT_YET}: {none} more" if none else ""
    return decided(together(list(each.values()), not missing), text, used, missing)


def _shared(of):
    """Cells of those runs only, by their seeds, that all of them have."""
    common, found = set.intersection(*(set(cell["seeds"]) for cell in of)), []
    for cell in of:
        kept = [seeds in common for seeds in cell["seeds"]]
        each = {name: tuple(compress(cell[name], kept)) for name in ("ids", "seeds", "accuracies", "right", "networks", "roots")}
        accuracies = each["accuracies"]
        mean, std = (np.mean(accuracies), np.std(accuracies, ddof=1)) if len(accuracies) > 1 else (np.nan, np.nan)
        found.append(pd.Series(cell.to_dict() | each | dict(accuracy=mean, std=std, runs=len(accuracies)), dtype=object))
    return found


def std_limits(cells, comparisons=1):
    """95 % limits, by χ², of the largest std over runs of some cells, in points. Three runs tell little: from half of it to six times."""
    if all(cell["std"] == 0 for cell in cells):
        return 0.0, np.inf  # few counts may be the same by chance, and χ² then knows no upper limit
    cell, tail = max(cells, key=lambda cell: cell["std"]), 0.025 / comparisons / len(cells)  # any of them may be largest by luck
    freedom = cell["runs"] - 1
    return 100 * cell["std"] * np.sqrt(freedom / chi2.ppf([1 - tail, tail], freedom))


def optimum_of(measured, label, attack, rule="prediction", M=8, ranges=2):
    """The Optimum over σ up to SIGMA_MAX, or None where fewer than 4 σ are measured. ranges: how many hold together with 95 %."""
    found = [pick(measured, label, attack, M, sigma, rule) for sigma in sigmas_of(measured, label, attack, M, rule) if sigma <= SIGMA_MAX]
    found = [cell for cell in found if measured_on(cell) == max(map(measured_on, found))]
    if len(found) < 4:
        return None
    best = max(found, key=lambda cell: cell["accuracy"])
    # Any of the others might have come out highest by luck, and stand in the place of the true best: intervals that all of them keep.
    # Each counts on one of its two sides alone, so that the 95 % of one are those of two ranges.
    near = [cell["sigma"] for cell in found if less(best, cell).among((len(found) - 1) * ranges / 2).low <= 0]
    low = max((cell["sigma"] for cell in found if cell["sigma"] < min(near)), default=0.0)
    high = min((cell["sigma"] for cell in found if cell["sigma"] > max(near)), default=np.inf if max(near) < SIGMA_MAX else SIGMA_MAX)
    return Optimum(best, low, high, near, found)


ANYWHERE = "no σ is ruled out"


def place(optimum):
    return f"σ = {optimum.best['sigma']:g} ({span(optimum)})"


def span(optimum):
    """Where the optimum lies, by the σ on either side of it that are ruled out, or those between; ANYWHERE without any."""
    ruled_out = {cell["sigma"] for cell in optimum.cells} - set(optimum.near)
    low, high = (end if end in ruled_out else None for end in (optimum.low, optimum.high))
    if None not in (low, high):
        return f"between {low:g} and {high:g}"
    if (low, high) != (None, None):
        return f"above {low:g}" if high is None else f"below {high:g}"
    return f"not at {', '.join(f'{sigma:g}' for sigma in sorted(ruled_out))}" if ruled_out else ANYWHERE


def optima(groups, lacking):
    """Do the optima of each group {what: [(what, optimum or None)]} agree?"""
    each, said, used = [], [], []
    for name, of in groups.items():
        of = [(text, optimum) for text, optimum in of if optimum is not None]
        if len(of) > 1:
            lows, highs = zip(*((optimum.low, optimum.high) for _, optimum in of))
            wide = max(np.subtract(highs, lows)) > NARROW + 1e-9
            each.append(FAILS if max(lows) >= min(highs) else OPEN if wide else HOLDS)
            places = {place(optimum): [] for _, optimum in of}
            for text, optimum in of:
                places[place(optimum)].append(text)
            said.append(f"{name}: " + ", ".join(f"{' and '.join(texts)} {place}" for place, texts in places.items()))
            used += [cell for _, optimum in of for cell in optimum.cells]
    missing = len(groups) - len(each)
    return decided(together(each, not missing), "; ".join(said), used, missing) if each else lacks(lacking)
