"""What the paper says in words, held against the records: a verdict for each claim, and the numbers behind it.

`data/paper/claims.csv` lists the claims; each names the function here that decides it. A verdict is read off cells of at
least LEAST images, one about spread off at least SEEDS runs. A difference counts where its 95 % interval leaves out zero.
"""

import json
import re
from collections import namedtuple
from dataclasses import dataclass, field, replace
from html import escape
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import f as variance_ratio
from scipy.stats import norm

from siam import runs, tables
from siam.paths import PAPER, RESULTS
from siam.report import (ATTACKS, BASES, as_in_paper, cells, chosen, evaluations, interval, measured_on, one_tier, select,
                         signed, usual)
from siam.style import NOT_YET, Table, _link

HOLDS, PART, FAILS, OPEN = "holds", "holds in part", "does not hold", "undecided"
VERDICTS = (HOLDS, PART, FAILS, OPEN, NOT_YET)
LEAST, SEEDS, PAIRS = 1000, 3, 5  # images; runs of a std; pairs of records of a ratio of times
SAME = 2.0  # points: two accuracies agree where their difference is surely less, the least that the paper calls a gain
NARROW = 0.12  # σ: an optimum is found where the σ not told apart from it span no more
COMPARABLE = 1.5  # times: two costs are comparable up to this factor
ATTACKED = {"pgd": "PGD", "epgd": "EPGD"}
METHODS = {"Gauss": "gauss", "EPGD-converged": "epgd", "EPGD-diverged": "epgd"}  # else adversarial
SECTIONS = {"a": "The abstract", "1": "Section 1: Introduction", "3": "Section 3: Randomized smoothing",
            "4": "Section 4: Training a smoothed classifier", "5": "Section 5: Experiments", "6": "Section 6: Conclusions"}
CLAIMS = {}  # by name: the functions that decide


@dataclass(frozen=True)
class Verdict:
    """verdict: one of VERDICTS. evidence: one line. tier: the worst of what was compared, or "". ids: its records."""

    verdict: str
    evidence: str
    tier: str = ""
    ids: tuple = ()


@dataclass(frozen=True)
class Measured:
    """The records as the claims read them. at: cells of test images by (label, method, rule, attack, σ, M)."""

    folder: Path
    at: dict
    heldout: pd.DataFrame
    frame: pd.DataFrame = field(repr=False)


@dataclass(frozen=True)
class Difference:
    """Points of accuracy, ± half a 95 % interval, and what they were measured on."""

    points: float
    half: float
    tier: str
    n: int
    runs: int
    ids: tuple

    low = property(lambda self: self.points - self.half)
    high = property(lambda self: self.points + self.half)

    def __str__(self):
        return f"{signed(self.points, 1)} ± {self.half:.1f}"


def listed(folder=PAPER):
    """The claims, a row each: id, section, claim (the paper's words), number (a size it gives), compared (what is
    measured for it), decided_by (a function of this module), page (where the numbers are)."""
    return pd.read_csv(Path(folder) / "claims.csv", dtype={"id": str, "section": str})


def read(folder=RESULTS):
    """What the functions below are given. Raises ValueError for a file in folder that is no record."""
    frame = usual(folder)
    held = frame["split"] == "heldout"
    ours = cells(frame[~held & (frame["n"] >= LEAST) & frame["epsilon"].isin([0, 8])])
    at = {(*cell[["label", "method", "rule", "attack"]], round(cell["sigma"], 6), cell["M"]): cell for _, cell in ours.iterrows()}
    heldout, frame = cells(frame[held]), as_in_paper(evaluations(folder))
    return Measured(Path(folder), at, heldout, frame[frame["split"] == "test"])


def verdicts(folder=RESULTS):
    """Each row of `listed` with its verdict, evidence, tier and ids."""
    measured = read(folder)
    rows = listed()
    found = [CLAIMS[row.decided_by](measured, row.number) for row in rows.itertuples()]
    return rows.assign(**{name: [getattr(one, name) for one in found] for name in ("verdict", "evidence", "tier", "ids")})


def count(rows):
    """How many of `verdicts` there are of each kind, and on records of which tier: a Table."""
    tiers = [tier for tier in reversed(runs.TIERS) if tier in set(rows["tier"])]
    lines = []
    for verdict in VERDICTS:
        of = rows[rows["verdict"] == verdict]
        shown = {f"at tier {tier}": "" if verdict == NOT_YET else str(sum(of["tier"] == tier)) for tier in tiers}
        lines.append({"Rows": f"all {len(rows)} claims", "Verdict": verdict, "Claims": str(len(of)), **shown})
    return Table(pd.DataFrame(lines), "Verdicts, and the worst tier of the records behind them.", 1)


