"""Claims of section 5, the experiments: what decides each. All take (Measured, the number the paper gives or NaN)."""

from itertools import product

import numpy as np

from siam.claims.common import (ATTACKED, BOUNDARY, COMPARABLE, GRID, MANY, OPPOSITE, TABLE3, above, best_of_others, diverged, reaches,
                                tested_boundary)
from siam.claims.rules import (FAILS, HOLDS, LEAST, NARROW, OPEN, PART, SAME, SEEDS, agrees, decided, draws_of, judge, lacks,
                               level, of_one_training, on_average, optima, optimum_of, pick, pick_chosen, pick_repeated, place,
                               prediction_adds, rises, sigmas_of, spread, std_limits, together)
from siam.pages import adaptive, boundary
from siam.paired import combine, less, mean_of
from siam.report import ATTACKS, BASES, SIGMA_MAX, cells, measured_on, one_recipe, select

LINE = 1.0  # points: the width of a line, of an axis of a hundred
OTHERS = ("soft", "soft-logits", "weighted")  # rules beside prediction smoothing: the paper's text, and its code, which averages logits


def _against_cpni(measured):
    found = {}
    for attack in ATTACKS:
        sigmas = sorted(set(sigmas_of(measured, "EPGD-converged", attack, 8)) & set(sigmas_of(measured, "CPNI-W", attack, 8)))
        sides = [[pick(measured, label, attack, 8, sigma) for label in ("EPGD-converged", "CPNI-W")] for sigma in sigmas]
        found[ATTACKS[attack]] = mean_of(less(*pair) for pair in sides)
    return found


def converged_is_cpni(measured, number):
    return judge(_against_cpni(measured), GRID, agrees)


def cpni_optimum(measured, number):
    found = optimum_of(measured, "CPNI-W", "pgd")
    if found is None:
        return lacks(GRID)
    within = found.low < number < found.high or np.isclose(found.near, number).any()
    verdict = FAILS if not within else HOLDS if found.high - found.low <= NARROW + 1e-9 else OPEN
    return decided(verdict, f"Highest at {place(found)}", found.cells)


def beats_prior_art(measured, number):
    return level(measured, diverged, above(best_of_others(), number), "the step table3-epgd-diverged-fast or -paper")


def beats_pni(measured, number):
    pair = diverged(measured), pick(measured, "PNI-W", "pgd", 1, 0)
    return judge({"EPGD-diverged less PNI-W": less(*pair)}, f"{TABLE3} and of PNI-W", lambda one: rises(one, at_least=number))


TRANSFER = "the steps table4-… of the campaign"


def transfer_is_weaker(measured, number):
    pair = pick(measured, "CPNI-W", "transferred pgd", 8, 0.02), pick(measured, "CPNI-W", "pgd", 8, 0)
    return judge({"transferred less white-box": less(*pair)}, TRANSFER)


def no_obfuscation(measured, number):
    pair = [pick(measured, "CPNI-W", f"transferred {attack}", 8, 0.02) for attack in ("pgd", "pgd_s")]
    premise = "for its \"even if\", transferred PGD less PGD-s"
    blind = "for the inference, what PGD takes beyond a search without gradients"
    off = "against the inference, how much more PGD takes with the noise off"
    differences = {premise: less(*pair), blind: adaptive.takes(measured.folder, "CPNI-W", adaptive.PGD, adaptive.BLIND),
                   off: adaptive.takes(measured.folder, "CPNI-W", adaptive.OFF, adaptive.PGD)}
    return judge(differences, f"{TRANSFER}, and siam.studies.adaptive",
                 {premise: agrees, blind: rises, off: lambda one: OPPOSITE[rises(one)]})


def sixteen_is_enough(measured, number):
    def within(*pair, comparisons):
        difference, (least, most) = less(*pair).among(comparisons), std_limits(pair, comparisons)
        if -least <= difference.low and difference.high <= least:
            return HOLDS
        return FAILS if difference.low > most or difference.high < -most else OPEN

    places = [(label, attack, sigma) for label, attack in product(BASES, ATTACKS) for sigma in sigmas_of(measured, label, attack, 512)]
    pairs = {f"{label}, {ATTACKS[attack]}, σ = {sigma:g}": [pick_repeated(measured, label, attack, M, sigma) for M in (16, 512)]
             for label, attack, sigma in places}
    return spread(pairs, within, "the steps table3-… have five at tiers fast and paper", BASES)


def diminishing_returns(measured, number):
    found = {}
    for label, (attack, name) in product(BASES, ATTACKS.items()):
        sigmas = [sigma for sigma in sigmas_of(measured, label, attack, MANY) if sigma <= SIGMA_MAX]
        found[f"{label}, {name}"] = mean_of(combine(*((weight, pick(measured, label, attack, M, sigma))
                                                      for weight, M in ((2, 16), (-1, 4), (-1, MANY)))) for sigma in sigmas)
    return judge(found, TABLE3)


