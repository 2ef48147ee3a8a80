"""Claims of section 6, the conclusions: what decides each. All take (Measured, the number the paper gives or NaN)."""

from dataclasses import replace

from siam.claims.common import ATTACKED, TABLE3, above, best_of_others
from siam.claims.rules import judge, level, pick, pick_chosen, votes_add
from siam.pages import figures
from siam.paired import less
from siam.report import ATTACKS, BASES, trainings


def various_sources(measured, number):
    known = trainings(measured.folder)
    at, bases = measured.transfers, set(known[known["label"].isin(BASES)]["digest"])
    names = figures.network_names(known, {digest for pair in at for digest in pair})
    root = dict(zip(known["digest"], known["start"].fillna(known["digest"])))
    # Who has what was fine-tuned from a network, or what it was fine-tuned from, all but has the network itself.
    found = {f"{names[source]} to {names[shown]}": less(cell, at[shown, shown])
             for (source, shown), cell in at.items()
             if source in names and shown in bases and root[source] != root[shown] and (shown, shown) in at}
    targets = [shown for source, shown in at if source in names and shown in bases]
    labels = known.drop_duplicates("digest").set_index("digest")["label"]
    met = {labels[shown] for shown in targets if targets.count(shown) >= figures.ENOUGH}
    # The claim is about each base model, whatever attacks it was tried with.
    return replace(judge(found, "the steps transfer-… of the campaign"), missing=sum(label not in met for label in BASES))


def few_iterations(measured, number):
    return level(measured, lambda one: pick_chosen(one, "EPGD-diverged", "pgd", 8), above(best_of_others()),
                  "the steps heldout-epgd-diverged-… and table3-epgd-diverged-… at tier fast or paper")


def trade_off(measured, number):
    first = {f"{name}, 8 against 1": one for name, one in votes_add(measured, 8, 1, ATTACKS).items()}
    more = {f"{name}, the most votes at each σ against 8": one for name, one in votes_add(measured, None, 8, ATTACKS).items()}
    return judge(first | more, TABLE3)


def smoothing_matters(measured, number):
    return judge({label: less(pick_chosen(measured, label, "epgd"), pick(measured, label, "epgd", 1, 0)) for label in BASES}, TABLE3)


def epgd_beats_smoothed(measured, number):
    return judge({label: less(*(pick_chosen(measured, label, attack) for attack in ATTACKED)) for label in BASES}, TABLE3)
