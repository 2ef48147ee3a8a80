"""Claims of section 6, the conclusions: what decides each. All take (Measured, the number the paper gives or NaN)."""

from siam.claims.common import ATTACKED, TABLE3, Range, best_of_others
from siam.claims.rules import LEAST, judge, level, pick_chosen, rises, votes_add
from siam.pages import figures
from siam.paired import less
from siam.report import BASES, cells, evaluations, select, trainings


def various_sources(measured, number):
    names = figures.network_names(trainings(measured.folder))
    frame = select(evaluations(measured.folder), attack="transferred pgd", rule="prediction", M=8, steps=7, epsilon=8, split="test", seed=0)
    frame = frame[(frame["n"] >= LEAST) & frame["label"].isin(BASES) & frame["source"].isin(names)]
    at = {key: cells(of).iloc[0] for key, of in frame.groupby(["digest", "source"])}
    found = {f"{names[source]} to {names[digest]}": less(cell, at[digest, digest])
             for (digest, source), cell in at.items() if source != digest and (digest, digest) in at}
    return judge(found, "the steps transfer-… of the campaign")


def few_iterations(measured, number):
    best = best_of_others()
    return level(pick_chosen(measured, "EPGD-diverged", "pgd", 8), lambda low, high: rises(Range(low - best, high - best)),
                  "the steps heldout-epgd-diverged-… and table3-epgd-diverged-… at tier fast or paper")


def trade_off(measured, number):
    first = {f"{name}, 8 against 1": one for name, one in votes_add(measured, 8, 1, ("none", "pgd")).items()}
    more = {f"{name}, largest against 8": one for name, one in votes_add(measured, None, 8, ("none", "pgd")).items()}
    return judge(first | more, TABLE3)


def epgd_beats_smoothed(measured, number):
    return judge({label: less(*(pick_chosen(measured, label, attack) for attack in ATTACKED)) for label in BASES}, TABLE3)