def table(rows):
    """The rows of `verdicts` with what each rests on: a Table."""
    words = [one.verdict + (f", at tier {one.tier}" if one.tier and one.verdict != NOT_YET else "") for one in rows.itertuples()]
    frame = pd.DataFrame({"Part": rows["section"].str[0].map(SECTIONS), "The paper says": rows["claim"], "Section": rows["section"],
                          "Verdict": words, "Compared": rows["compared"], "Found": rows["evidence"], "Page": rows["page"],
                          "Records": rows["ids"]})  # fmt: skip
    weak = " Tier cpu: a small model of the experiment, not a reproduction." if "cpu" in set(rows["tier"]) else ""
    caption = (f"The paper's claims, {len(rows)} of them. Differences in points of accuracy ± half their 95 % interval over"
               f" images, combined as if the two sides shared none.{weak}")
    return _Claims(frame, caption, 1)


class _Claims(Table):
    """A table of long texts: they wrap, and on a narrow page its rows become blocks."""

    def _repr_html_(self):
        head = "".join(f'<th scope="col">{name}</th>' for name in ("The paper says", "Verdict", "What we find"))
        html = super()._repr_html_().replace('"numbers"', '"numbers claims"', 1)
        return re.sub("<thead>.*</thead>", f"<thead><tr>{head}</tr></thead>", html, count=1)

    def _part(self, part, rows):
        title = f'<tr><th scope="rowgroup" colspan="3">{escape(part)}</th></tr>\n'
        return f"<tbody>\n{title}" + "\n".join(f"<tr>{self._line(*row)}</tr>" for row in rows) + "\n</tbody>"

    def _line(self, claim, section, verdict, compared, found, page, ids):
        kind = max((word for word in VERDICTS if verdict.startswith(word)), key=len)
        links = f"<details><summary>{len(ids)} record{'s' if len(ids) > 1 else ''}</summary>{' '.join(map(_link, ids))}</details>" if ids else ""
        found = re.sub(" (=|±|%) ?", lambda sign: sign[0].replace(" ", "\u00a0"), found)  # what is read in one breath stays on a line
        where = "abstract" if section == "abstract" else f"section {section}"
        return (f'<th scope="row"><q>{escape(claim)}</q> <span class="aside">{where}</span></th>'
                f'<td class="verdict" data-verdict="{kind}">{escape(verdict)}</td><td><p>{escape(found)}</p>'
                f'<p class="aside">Compared: {escape(compared)}. Page: {escape(page)}.</p>{links}</td>')


# Cells and their differences


def _cell(measured, label, attack, M, sigma, rule="prediction"):
    """A cell of at least LEAST test images, or None."""
    return measured.at.get((label, METHODS.get(label, "adversarial"), rule, attack, round(sigma, 6), M))


def _Ms(measured, label, attack, sigma=None, rule="prediction"):
    return {key[5] for key in measured.at if key[0] == label and key[2:4] == (rule, attack) and sigma in (None, key[4])}


def _sigmas(measured, label, attack, M, rule="prediction"):
    return sorted(sigma for at, method, of, under, sigma, draws in measured.at
                  if (at, method, of, under, draws) == (label, METHODS.get(label, "adversarial"), rule, attack, M))  # fmt: skip


def _chosen(measured, label, attack, M=None):
    """The cell of test images at the σ and M (or the σ at a given M), of those measured on them, that have the best PGD
    accuracy on held-out images."""
    heldout = select(measured.heldout, label=label, rule="prediction", **{} if M is None else {"M": M})
    there = [_cell(measured, label, "pgd", cell.M, cell.sigma) is not None for cell in heldout.itertuples()]
    row = chosen(heldout[np.array(there, bool)], label, "prediction")
    return None if row["M"] == "–" else _cell(measured, label, attack, row["M"], row["sigma"])


def _combine(*terms):
    """Weighted cells -> a Difference, ± as if they shared no images, which is on the safe side; None where one is
    missing or they were not all measured on one tier and number of images."""
    if any(cell is None for _, cell in terms) or len({measured_on(cell) for _, cell in terms}) > 1:
        return None
    half = np.sqrt(sum((weight * (cell["high"] - cell["low"]) / 2) ** 2 for weight, cell in terms))
    first = terms[0][1]
    return Difference(100 * sum(weight * cell["accuracy"] for weight, cell in terms), 100 * half, first["tier"], first["n"],
                      min(cell["runs"] for _, cell in terms), _ids(cell for _, cell in terms))  # fmt: skip


def _less(one, other):
    return _combine((1, one), (-1, other))


def _mean(differences):
    """Their mean, of those of the best tier. They share images and networks: its ± is the mean of theirs, no narrower."""
    found = [one for one in differences if one is not None]
    found = [one for one in found if (one.tier, one.n) == (found[0].tier, found[0].n)]
    if not found:
        return None
    return Difference(np.mean([one.points for one in found]), np.mean([one.half for one in found]), found[0].tier, found[0].n,
                      min(one.runs for one in found), tuple(sorted({id for one in found for id in one.ids})))  # fmt: skip


