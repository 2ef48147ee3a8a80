"""Claims of section 4, training a smoothed classifier: what decides each. All take (Measured, the paper's number or NaN)."""

import json
from dataclasses import replace
from itertools import permutations, product

import numpy as np
from scipy.stats import pearsonr

from siam import runs
from siam.claims.common import ATTACKED, COMPARABLE, GRADIENTS, GRID, MANY, SIGMA, TABLE1, TABLE3
from siam.claims.rules import (FAILS, HOLDS, LEAST, OPEN, Verdict, agrees, judge, lacks, pick, pick_other, pick_repeated, rises,
                               sigmas_of, spread)
from siam.pages import gradients, learnt
from siam.paired import less, mean_of, shares
from siam.report import ATTACKS, BASES, SIGMA_MAX, cells, one_tier, select

PAIRS, ENOUGH_PAIRS = 5, 20  # pairs of records of a ratio of times: the least that decide, and as many as one would have
BLURRED = 0.05  # a ratio of times is left out where rounding may have changed it by a larger part
ALIGNED = f"siam.studies.gradients on {LEAST:,} images and a network trained on noise"
SMOOTHED = {"trained on noise, 8 draws": "trained-8", "trained without, 8 draws of noise in the attack": "plain-noise-8"}
ORDINARY = {"trained on noise, one draw": "trained-1", "without any noise": "plain"}
NAMED = 50.0  # points: where a gradient is aligned, another network names the class of most images


def _gauss(measured, attacks):
    trained = {json.loads(recipe)["sigma"] for recipe in select(measured.frame, label="Gauss", method="gauss")["recipe"]}
    sides = {attack: [pick(measured, label, attack, MANY, max(trained, default=0)) for label in ("Gauss", "CPNI-W")] for attack in attacks}
    return {ATTACKS[attack]: less(*pair) for attack, pair in sides.items()}


def gauss_fits_smoothing(measured, number):
    return judge(_gauss(measured, ["none"]), GRID)


def gauss_fits_attack(measured, number):
    return judge(_gauss(measured, ATTACKED), GRID)


def epgd_training_helps(measured, number):
    found = {}
    for label, (attack, name) in product(("EPGD-converged", "EPGD-diverged"), ATTACKED.items()):
        def gain(M, sigma):
            return less(*(pick(measured, one, attack, M, sigma) for one in (label, "CPNI-W")))
        found[f"{label}, {name}, base"] = gain(1, 0)
        common = set(sigmas_of(measured, label, attack, MANY)) & set(sigmas_of(measured, "CPNI-W", attack, MANY))
        found[f"{label}, {name}, smoothed"] = mean_of(gain(MANY, sigma) for sigma in sorted(common) if 0 < sigma <= SIGMA_MAX)
    return judge(found, TABLE3)


def pgd_becomes_epgd(measured, number):
    pair = [pick(measured, "CPNI-W", attack, 1, 0) for attack in ATTACKED]
    return judge({"PGD less EPGD": less(*pair)}, TABLE3, agrees)


def eight_samples_suffice(measured, number):
    at = {samples: [pick_other(measured, "CPNI-W", 7, samples, SIGMA, M) for M in (8, 64)] for samples in (8, 16, 32)}
    found = {f"8 less {samples} samples, M = {M}": less(eight, more) for samples in (16, 32)
             for M, eight, more in zip((8, 64), at[8], at[samples])}
    return judge(found, GRADIENTS, agrees)


def less_effort(measured, number):
    found = {f"PGD-56 less EPGD 7 × 8, σ = {sigma:g}, M = {M}": less(pick_other(measured, "CPNI-W", 56, 1, sigma, M),
             pick_other(measured, "CPNI-W", 7, 8, sigma, M)) for sigma in (0, SIGMA) for M in (1, 64)}
    return judge(found, GRADIENTS)


def targeted_aligned(measured, number):
    return judge(_aligned(measured, "targeted", SMOOTHED), ALIGNED, lambda one: rises(one, at_least=NAMED))