def votes_1024(measured, number):
    def best(one):
        of = [pick(one, "EPGD-diverged", "pgd", 1024, sigma) for sigma in sigmas_of(one, "EPGD-diverged", "pgd", 1024)]
        return max(of, key=lambda cell: (*measured_on(cell), cell["accuracy"]), default=None)

    return level(measured, best, reaches(number), "the step m1024-epgd-diverged-fast or -paper")


def high_noise_degrades(measured, number):
    found = {}
    for attack in ATTACKS:
        M = max({at.M for at in measured.at if (at.label, at.attack) == ("CPNI-W", attack) and at.sigma > SIGMA_MAX}, default=0)
        sigmas = sigmas_of(measured, "CPNI-W", attack, M)
        low = [pick(measured, "CPNI-W", attack, M, sigma) for sigma in sigmas if sigma <= SIGMA_MAX]
        high = [pick(measured, "CPNI-W", attack, M, sigma) for sigma in sigmas if sigma > SIGMA_MAX]
        low = [cell for cell in low if high and measured_on(cell) == measured_on(high[0])]
        best = max(low, key=lambda cell: cell["accuracy"], default=None)
        name = f"{ATTACKS[attack]}, best of {len(low)} σ less σ = {high[0]['sigma']:g}" if high else ATTACKS[attack]
        difference = less(best, high[0]) if high else None
        found[name] = difference and difference.among(len(low))  # any of them may be best by luck
    return judge(found, "CPNI-W at σ above 0.5: the step units-cpni-w-cpu of the campaign")


def prediction_is_best(measured, number):
    def best(label, attack, M, rule):
        of = [pick(measured, label, attack, M, sigma, rule) for sigma in sigmas_of(measured, label, attack, M, rule) if sigma <= SIGMA_MAX]
        return max(of, key=lambda cell: (*measured_on(cell), cell["accuracy"]), default=None)

    found = {}
    for M, rule in product((8, MANY), OTHERS):
        each = {f"{label}, {name}, M = {M}, {rule}": less(best(label, attack, M, "prediction"), best(label, attack, M, rule))
                for label, (attack, name) in product(BASES, ATTACKS.items())}
        found |= on_average(each, f"M = {M}, {rule}")
    return judge(found, GRID)


def advantage_one_std(measured, number):
    def about(*pair, comparisons):
        difference, (least, most) = less(*pair).among(comparisons), std_limits(pair, comparisons)
        if difference.high < 0 or difference.low > 2 * most:
            return FAILS
        return HOLDS if 0 < difference.low and difference.high <= 2 * least else OPEN

    places = [(label, attack, sigma) for label, attack in product(BASES, ATTACKED) for sigma in sigmas_of(measured, label, attack, MANY)]
    pairs = {f"{label}, {ATTACKS[attack]}, σ = {sigma:g}, {rule}": [pick_repeated(measured, label, attack, MANY, sigma, one)
                                                                    for one in ("prediction", rule)]
             for (label, attack, sigma), rule in product(places, OTHERS)}
    return spread(pairs, about, "the steps table3-… have five at tiers fast and paper", BASES)


def advantage_persists(measured, number):
    each = {rule: prediction_adds(measured, (8, MANY), ATTACKS, rule) for rule in OTHERS}
    means = [on_average(of, f"the mean over base models, attacks and M, {rule}") for rule, of in each.items()]
    # What is surely below zero on the mean of all cannot be above it in each.
    below = all(any(one and rises(one.among(len(means))) == FAILS for one in mean.values()) for mean in means)
    return judge({name: one for of in (means if below else each.values()) for name, one in of.items()}, GRID)


def diverged_is_best(measured, number):
    pairs = product(ATTACKED, [label for label in BASES if label != "EPGD-diverged"])
    return judge({f"{label}, {ATTACKS[attack]}": less(pick_chosen(measured, "EPGD-diverged", attack), pick_chosen(measured, label, attack))
                   for attack, label in pairs}, TABLE3)


def obfuscation(measured, number):
    found = {}
    for label in BASES:
        voted = [pick_chosen(measured, label, attack) for attack in ATTACKED]
        once = [pick(measured, label, attack, 1, 0) for attack in ATTACKED]
        found[label] = combine((1, voted[0]), (-1, once[0]), (-1, voted[1]), (1, once[1]))
    return judge(found, TABLE3)


def one_optimum(measured, number):
    of = ("prediction", "soft", "weighted")
    return optima({label: [(rule, optimum_of(measured, label, "pgd", rule, ranges=len(BASES) * len(of))) for rule in of]
                   for label in BASES}, GRID)