def _over_sigmas(measured, label, attack, one, other):
    """The mean over σ up to 0.5 of the difference of two (rule, M) of a network; M = None: the largest there is at a σ."""
    found = []
    for sigma in sorted({key[4] for key in measured.at if key[0] == label and key[3] == attack and key[4] <= 0.5}):
        Ms = [M if M else max(_Ms(measured, label, attack, sigma), default=0) for _, M in (one, other)]
        pair = [_cell(measured, label, attack, M, sigma, rule) for (rule, _), M in zip((one, other), Ms)]
        if Ms[0] != Ms[1] or one[0] != other[0]:
            found.append(_less(*pair))
    return _mean(sorted((one for one in found if one), key=lambda one: (-runs.TIERS.index(one.tier), -one.n)))


def _votes(measured, one, other, attacks):
    """What M = `one` adds to M = `other`, averaged over σ, for each base model and attack."""
    return {f"{label}, {ATTACKS[attack]}": _over_sigmas(measured, label, attack, ("prediction", one), ("prediction", other))
            for label, attack in product(BASES, attacks)}  # fmt: skip


def _rules(measured, Ms, attacks, others):
    """What prediction smoothing has more than other rules, averaged over σ."""
    return {f"{label}, {ATTACKS[attack]}, M = {M}, {rule}": _over_sigmas(measured, label, attack, ("prediction", M), (rule, M))
            for label, attack, M, rule in product(BASES, attacks, Ms, others)}  # fmt: skip


def _ids(cells):
    return tuple(sorted({id for cell in cells if cell is not None for id in cell["ids"]}))


# Verdicts from differences


def _rises(difference, at_least=0.0, at_most=np.inf):
    """Is it above zero, and of the size that is said?"""
    if difference.low > 0:
        return PART if difference.high < at_least or difference.low > at_most else HOLDS
    return FAILS if difference.high < 0 or difference.high < at_least else OPEN


def _agrees(difference):
    """Is it surely less than SAME in size, or surely not zero?"""
    if -SAME < difference.low and difference.high < SAME:
        return HOLDS
    return FAILS if difference.low > 0 or difference.high < 0 else OPEN


def _together(each, complete=True):
    """One verdict of several: what holds everywhere holds, what holds somewhere holds in part."""
    if set(each) == {HOLDS}:
        return HOLDS if complete else PART
    if HOLDS in each or PART in each:
        return PART
    return FAILS if FAILS in each else OPEN


def _judge(differences, lacking, decide=_rises):
    """The verdict of {what: Difference or None}; lacking: what would measure those that are None.

    decide: a function of a Difference, or one for each. Where not all hold, chance would have its way with some of many:
    what some of k do is read off intervals that all k keep with 95 % (Bonferroni).
    """
    found = {name: one for name, one in differences.items() if one is not None}
    if not found:
        return _missing(lacking)
    decide = decide if isinstance(decide, dict) else dict.fromkeys(found, decide)
    each = {name: decide[name](one) for name, one in found.items()}
    if set(each.values()) != {HOLDS}:
        wider = norm.ppf(1 - 0.025 / len(found)) / norm.ppf(0.975)
        each = {name: decide[name](replace(one, half=wider * one.half)) for name, one in found.items()}
    said = _summary({name: f"{name}: {one}" for name, one in found.items()}, each)
    if len(found) > 4:
        ends = [find(found, key=lambda name: found[name].points) for find in (min, max)]
        said += "; from " + " to ".join(f"{found[name]} ({name})" for name in ends)
    missing = [name for name in differences if name not in found]
    said += "" if not missing else f"; {NOT_YET}: {', '.join(missing) if len(missing) < 5 else f'{len(missing)} more'}"
    return _said(_together(list(each.values()), not missing), said, found.values())


def _summary(texts, each):
    """Up to four texts, or how many comparisons have which verdict."""
    kinds = [f"{kind} for {list(each.values()).count(kind)}" for kind in VERDICTS if kind in each.values()]
    return "; ".join(texts.values()) if len(texts) < 5 else f"Of {len(texts)} comparisons: {', '.join(kinds)}"


def _said(verdict, evidence, used):
    """A Verdict on some cells or differences: the worst tier, and what they have at least."""
    used = [dict(tier=one.tier, n=one.n, runs=one.runs, ids=one.ids) for one in used]
    tier = min((one["tier"] for one in used), key=runs.TIERS.index)
    n, least = min(one["n"] for one in used), min(one["runs"] for one in used)
    about = f"tier {tier}, n = {n:,}, {least} run{'s' if least > 1 else ''}"
    return Verdict(verdict, f"{evidence} ({about}).", tier, tuple(sorted({id for one in used for id in one["ids"]})))


def _missing(lacking):
    return Verdict(NOT_YET, f"Lacking: {lacking}.")


