"""Claims of section 3, smoothed inference: what decides each. All take (Measured, the number the paper gives or NaN)."""

from itertools import pairwise, product

import numpy as np

from siam import hinge
from siam.cifar10 import PIXEL_STD
from siam.claims.common import ATTACKED, BOUNDARY, GRADIENTS, GRID, MANY, OPPOSITE, SIGMA, TABLE3, tested_boundary
from siam.claims.rules import (FAILS, HOLDS, Verdict, judge, lacks, on_average, pick, pick_chosen, pick_other, prediction_adds, rises,
                               votes_add)
from siam.pages import adaptive, boundary, svm
from siam.paired import combine, less
from siam.report import ATTACKS, BASES, SIGMA_MAX

ALIKE = 0.01  # two expected losses are the same up to this share of them


def votes_help(measured, number):
    return judge(votes_add(measured, None, 1, ATTACKS), TABLE3)


def soft_is_easier(measured, number):
    each = {rule: prediction_adds(measured, (MANY,), ATTACKED, rule) for rule in ("soft", "soft-logits")}
    means = [on_average(of, f"the mean over base models and both attacks, {rule}") for rule, of in each.items()]
    return judge({name: one for mean in means for name, one in mean.items()}, GRID)


def competing_classes(measured, number):
    record = tested_boundary(measured)
    return judge(boundary.rise(record) if record else {}, BOUNDARY)


def linear_model(measured, number):
    record = svm.read(measured.folder)
    if record is None:
        return lacks("the record of siam.studies.svm")
    said = record["svm"]
    margins, e = np.array(said["margins"]), said["epsilon"] * said["l1"]
    quiet = hinge.quiet(margins, e).mean()
    more = {sigma: hinge.noisy(margins, e, sigma * PIXEL_STD * said["l2"]).mean() / quiet - 1 for sigma in (SIGMA, SIGMA_MAX)}
    verdict = HOLDS if max(map(abs, more.values())) < ALIKE else FAILS
    with_noise = ", ".join(f"{100 * share:+.2f} % at σ = {sigma:g}" for sigma, share in more.items())
    text = (f"Expected hinge loss under attack: {quiet:.4f} without noise, with it {with_noise}; less than {100 * ALIKE:g} % counts as"
            f" the same (tier {record['tier']}, n = {said['n']:,}). Noise does not lower it.")
    return Verdict(verdict, text, record["tier"], (svm.PLACE,))


def effect_accumulates(measured, number):
    found = {}
    for (fewer, steps), M in product(pairwise((1, 7, 28, 56)), (8, 64)):
        terms = [(weight * sign, pick_other(measured, "CPNI-W", taken, 1, sigma, M))
                 for weight, taken in ((1, steps), (-1, fewer)) for sign, sigma in ((1, SIGMA), (-1, 0))]
        found[f"{steps} steps less {fewer}, M = {M}"] = combine(*terms)
    return judge(found, GRADIENTS)


def input_noise_helps(measured, number):
    with_noise = {label: pick_chosen(measured, label, "pgd") for label in BASES}
    return judge({label: None if cell is None else less(cell, pick(measured, label, "pgd", cell["M"], 0))
                   for label, cell in with_noise.items()}, TABLE3)


def no_better_strategy(measured, number):
    found = {f"{label}: beyond {other}": adaptive.takes(measured.folder, label, adaptive.MOST, other)
             for label, other in product(BASES, (adaptive.PGD, adaptive.EPGD))}
    return judge(found, "siam.studies.adaptive", lambda one: OPPOSITE[rises(one)])


def hides_gradients(measured, number):
    found = {f"{label}: {name}": adaptive.takes(measured.folder, label, attacker, adaptive.PGD)
             for label, (name, attacker) in product(BASES, {"noise off": adaptive.OFF, "EPGD": adaptive.EPGD}.items())}
    return judge(found, "siam.studies.adaptive")
