"""Claims of the abstract and of section 1: what decides each. All take (Measured, the number the paper gives or NaN)."""

from itertools import product

from siam import borders
from siam.claims.common import ATTACKED, BOUNDARY, TABLE1, TABLE3, boundary, paper_cell
from siam.paired import less
from siam.report import ATTACKS, BASES
from siam.verdicts import FAILS, HOLDS, judge, lacks, level, pick, pick_chosen


def reaches_printed(measured, number):
    return level(paper_cell(measured, "EPGD-diverged"), lambda low, high: FAILS if high < number else HOLDS,
                  "the step table3-epgd-diverged-fast or -paper")  # fmt: skip


def epgd_beats_base(measured, number):
    sides = {label: [pick(measured, label, attack, 1, 0) for attack in ATTACKED] for label in ("PNI-W", *BASES)}
    return judge({label: less(*pair) for label, pair in sides.items()}, TABLE3)


def randomness_helps(measured, number):
    plain = pick(measured, "plain", "pgd", 1, 0)
    return judge({label: less(pick(measured, label, "pgd", 1, 0), plain) for label in ("PNI-W", "CPNI-W")}, TABLE1)


def smoothing_helps(measured, number):
    pairs = product(BASES, ("none", "pgd"))
    return judge({f"{label}, {ATTACKS[attack]}": less(pick_chosen(measured, label, attack), pick(measured, label, attack, 1, 0))
                   for label, attack in pairs}, TABLE3)  # fmt: skip


def smooths_boundaries(measured, number):
    record = boundary(measured)
    return judge(borders.fewer_changes(record), BOUNDARY) if record else lacks(BOUNDARY)