def _level(cell, decide, lacking):
    """A verdict on an accuracy itself: not at tier cpu, whose levels say nothing about the paper's."""
    if cell is None:
        return _missing(lacking)
    said = f"{interval(cell)} %"
    if runs.TIERS.index(cell["tier"]) < runs.TIERS.index("fast"):
        weak = f"only at tier {cell['tier']}, whose levels say nothing about the paper's: {said} (n = {cell['n']:,})"
        return Verdict(NOT_YET, f"{weak[0].upper()}{weak[1:]}. Lacking: {lacking}.", cell["tier"], cell["ids"])
    return _said(decide(100 * cell["low"], 100 * cell["high"]), said, [cell])


def _spread(pairs, decide, lacking):
    """A verdict on {what: cells}, each decided from their stds: none with fewer than SEEDS runs."""
    found = {name: of for name, of in pairs.items() if all(cell is not None for cell in of)}
    enough = {name: of for name, of in found.items() if all(cell["runs"] >= SEEDS for cell in of)}
    if not enough:
        have = max((min(cell["runs"] for cell in of) for of in found.values()), default=0)
        return _missing(f"{SEEDS} or more runs of each cell, there {'is' if have == 1 else 'are'} {have}; {lacking}")
    each = {name: decide(*of) for name, of in enough.items()}
    said = {name: f"{name}: " + " and ".join(f"{100 * cell['accuracy']:.2f} ± {100 * cell['std']:.2f}" for cell in of)
            for name, of in enough.items()}  # fmt: skip
    return _said(_together(list(each.values()), len(enough) == len(pairs)), _summary(said, each), [cell for of in enough.values() for cell in of])


def _optimum(measured, label, attack, rule="prediction", M=8):
    """The cell of the highest accuracy over σ, and the lowest and highest σ not told apart from it; None of < 4 σ."""
    found = [_cell(measured, label, attack, M, sigma, rule) for sigma in _sigmas(measured, label, attack, M, rule) if sigma <= 0.5]
    found = [cell for cell in found if measured_on(cell) == max(map(measured_on, found))]
    if len(found) < 4:
        return None
    best = max(found, key=lambda cell: cell["accuracy"])
    near = [cell["sigma"] for cell in found if _less(best, cell).low <= 0]
    return best, min(near), max(near), found


def _place(optimum):
    best, low, high, _ = optimum
    return f"σ = {best['sigma']:g} ({low:g} to {high:g})"


def _optima(groups, lacking):
    """Do the optima of each group {what: [(what, optimum or None)]} agree?"""
    each, said, used = [], [], []
    for name, of in groups.items():
        of = [(text, optimum) for text, optimum in of if optimum is not None]
        if len(of) > 1:
            (_, lows, highs, _) = zip(*(optimum for _, optimum in of))
            wide = max(np.subtract(highs, lows)) > NARROW + 1e-9
            each.append(FAILS if max(lows) > min(highs) else OPEN if wide else HOLDS)
            places = {_place(optimum): [] for _, optimum in of}
            for text, optimum in of:
                places[_place(optimum)].append(text)
            said.append(f"{name}: " + ", ".join(f"{' and '.join(texts)} {place}" for place, texts in places.items()))
            used += [cell for _, optimum in of for cell in optimum[3]]
    return _said(_together(each, len(each) == len(groups)), "; ".join(said), used) if each else _missing(lacking)


# The steps of workflow/campaign.yaml that would measure what is lacking; the rest have none yet.
TABLE3 = "the steps table3-… and heldout-… of the campaign"
TABLE1 = "the steps train-… and evaluate-… of Table 1 in the campaign"
GRID = "a grid of σ on test images: the steps table3-…-cpu of the campaign; no step of a better tier has one"
NO_STEP = "the campaign has no step for it yet"


_Range = namedtuple("Range", "low high")


def claim(function):
    """Register the function that decides a claim: (Measured, the number the paper gives or NaN) -> Verdict."""
    CLAIMS[function.__name__] = function
    return function


# What no record of accuracies decides, and what would.
LACKING = {
    "smooths_boundaries": f"a measure of the decision boundary; {NO_STEP}",
    "competing_classes": f"probabilities per image, which no record keeps; {NO_STEP}",
    "linear_model": "an experiment on the linear model of the derivation, which siam.svm carries out; accuracies do not decide it",
    "effect_accumulates": f"attacks of other numbers of steps, with and without input noise; {NO_STEP}",
    "eight_samples_suffice": f"EPGD with more than 8 samples; {NO_STEP}",
    "less_effort": f"PGD of 56 steps, beside EPGD of 7 steps and 8 samples; {NO_STEP}",
    "learnt_sigma": f"a training that learns σ of the input; {NO_STEP}",
    "certified_radius": f"certified radii; {NO_STEP}, and the book certifies nothing",
    "strength_spread": f"{SEEDS} or more runs of PGD at several ε; {NO_STEP}",
    "various_sources": f"attacks transferred from several kinds of network; {NO_STEP}",
}
CLAIMS |= {name: lambda measured, number, lacking=lacking: _missing(lacking) for name, lacking in LACKING.items()}