def untargeted_not_aligned(measured, number):
    found = _aligned(measured, "untargeted", SMOOTHED | ORDINARY)
    told = judge(found, ALIGNED, lambda one: FAILS if one.low >= NAMED else HOLDS if one.high < NAMED else OPEN)
    # That it is only so on others falls by one network on which it is so too.
    counter = any(one and one.among(len(found)).low >= NAMED for one in found.values())
    return replace(told, verdict=FAILS) if counter else told


def _aligned(measured, attack, arms):
    """{network without adversarial training: how often PNI-W names the class that the attack led it to, less before, or None}.
    arms: {its name: that in the record}."""
    record, _ = gradients.read(measured.folder)
    rows = {row["arm"]: row for row in record["rows"] if row["attack"] == attack} if record and record["n"] >= LEAST else {}
    return {name: shares(rows[arm]["robust"], rows[arm]["robust_before"], tier=record["tier"], n=record["n"], runs=1,
                         ids=("gradients/record.json",)) if arm in rows else None for name, arm in arms.items()}


def lower_variance(measured, number):
    # One pass would vary by its own noise more than by the attack's.
    pairs = {f"{label}, σ = {sigma:g}, PGD and EPGD": [pick_repeated(measured, label, attack, MANY, sigma) for attack in ATTACKED]
             for label in BASES for sigma in sigmas_of(measured, label, "pgd", MANY) or [0]}

    def decide(pgd, epgd, comparisons):
        """Pitman and Morgan's test: of paired runs the one kind varies more where their sum and difference are correlated.

        Each run has its seed in common with one of the other kind. 95 % for all pairs together, as an interval of two sides has.
        """
        one, other = (np.array(cell["accuracies"]) for cell in (pgd, epgd))
        if min(map(np.ptp, (one, other, one + other, one - other))) < 1e-9:  # few counts may be the same by chance
            return OPEN
        found = pearsonr(one + other, one - other)
        return OPEN if found.pvalue >= 0.05 / comparisons else HOLDS if found.statistic > 0 else FAILS

    return spread(pairs, decide, "the steps table3-… have five at tiers fast and paper", BASES)


def epgd_cost(measured, number):
    timed = _timed_pairs(measured)
    pairs = [pair for pair in timed if sum(map(_rounded, pair)) <= BLURRED]
    coarse = len(timed) - len(pairs)
    if len(pairs) < PAIRS:
        left = f", and {coarse} whose seconds are rounded too coarsely" if coarse else ""
        return lacks(f"{PAIRS} pairs of records on at least {LEAST:,} images that differ in the attack alone (there"
                     f" {'is' if len(pairs) == 1 else 'are'} {len(pairs)}{left})")
    ratios = [_each(epgd) / _each(pgd) for pgd, epgd in pairs]
    alike = sum(pgd["run"]["steps"] != epgd["run"]["steps"] for pgd, epgd in pairs)
    many = f", {alike} of them with PGD of as many gradients" if alike else ""
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    close = number / COMPARABLE < low and high < number * COMPARABLE
    verdict = HOLDS if close else OPEN if number / COMPARABLE < middle < number * COMPARABLE else FAILS
    used = [record for pair in pairs for record in pair]
    devices = sorted({record.get("device", "an unnamed device").partition(":")[0] for record in used})
    where = " and ".join({"cpu": "cores that may have had other work", "cuda": "a GPU"}.get(device, device) for device in devices)
    left = f"; left out: {coarse} pairs whose seconds are rounded too coarsely" if coarse else ""
    return Verdict(verdict, f"A gradient of EPGD takes {middle:.2f} times as long as one of PGD, quartiles {low:.2f} to {high:.2f}, in "
                   f"{len(pairs)} pairs of records{many} (wall-clock, on {where}{left}).",
                   min((record["tier"] for record in used), key=runs.TIERS.index), tuple(sorted(record["id"] for record in used)),
                   max(0, ENOUGH_PAIRS - len(pairs)))


def _rounded(record):
    """By what part of themselves the seconds of a record's attack may be off: the older records keep tenths, the newer 0.1 ms."""
    seconds = record["seconds"]["attack"]
    return (0.05 if seconds == round(seconds, 1) else 0.00005) / seconds


