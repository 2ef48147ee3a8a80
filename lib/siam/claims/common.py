"""What the claims of several sections share."""

from collections import namedtuple

from siam.claims.rules import FAILS, HOLDS, LEAST, OPEN, PART, SAME, pick, rises
from siam.pages import boundary, tables
from siam.report import select

SIGMA = 0.24  # that of the paper's best CPNI-W
COMPARABLE = 1.5  # times: two costs are comparable up to this factor
MANY = 64  # votes: so many that ties, which the paper leaves open and we give to the lower class, decide next to nothing
ATTACKED = {"pgd": "PGD", "epgd": "EPGD"}
OPPOSITE = {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}

# The steps of workflow/campaign.yaml, or the module, that would measure what is lacking.
TABLE3 = "the steps table3-… and heldout-… of the campaign"
TABLE1 = "the steps train-… and evaluate-… of Table 1 in the campaign"
GRID = "a grid of σ on test images: the steps grid-… of the campaign"
GRADIENTS = "the steps steps-… and samples-… of the campaign"
BOUNDARY = f"siam.studies.boundary on {LEAST:,} images"

Range = namedtuple("Range", "low high")


def above(size, at_least=0.0):
    """What decides, for `rules.level`, whether an accuracy is surely above `size`, and by how much."""
    return lambda low, high: rises(Range(low - size, high - size), at_least)


def reaches(size):
    """What decides, for `rules.level`, whether an accuracy that the paper printed as `size` is reached: surely no more than SAME lower,
    as two accuracies agree. PART: it is surely lower, but by less than that."""
    def decide(low, high):
        near, lower = low > size - SAME, high < size
        return PART if near and lower else HOLDS if near else FAILS if lower else OPEN
    return decide


def diverged(measured):
    """Our cell for the best row of EPGD-diverged in the paper's table 3, under PGD; or None."""
    rows = select(tables.paper(3), label="EPGD-diverged")
    row = rows.loc[rows["pgd"].idxmax()]
    return pick(measured, "EPGD-diverged", "pgd", row["M"], row["sigma"], row["rule"])


def best_of_others():
    rows = tables.paper(2)
    return rows[rows["label"].isna()]["pgd"].max()


def tested_boundary(measured):
    """The record of siam.studies.boundary, of its networks those tested on enough images; None without any."""
    record = boundary.read(measured.folder)
    networks = [one for one in record["networks"] if one["n"] >= LEAST] if record else []
    return {**record, "networks": networks} if networks else None