def _paper_cell(measured, label):
    """Our cell for the best row of a base model in the paper's table 3, under PGD."""
    rows = select(tables.paper(3), label=label)
    row = rows.loc[rows["pgd"].idxmax()]
    return _cell(measured, label, "pgd", row["M"], row["sigma"], row["rule"])


def _best_of_others():
    rows = tables.paper(2)
    return rows[rows["label"].isna()]["pgd"].max()


# The abstract and section 1


@claim
def reaches_printed(measured, number):
    return _level(_paper_cell(measured, "EPGD-diverged"), lambda low, high: FAILS if high < number else HOLDS,
                  "the step table3-epgd-diverged-fast or -paper")  # fmt: skip


@claim
def epgd_beats_base(measured, number):
    sides = {label: [_cell(measured, label, attack, 1, 0) for attack in ATTACKED] for label in ("PNI-W", *BASES)}
    return _judge({label: _less(*pair) for label, pair in sides.items()}, TABLE3)


@claim
def randomness_helps(measured, number):
    plain, noisy = (_cell(measured, "plain", "pgd", 1, 0), ("PNI-W", "CPNI-W"))
    return _judge({label: _less(_cell(measured, label, "pgd", 1, 0), plain) for label in noisy}, TABLE1)


@claim
def smoothing_helps(measured, number):
    pairs = product(BASES, ("none", "pgd"))
    return _judge({f"{label}, {ATTACKS[attack]}": _less(_chosen(measured, label, attack), _cell(measured, label, attack, 1, 0))
                   for label, attack in pairs}, TABLE3)  # fmt: skip


# Section 3


@claim
def votes_help(measured, number):
    return _judge(_votes(measured, None, 1, ("none", "pgd")), TABLE3)


@claim
def soft_is_easier(measured, number):
    return _judge(_rules(measured, (8,), ATTACKED, ("soft",)), GRID)


@claim
def input_noise_helps(measured, number):
    with_noise = {label: _chosen(measured, label, "pgd") for label in BASES}
    return _judge({label: None if cell is None else _less(cell, _cell(measured, label, "pgd", cell["M"], 0))
                   for label, cell in with_noise.items()}, TABLE3)  # fmt: skip


# Section 4


def _gauss(measured, attacks):
    trained = {json.loads(recipe)["sigma"] for recipe in select(measured.frame, label="Gauss", method="gauss")["recipe"]}
    sides = {attack: [_cell(measured, label, attack, 8, max(trained, default=0)) for label in ("Gauss", "CPNI-W")] for attack in attacks}
    return {ATTACKS[attack]: _less(*pair) for attack, pair in sides.items()}


@claim
def gauss_fits_smoothing(measured, number):
    return _judge(_gauss(measured, ["none"]), TABLE3)


@claim
def gauss_fits_attack(measured, number):
    return _judge(_gauss(measured, ATTACKED), TABLE3)


@claim
def epgd_training_helps(measured, number):
    found = {}
    for label in ("EPGD-converged", "EPGD-diverged"):
        common = _Ms(measured, label, "pgd", 0) & _Ms(measured, "CPNI-W", "pgd", 0)
        for M in sorted({1, max(common, default=1)}):
            found[f"{label}, M = {M}"] = _less(*(_cell(measured, one, "pgd", M, 0) for one in (label, "CPNI-W")))
    return _judge(found, TABLE3)


@claim
def pgd_becomes_epgd(measured, number):
    pair = [_cell(measured, "CPNI-W", attack, 1, 0) for attack in ATTACKED]
    return _judge({"PGD less EPGD": _less(*pair)}, TABLE3, _agrees)


@claim
def lower_variance(measured, number):
    def decide(pgd, epgd):  # the F test at 95 %, one-sided either way
        ratio, freedom = pgd["std"] ** 2 / max(epgd["std"] ** 2, 1e-12), (pgd["runs"] - 1, epgd["runs"] - 1)
        if ratio > variance_ratio.ppf(0.95, *freedom):
            return HOLDS
        return FAILS if ratio < variance_ratio.ppf(0.05, *freedom) else OPEN

    sigmas = {label: _sigmas(measured, label, "pgd", 1) for label in BASES}
    return _spread({f"{label}, σ = {sigma:g}, PGD and EPGD": [_cell(measured, label, attack, 1, sigma) for attack in ATTACKED]
                    for label in BASES for sigma in sigmas[label]}, decide, "the steps table3-… have five at tiers fast and paper")  # fmt: skip


