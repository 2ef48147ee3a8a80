"""Claims of the abstract and of section 1: what decides each. All take (Measured, the number the paper gives or NaN)."""

from dataclasses import replace
from itertools import product

from siam.claims.common import ATTACKED, BOUNDARY, TABLE1, TABLE3, diverged, reaches, tested_boundary
from siam.claims.rules import judge, lacks, level, pick, pick_chosen
from siam.pages import boundary
from siam.paired import less
from siam.report import ATTACKS, BASES


def reaches_printed(measured, number):
    return level(measured, diverged, reaches(number), "the step table3-epgd-diverged-fast or -paper")


def epgd_beats_base(measured, number):
    sides = {label: [pick(measured, label, attack, 1, 0) for attack in ATTACKED] for label in ("PNI-W", *BASES)}
    sides |= {f"{label}, voted": [pick_chosen(measured, label, attack) for attack in ATTACKED] for label in BASES}
    return judge({label: less(*pair) for label, pair in sides.items()}, TABLE3)


def randomness_helps(measured, number):
    plain = pick(measured, "plain", "pgd", 1, 0)  # without noise all samples of EPGD are one: it is PGD
    return judge({f"{label}, {name}": less(pick(measured, label, attack, 1, 0), plain)
                  for label, (attack, name) in product(("PNI-W", "CPNI-W"), ATTACKED.items())}, TABLE1)


def smoothing_helps(measured, number):
    return judge({f"{label}, {name}": less(pick_chosen(measured, label, attack), pick(measured, label, attack, 1, 0))
                   for label, (attack, name) in product(BASES, ATTACKS.items())}, TABLE3)


def smooths_boundaries(measured, number):
    record = tested_boundary(measured)
    if not record:
        return lacks(BOUNDARY)
    each = boundary.fewer_changes(record)
    found = judge(each, BOUNDARY)
    # What the vote itself smooths: one draw is the network as it stands, elsewhere.
    alone = judge({name: one for name, one in each.items() if boundary.reading(1) in name}, BOUNDARY)
    return replace(found, evidence=f"{found.evidence} Against one draw alone: {alone.verdict}.")