def one_optimum_attacks(measured, number):
    return optima({label: [(name, optimum_of(measured, label, attack, ranges=len(BASES) * len(ATTACKED)))
                           for attack, name in ATTACKED.items()] for label in BASES}, GRID)


def _fall(measured, label):
    """The cells, clean at M = 8, without input noise and with the most that the paper considers."""
    sigmas = [sigma for sigma in sigmas_of(measured, label, "none", 8) if sigma <= SIGMA_MAX]
    return [pick(measured, label, "none", 8, sigma) if len(sigmas) > 1 else None for sigma in (0, max(sigmas, default=0))]


def clean_falls(measured, number):
    return judge({label: less(*_fall(measured, label)) for label in BASES if label != "Gauss"}, GRID)


def gauss_resilient(measured, number):
    (calm, noisy), (gauss_calm, gauss_noisy) = _fall(measured, "CPNI-W"), _fall(measured, "Gauss")
    return judge({"loss of CPNI-W less loss of Gauss": combine((1, calm), (-1, noisy), (-1, gauss_calm), (1, gauss_noisy))}, GRID)


def certified_radius(measured, number):
    record = tested_boundary(measured)
    if not record:
        return lacks(BOUNDARY)

    def side(median):
        least, most = number / COMPARABLE, number * COMPARABLE
        near = least < median.low and median.high < most
        return "above" if median.low > most else "below" if median.high < least else "near" if near else ""

    each, said = [], []
    for label, medians in boundary.median_radius(record, together=2 * len(record["networks"])).items():
        # The radius of an image that is certified, or of any image, 0 where none is: which is meant is not said, so both count.
        sides = set(map(side, medians))
        each.append(HOLDS if sides == {"near"} else FAILS if sides in ({"above"}, {"below"}) else OPEN)
        said.append(f"{label}: " + " and ".join(f"{median} of {median.n:,}" for median in medians))
    return decided(together(each), "Median R / σ of images certified as their true class, and of all, on intervals that hold jointly,"
                   f" {'; '.join(said)}; at M = {record['draws']['certified']} it can be no more than {boundary.largest(record):.2f}",
                   boundary.fewer_changes(record).values())


def gauss_optimum(measured, number):
    each, said, used = [], [], []
    for attack, name in ATTACKED.items():
        pair = [optimum_of(measured, label, attack, ranges=2 * len(ATTACKED)) for label in ("Gauss", "CPNI-W")]
        if None not in pair:
            gauss, cpni = pair
            least, most = (one / other if other else np.inf for one, other in ((gauss.low, cpni.high), (gauss.high, cpni.low)))
            near = 1 + (number - 1) / 2, 1 + (number - 1) * 1.5  # about 40 %: 20 to 60
            each.append(HOLDS if near[0] <= least and most <= near[1] else PART if least > 1 else FAILS if most < near[0] else OPEN)
            said.append(f"{name}: Gauss {place(pair[0])}, CPNI-W {place(pair[1])}")
            used += [cell for optimum in pair for cell in optimum.cells]
    missing = len(ATTACKED) - len(each)
    return decided(together(each, not missing), "; ".join(said), used, missing) if each else lacks(GRID)


def gauss_no_better(measured, number):
    def decide(one):
        return HOLDS if one.low > -SAME else FAILS if one.high < -SAME else OPEN

    pairs = {attack: [pick_chosen(measured, label, attack) for label in ("CPNI-W", "Gauss")] for attack in ATTACKS}
    return judge({ATTACKS[attack]: less(*pair) for attack, pair in pairs.items()}, TABLE3, decide)


def votes_without_noise(measured, number):
    found = {}
    for label in BASES:
        M = max(draws_of(measured, label, "none", 0), default=0)
        found[label] = less(*(pick(measured, label, "none", draws, 0) for draws in (M, 1))) if M > 1 else None
    return judge(found, TABLE3, lambda one: rises(one, at_most=number))


def similar_but_epgd(measured, number):
    return judge(_against_cpni(measured), GRID, dict(Clean=agrees, PGD=agrees, EPGD=lambda one: OPPOSITE[agrees(one)]))


def strength_spread(measured, number):
    frame = select(one_recipe(measured.frame), label="CPNI-W", rule="prediction", M=8, attack="pgd")
    ours = cells(of_one_training(frame[(frame["n"] >= LEAST) & frame["source"].isna()]))
    by = {f"σ = {cell['sigma']:g}, ε = {cell['epsilon']:g}": [cell] for _, cell in ours.iterrows()}
    by = {name: of for name, of in by.items() if of[0]["runs"] >= SEEDS}

    def thin(cell, comparisons):
        least, most = std_limits([cell], comparisons)
        return HOLDS if most < LINE else FAILS if least > LINE else OPEN

    return spread(by, thin, "the step figure4-seeds-cpu of the campaign")