@claim
def epgd_cost(measured, number):
    pairs = _timed_pairs(measured)
    if len(pairs) < PAIRS:
        return _missing(f"{PAIRS} pairs of records on at least {LEAST:,} images that differ in the attack alone, there are {len(pairs)}")
    ratios = [epgd["seconds"]["attack"] / epgd["run"]["samples"] / pgd["seconds"]["attack"] for pgd, epgd in pairs]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    close = number / COMPARABLE < low and high < number * COMPARABLE
    verdict = HOLDS if close else OPEN if number / COMPARABLE < middle < number * COMPARABLE else FAILS
    tier = min((record["tier"] for pair in pairs for record in pair), key=runs.TIERS.index)
    return Verdict(verdict, f"A gradient of EPGD takes {middle:.2f} times as long as one of PGD, quartiles {low:.2f} to {high:.2f}, in "
                   f"{len(pairs)} pairs of records (wall-clock, other work on the same cores; PGD of more steps is not itself timed).",
                   tier, tuple(sorted(record["id"] for pair in pairs for record in pair)))  # fmt: skip


def _timed_pairs(measured):
    """Records of PGD and of EPGD that differ in nothing else: (PGD's, EPGD's)."""
    found = {}
    for id in measured.frame[measured.frame["attack"].isin(ATTACKED) & (measured.frame["n"] >= LEAST)]["id"].unique():
        record = runs.read(measured.folder / "evaluation" / f"{id}.json")
        alike = {name: value for name, value in record["run"].items() if name not in ("attack", "samples")}
        if isinstance(record.get("seconds"), dict) and record["seconds"].get("attack", 0) > 0:
            found.setdefault((json.dumps(alike, sort_keys=True), record.get("device")), {})[record["run"]["attack"]] = record
    return [(pair["pgd"], pair["epgd"]) for pair in found.values() if len(pair) == 2]


@claim
def any_defense(measured, number):
    found = {}
    for (training, text), attack in product({"plain": "normal", "adversarial": "adversarial"}.items(), ("none", "pgd")):
        of = {key[4:]: cell for key, cell in measured.at.items() if key[:4] == ("plain", training, "prediction", attack)}
        noisy = [_less(cell, of.get((0, 1))) for (sigma, M), cell in of.items() if sigma > 0 and M == max(m for s, m in of if s == sigma)]
        found[f"{text} training, {ATTACKS[attack]}"] = _mean(noisy)
    return _judge(found, f"networks without noise evaluated at σ above 0; {NO_STEP}")


@claim
def correlation_helps(measured, number):
    frame = select(measured.frame, variant="CPNI-W", method="adversarial", rule="prediction", M=1, sigma=0, attack="pgd", epsilon=8)
    frame = one_tier(frame[frame["n"] >= LEAST])
    recipes = [json.loads(recipe) for recipe in frame["recipe"]]
    frame = frame.assign(rank=[recipe.pop("rank") for recipe in recipes], rest=[json.dumps(recipe, sort_keys=True) for recipe in recipes])
    found = {}
    for rest, of in frame.groupby("rest"):
        ours = {rank: cells(rows).iloc[0] for rank, rows in of.groupby("rank")}
        if {0, 5} <= set(ours):
            found[f"r = 5 less r = 0, {json.loads(rest)['schedule']['epochs']} epochs"] = _less(ours[5], ours[0])
    return _judge(found, "the steps train-CPNI-W-rank-0-… and evaluate-cpni-w-r-0-… of the campaign")


@claim
def rank_five(measured, number):
    pair = [_cell(measured, label, "pgd", 1, 0) for label in ("CPNI-W", "PNI-W")]
    return _judge({"CPNI-W less PNI-W": _less(*pair)}, TABLE1, lambda one: _rises(one, at_least=number))


# Section 5


def _against_cpni(measured, attacks):
    found = {}
    for attack in attacks:
        sigmas = sorted(set(_sigmas(measured, "EPGD-converged", attack, 8)) & set(_sigmas(measured, "CPNI-W", attack, 8)))
        sides = [[_cell(measured, label, attack, 8, sigma) for label in ("EPGD-converged", "CPNI-W")] for sigma in sigmas]
        found[ATTACKS[attack]] = _mean(_less(*pair) for pair in sides)
    return found


@claim
def converged_is_cpni(measured, number):
    return _judge(_against_cpni(measured, ATTACKS), GRID, _agrees)


@claim
def cpni_optimum(measured, number):
    found = _optimum(measured, "CPNI-W", "pgd")
    if found is None:
        return _missing(GRID)
    within = found[1] - 1e-9 <= number <= found[2] + 1e-9
    verdict = FAILS if not within else HOLDS if found[2] - found[1] <= NARROW + 1e-9 else OPEN
    return _said(verdict, f"Highest at {_place(found)}", found[3])


@claim
def beats_prior_art(measured, number):
    best = _best_of_others()
    return _level(_paper_cell(measured, "EPGD-diverged"), lambda low, high: _rises(_Range(low - best, high - best), number),
                  "the step table3-epgd-diverged-fast or -paper")  # fmt: skip


@claim
def beats_pni(measured, number):
    pair = _paper_cell(measured, "EPGD-diverged"), _cell(measured, "PNI-W", "pgd", 1, 0)
    return _judge({"EPGD-diverged less PNI-W": _less(*pair)}, f"{TABLE3} and of PNI-W", lambda one: _rises(one, at_least=number))