def _each(record):
    """Seconds of a gradient of a record's attack."""
    return record["seconds"]["attack"] / record["run"]["steps"] / record["run"]["samples"]


def _timed_pairs(measured):
    """Records of PGD and of EPGD that differ in nothing else but, perhaps, that PGD's steps are as many as EPGD's gradients: (PGD's,
    EPGD's)."""
    ids = set(measured.frame[measured.frame["attack"].isin(ATTACKED) & (measured.frame["n"] >= LEAST)]["id"])
    ids.update(id for cell in measured.others.values() for id in cell["ids"])
    found = {}
    for id in sorted(ids):
        record = runs.read(measured.folder / "evaluation" / f"{id}.json")
        alike = {name: value for name, value in record["run"].items() if name not in ("attack", "samples", "steps")}
        if isinstance(record.get("seconds"), dict) and record["seconds"].get("attack", 0) > 0:
            found.setdefault((json.dumps(alike, sort_keys=True), record.get("device")), []).append(record)
    return [(pgd, epgd) for of in found.values() for pgd, epgd in permutations(of, 2)
            if (pgd["run"]["attack"], epgd["run"]["attack"]) == ("pgd", "epgd")
            and pgd["run"]["steps"] in (epgd["run"]["steps"], epgd["run"]["steps"] * epgd["run"]["samples"])]


def learnt_sigma(measured, number):
    found, record = {}, learnt.read(measured.folder)
    ours = set(measured.frame["digest"])
    for cell in [cell for cell in record["cells"] if cell["digest"] in ours] if record else []:
        if cell["weight"] == 1:
            at = [pick(measured, cell["label"], "pgd", cell["M"], sigma) for sigma in (cell["sigma"], 0)]
            found[f"{cell['label']}, M = {cell['M']}: σ = {cell['sigma']:g} less 0"] = less(*at)
    return judge(found, "siam.studies.learnt")


def any_defense(measured, number):
    found = {}
    for (training, text), attack in product({"plain": "normal", "adversarial": "adversarial"}.items(), ("none", "pgd")):
        of = {(at.sigma, at.M): cell for at, cell in measured.at.items()
              if (at.label, at.method, at.rule, at.attack) == ("plain", training, "prediction", attack)}
        noisy = [less(cell, of.get((0, 1))) for (sigma, M), cell in of.items() if sigma > 0 and M == MANY]
        found[f"{text} training, {ATTACKS[attack]}"] = mean_of(noisy)
    return judge(found, "the steps noise-…-cpu of the campaign")


def correlation_helps(measured, number):
    frame = select(measured.frame, variant="CPNI-W", method="adversarial", rule="prediction", M=1, sigma=0, attack="pgd", epsilon=8)
    frame = one_tier(frame[frame["n"] >= LEAST])
    recipes = [json.loads(recipe) for recipe in frame["recipe"]]
    frame = frame.assign(rank=[recipe.pop("rank") for recipe in recipes], rest=[json.dumps(recipe, sort_keys=True) for recipe in recipes])
    found = {}
    for rest, of in frame.groupby("rest"):
        ours = {rank: cells(rows).iloc[0] for rank, rows in of.groupby("rank")}
        if {0, 5} <= set(ours):
            found |= {f"r = {rank:g} less r = 0, {json.loads(rest)['schedule']['epochs']} epochs": less(cell, ours[0])
                      for rank, cell in sorted(ours.items()) if rank}
    return judge(found, "the steps train-CPNI-W-rank-0-… and evaluate-cpni-w-r-0-… of the campaign")


def rank_five(measured, number):
    ours, other = (pick(measured, label, "pgd", 1, 0) for label in ("CPNI-W", "PNI-W"))
    same = ours is not None and other is not None and _but_for_the_start(ours["recipe"]) == _but_for_the_start(other["recipe"])
    return judge({"CPNI-W less PNI-W": less(ours, other) if same else None}, TABLE1, lambda one: rises(one, at_least=number))


def _but_for_the_start(recipe):
    """A recipe's schedule without the start of the noise: coloured noise started as its authors start it is several times as strong as
    white."""
    return {name: value for name, value in json.loads(recipe)["schedule"].items() if name != "noise_start"}