TRANSFER = f"attacks made on another CPNI-W; {NO_STEP}"


@claim
def transfer_is_weaker(measured, number):
    pair = _cell(measured, "CPNI-W", "transferred pgd", 8, 0.02), _cell(measured, "CPNI-W", "pgd", 8, 0)
    return _judge({"transferred less white-box": _less(*pair)}, TRANSFER)


@claim
def transfer_unsmoothed(measured, number):
    pair = [_cell(measured, "CPNI-W", f"transferred {attack}", 8, 0.02) for attack in ("pgd", "pgd_s")]
    return _judge({"PGD less PGD-s": _less(*pair)}, TRANSFER, _agrees)


@claim
def sixteen_is_enough(measured, number):
    def within(one, other):
        return HOLDS if abs(one["accuracy"] - other["accuracy"]) <= max(one["std"], other["std"]) else FAILS

    places = [(label, attack, sigma) for label, attack in product(BASES, ATTACKS) for sigma in _sigmas(measured, label, attack, 512)]
    return _spread({f"{label}, {ATTACKS[attack]}, σ = {sigma:g}": [_cell(measured, label, attack, M, sigma) for M in (16, 512)]
                    for label, attack, sigma in places}, within, "the steps table3-… have five at tiers fast and paper")  # fmt: skip


@claim
def diminishing_returns(measured, number):
    found = {}
    for label, attack in product(BASES, ("none", "pgd")):
        largest = {sigma: max(_Ms(measured, label, attack, sigma)) for sigma in _sigmas(measured, label, attack, 16) if sigma <= 0.5}
        found[f"{label}, {ATTACKS[attack]}"] = _mean(_combine(*((weight, _cell(measured, label, attack, M, sigma))
            for weight, M in ((2, 16), (-1, 1), (-1, most)))) for sigma, most in largest.items() if most > 16)  # fmt: skip
    return _judge(found, TABLE3)


@claim
def votes_1024(measured, number):
    of = [_cell(measured, "EPGD-diverged", "pgd", 1024, sigma) for sigma in _sigmas(measured, "EPGD-diverged", "pgd", 1024)]
    best = max(of, key=lambda cell: (*measured_on(cell), cell["accuracy"]), default=None)
    return _level(best, lambda low, high: FAILS if high < number else HOLDS, "the step m1024-epgd-diverged-fast or -paper")


@claim
def high_noise_degrades(measured, number):
    found = {}
    for attack in ATTACKS:
        M = max({key[5] for key in measured.at if key[:1] + key[3:4] == ("CPNI-W", attack) and key[4] > 0.5}, default=0)
        sigmas = _sigmas(measured, "CPNI-W", attack, M)
        low = [_cell(measured, "CPNI-W", attack, M, sigma) for sigma in sigmas if sigma <= 0.5]
        high = [_cell(measured, "CPNI-W", attack, M, sigma) for sigma in sigmas if sigma > 0.5]
        best = max(low, key=lambda cell: cell["accuracy"], default=None)
        found[ATTACKS[attack]] = _less(best, high[0]) if high else None
    return _judge(found, "CPNI-W at σ above 0.5: the step units-cpni-w-cpu of the campaign")


@claim
def prediction_is_best(measured, number):
    found = {}
    for label, attack, M in product(BASES, ATTACKS, (8, None)):
        M = M or max(_Ms(measured, label, attack, 0), default=0)
        best = {}
        for rule in ("prediction", "soft", "weighted"):
            of = [_cell(measured, label, attack, M, sigma, rule) for sigma in _sigmas(measured, label, attack, M, rule) if sigma <= 0.5]
            best[rule] = max(of, key=lambda cell: (*measured_on(cell), cell["accuracy"]), default=None)
        others = [cell for rule, cell in best.items() if rule != "prediction" and cell is not None]
        found[f"{label}, {ATTACKS[attack]}, M = {M}"] = _less(best["prediction"], max(others, key=lambda cell: cell["accuracy"], default=None))
    return _judge(found, GRID)


@claim
def advantage_one_std(measured, number):
    def about(one, other):
        return HOLDS if 0 < one["accuracy"] - other["accuracy"] <= 2 * max(one["std"], other["std"]) else FAILS

    places = [(label, attack, sigma) for label, attack in product(BASES, ATTACKED) for sigma in _sigmas(measured, label, attack, 8)]
    return _spread({f"{label}, {ATTACKS[attack]}, σ = {sigma:g}": [_cell(measured, label, attack, 8, sigma, rule) for rule in ("prediction", "soft")]
                    for label, attack, sigma in places}, about, "the steps table3-… have five at tiers fast and paper")  # fmt: skip


@claim
def advantage_persists(measured, number):
    return _judge(_rules(measured, (2, 8, 64), ATTACKS, ("soft",)), GRID)


@claim
def diverged_is_best(measured, number):
    pairs = product(ATTACKED, [label for label in BASES if label != "EPGD-diverged"])
    return _judge({f"{label}, {ATTACKS[attack]}": _less(_chosen(measured, "EPGD-diverged", attack), _chosen(measured, label, attack))
                   for attack, label in pairs}, TABLE3)  # fmt: skip


@claim
def obfuscation(measured, number):
    found = {}
    for label in BASES:
        voted, once = ([of(attack) for attack in ATTACKED] for of in (lambda attack: _chosen(measured, label, attack),
                                                                     lambda attack: _cell(measured, label, attack, 1, 0)))  # fmt: skip
        found[label] = _combine((1, voted[0]), (-1, once[0]), (-1, voted[1]), (1, once[1]))
    return _judge(found, TABLE3)


@claim
def one_optimum(measured, number):
    return _optima({label: [(rule, _optimum(measured, label, "pgd", rule)) for rule in ("prediction", "soft", "weighted")]
                    for label in BASES}, GRID)  # fmt: skip


@claim
def one_optimum_attacks(measured, number):
    return _optima({label: [(name, _optimum(measured, label, attack)) for attack, name in ATTACKED.items()] for label in BASES}, GRID)


def _fall(measured, label):
    """The cells, clean at M = 8, without input noise and with the most that the paper considers."""
    sigmas = [sigma for sigma in _sigmas(measured, label, "none", 8) if sigma <= 0.5]
    return [_cell(measured, label, "none", 8, sigma) if len(sigmas) > 1 else None for sigma in (0, max(sigmas, default=0))]


@claim
def clean_falls(measured, number):
    return _judge({label: _less(*_fall(measured, label)) for label in BASES if label != "Gauss"}, GRID)


@claim
def gauss_resilient(measured, number):
    (calm, noisy), (gauss_calm, gauss_noisy) = _fall(measured, "CPNI-W"), _fall(measured, "Gauss")
    return _judge({"loss of CPNI-W less loss of Gauss": _combine((1, calm), (-1, noisy), (-1, gauss_calm), (1, gauss_noisy))}, GRID)


@claim
def gauss_optimum(measured, number):
    each, said, used = [], [], []
    for attack, name in ATTACKED.items():
        pair = [_optimum(measured, label, attack) for label in ("Gauss", "CPNI-W")]
        if None not in pair:
            (_, low, high, _), (_, low_of_cpni, high_of_cpni, _) = pair
            least, most = (one / other if other else np.inf for one, other in ((low, high_of_cpni), (high, low_of_cpni)))
            near = 1 + (number - 1) / 2, 1 + (number - 1) * 1.5  # about 40 %: 20 to 60
            each.append(HOLDS if near[0] <= least and most <= near[1] else FAILS if most < near[0] else PART if least > 1 else OPEN)
            said.append(f"{name}: Gauss {_place(pair[0])}, CPNI-W {_place(pair[1])}")
            used += [cell for optimum in pair for cell in optimum[3]]
    return _said(_together(each), "; ".join(said), used) if each else _missing(GRID)


@claim
def gauss_no_better(measured, number):
    def decide(one):
        return FAILS if one.high < 0 else HOLDS if one.low > -SAME else OPEN

    return _judge({ATTACKS[attack]: _less(_chosen(measured, "CPNI-W", attack), _chosen(measured, "Gauss", attack)) for attack in ATTACKS},
                  TABLE3, decide)  # fmt: skip


@claim
def votes_without_noise(measured, number):
    found = {}
    for label in BASES:
        M = max(_Ms(measured, label, "none", 0), default=0)
        found[label] = _less(*(_cell(measured, label, "none", draws, 0) for draws in (M, 1))) if M > 1 else None
    return _judge(found, TABLE3, lambda one: _rises(one, at_most=number))


@claim
def similar_but_epgd(measured, number):
    def differs(one):
        return HOLDS if one.low > 0 or one.high < 0 else FAILS if _agrees(one) == HOLDS else OPEN

    return _judge(_against_cpni(measured, ATTACKS), GRID, dict(Clean=_agrees, PGD=_agrees, EPGD=differs))


# Section 6


@claim
def few_iterations(measured, number):
    best = _best_of_others()
    return _level(_chosen(measured, "EPGD-diverged", "pgd", 8), lambda low, high: _rises(_Range(low - best, high - best)),
                  "the steps heldout-epgd-diverged-… and table3-epgd-diverged-… at tier fast or paper")  # fmt: skip


@claim
def trade_off(measured, number):
    first = {f"{name}, 8 against 1": one for name, one in _votes(measured, 8, 1, ("none", "pgd")).items()}
    more = {f"{name}, largest against 8": one for name, one in _votes(measured, None, 8, ("none", "pgd")).items()}
    return _judge(first | more, TABLE3)


@claim
def epgd_beats_smoothed(measured, number):
    return _judge({label: _less(*(_chosen(measured, label, attack) for attack in ATTACKED)) for label in BASES}, TABLE3)
