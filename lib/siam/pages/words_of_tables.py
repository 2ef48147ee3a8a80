"""What the tables say, in sentences: Markdown lists, all of their numbers read from the records."""

import re
from itertools import combinations

from siam import bits, claims, runs
from siam.claims.rules import VERDICTS, votes_add
from siam.claims.rules import read as measured
from siam.pages import adaptive, findings, strength, tables
from siam.pages.style import listed
from siam.paired import combine, less, of_images
from siam.paths import RESULTS
from siam.report import ATTACKS, NOT_YET, by_tier, cells_of, chosen, evaluations, find, measured_on, select, signed, suites, warning

VOTES, SIGMA = 64, 0.24  # what the first page tells of: M, and the paper's σ of CPNI-W
VOTE = {"label": "CPNI-W", "rule": "prediction", "M": VOTES, "sigma": SIGMA}
UNDER = {"none": "clean"} | {attack: f"under {name}" for attack, name in tables.NAMES.items() if attack != "none"}
ON = UNDER | {"none": "on clean images"}  # after a number


def about(one):
    return f"tier {one.tier}, n = {one.n:,}"


def headlines(folder=RESULTS):
    """What this book has found so far, for its first page: the verdicts, what smoothing adds, what EPGD takes back, and PGD as its
    authors coded it, what the kind of the layers' noise is worth, how all that compares with no noise, under attackers who know the
    defence as well, and stronger noise."""
    everything = evaluations(folder)
    beside = _best_beside(everything)
    last = next(reversed(findings.starts(folder)), None)
    more = [_in_sums(findings.in_sums(folder)), _coloured(last[1], folder) if last else None, beside and _without_noise(beside),
            adaptive.headline(folder), strength.headline(folder)]
    # What is about one network asks for no other of its tier: of the tiers that have all of it, the best.
    smoothing = max((_smoothing(*cells_of(of)) for of in by_tier(everything)), key=len)
    smoothing = smoothing or [f"**What the vote adds.** {NOT_YET.capitalize()}."]
    return listed(_verdicts(claims.verdicts(folder)) + smoothing + [line for line in more if line])


def in_short(folder=RESULTS):
    """For the top of the first page: what the vote has more than adversarial training without noise, from no attack to all attackers
    together, and how far it lies from the paper's. A paragraph, or "" where any of that is lacking."""
    everything = evaluations(folder)
    beside, last = _best_beside(everything), adaptive.last_lead(folder)
    voted = next((cell for of in by_tier(everything) if (cell := find(cells_of(of)[0], VOTE, "pgd")) is not None), None)
    if None in (beside, last) or voted is None:
        return ""
    none, pgd, epgd, lead = (f"{one} points{_doubt(one)}" for one in (*(beside[attack] for attack in ATTACKS), last.lead))
    printed = select(tables.paper(3), label="CPNI-W", sigma=SIGMA).iloc[0]
    return (f"**In short.** Two networks learn from attacked images, one of them with noise (CPNI-W). The accuracy of its vote differs from"
            f" that of the other by {none} on clean images, by {pgd} under PGD, by {epgd} under EPGD ({about(beside['pgd'])}) and"
            f" by {lead} where for each image the best of {last.attackers} attacks counts ({about(last.lead)}). Under PGD the vote is right"
            f" on {100 * voted['accuracy']:.1f} % of the images (M = {VOTES}; {about(voted)}), where the paper prints"
            f" {printed['pgd']:.1f} % (M = {printed['M']}).{warning([voted['tier']])}")


def _verdicts(rows):
    each = {verdict: sum(rows["verdict"] == verdict) for verdict in VERDICTS}
    counts = ", ".join(f"{count} {_plural(verdict, count)}" for verdict, count in each.items() if count)
    of = rows.loc[rows["verdict"] != NOT_YET, "tier"]
    behind = {tier: sum(of == tier) for tier in reversed(runs.TIERS) if (of == tier).any()}
    reach = " By the tier they rest on: " + ", ".join(f"{count} `{tier}`" for tier, count in behind.items()) if behind else ""
    if behind and "paper" not in behind:
        reach += "; none on `paper`, the only tier that trains as the paper did"
    return [f"**Claim by claim.** Of {len(rows)} claims taken from the paper, {counts}.{reach + '.' if reach else ''}"]


def _plural(verdict, count):
    said = {"holds": "hold", "holds in part": "hold in part", "does not hold": "do not hold"}
    if verdict not in said:
        return f"{'is' if count == 1 else 'are'} {verdict}"
    return verdict if count == 1 else said[verdict]


def _smoothing(ours, heldout):
    gain, once = findings.gained(ours, VOTES, SIGMA), {"label": "CPNI-W", "rule": "prediction", "M": 1, "sigma": 0}
    if gain["none"] is None or gain["pgd"] is None:
        return []
    lines = [f"**What the vote adds.** In one network, votes and noise add {gain['none']} points of accuracy on clean images and"
             f" {gain['pgd']} under PGD to a single noisy pass without input noise (CPNI-W, σ = {SIGMA:g}, M = {VOTES};"
             f" {about(gain['pgd'])})."
             + _as_chosen(ours, heldout)]
    pgd, epgd = (find(ours, VOTE, attack) for attack in ("pgd", "epgd"))
    taken = less(epgd, pgd)
    gone = combine((1, pgd), (-1, find(ours, once, "pgd")), (-1, epgd), (1, find(ours, once, "epgd")))
    if gone is not None and taken is not None:
        lines.append(f"**What EPGD takes back.** EPGD, an attacker who averages over the noise, takes the vote's accuracy from"
                     f" {100 * pgd['accuracy']:.1f} % to {100 * epgd['accuracy']:.1f} % ({taken} points), and votes and noise then add"
                     f" {gain['epgd']} points: {_gone(gain['pgd'], gone)}.")
    return lines


def _as_chosen(ours, heldout):
    """The same at the σ and M that held-out images choose, a sentence; "" where they choose these or it is not measured."""
    row = chosen(heldout, "CPNI-W", "prediction")
    if row["M"] == "–" or (row["M"], row["sigma"]) == (VOTES, SIGMA):
        return ""
    gain = findings.gained(ours, row["M"], row["sigma"])
    if gain["none"] is None or gain["pgd"] is None:
        return ""
    return (f" That σ is the paper's, chosen by its authors' code on test images; at the σ = {row['sigma']:g} and M = {row['M']}"
            f" that held-out images choose, votes and noise add {gain['none']} and {gain['pgd']}.")


def _gone(under_pgd, gone):
    """How much of a gain under PGD is gone under EPGD, `gone` the one less the other: only of what is there, and where some of it
    surely is gone."""
    if under_pgd.low <= 0:
        return "there is no sure gain under PGD for EPGD to take"
    if gone.low <= 0:
        return "none of the gain under PGD is surely gone"
    return f"{str(gone).removeprefix('+')} points of the gain under PGD are gone"


def _once_and_voted(found):
    """Of `findings.in_sums`, for each recipe of CPNI-W: one pass without input noise, and the vote, {attack: cells} each."""
    for recipe in dict.fromkeys(recipe for label, recipe, *_ in found if label == "CPNI-W"):
        yield [found.get(("CPNI-W", recipe, sigma, M), {}) for sigma, M in ((0, 1), (SIGMA, VOTES))]


def _in_sums(found):
    """What PGD along the sum of its gradients takes from the vote and from its gain, a sentence; None where that is not measured."""
    for once, voted in _once_and_voted(found):
        if "pgd" in once and "pgd" in voted:
            more, gain = less(*voted["pgd"]), less(voted["pgd"][1], once["pgd"][1])
            if None in (more, gain):
                continue
            return ("**The authors' own PGD.** The authors' published code steps along [the sum of all gradients so far](in-sums),"
                    f" which the paper does not mention. PGD done this way takes {str(more).removeprefix('+')} points more from the vote"
                    f" than PGD as printed, for the same number of gradients, and votes and noise then add {gain} points (CPNI-W,"
                    f" σ = {SIGMA:g}, M = {VOTES}; {about(more)}).")
    return None


def _coloured(sides, folder):
    """What coloured noise, the weakest, has more than white of each strength, a sentence, and one on Table 1's own two networks if they are
    of a better tier; None where that is not measured under PGD."""
    pairs = [(*text.split(" less "), of["pgd"]) for text, of in sides.items() if "pgd" in of]
    pairs = [(one, other, gain) for one, other, gain in pairs if one.startswith("CPNI-W") and other.startswith("PNI-W")]
    found = {other.rpartition(" ")[2]: gain for one, other, gain in pairs if one == pairs[0][0]}
    named = {"1": "at its authors' strength"}
    said = [f"{one}{_doubt(one)} over white noise that starts {named.get(start, f'at {start} of that strength')}"
            for start, one in reversed(found.items())]
    if not found:
        return None
    own = re.search("starts at ([0-9.]+)", pairs[0][0])[1]
    return (f"**Which noise.** Coloured noise in the layers is worth, in points of the accuracy of one pass under PGD,"
            f" {' and '.join(said)}. The coloured noise starts at {own} of its authors' strength"
            f" (CPNI-W less PNI-W; {about(next(iter(found.values())))}).{_of_table1(next(iter(found.values())), folder)}")


def _of_table1(shown, folder):
    """The same of the networks of Table 1, a sentence; none where they are of no better tier than what is `shown`."""
    best = next((ours[0][0] for _, attack, _, ours in tables.compared(1, folder) if attack == "pgd" and ours), shown)
    if runs.TIERS.index(best.tier) <= runs.TIERS.index(shown.tier):
        return ""
    return f" Between the two networks in [Table 1](notebooks/table1.ipynb), tier {best.tier}, the difference is {best}{_doubt(best)}."


def _doubt(one):
    return " (not told apart from zero)" if one.unsure else ""


def _best_beside(everything):
    """{attack: what the vote has more than the network trained adversarially without noise, a Difference}, of the first suite that has
    it all; None without any."""
    alone = {"label": "plain", "training": "adversarial", "rule": "prediction", "M": 1, "sigma": 0}
    for suite in suites(everything):
        ours, _ = cells_of(suite)
        # Without noise all samples of EPGD are one: it is PGD.
        each = {attack: less(find(ours, VOTE, attack), find(ours, alone, "pgd" if attack == "epgd" else attack)) for attack in ATTACKS}
        if None not in each.values():
            return each
    return None


def _without_noise(each):
    """The same as a sentence."""
    said = [f"{one} {ON[attack]}" for attack, one in each.items()]
    unsure = [UNDER[attack] for attack, one in each.items() if one.unsure]
    sure = f"; not told apart from zero: {' and '.join(unsure)}" if unsure else ""
    return (f"**Without any noise.** Compared with adversarial training without any noise, the vote's accuracy differs, in points, by"
            f" {', '.join(said[:-1])} and {said[-1]} (CPNI-W, σ = {SIGMA:g}, M = {VOTES}; {about(each['pgd'])}){sure}.")


def table(number, folder=RESULTS):
    """What table `number` shows: how far ours lie from the paper's numbers, and the contrasts between its rows."""
    return listed(_distances(tables.filled(number, folder), number) + _contrasts(tables.compared(number, folder)))


def _distances(rows, number):
    found = {}
    for row, cells in rows:
        for column, attack in tables.TABLES[number][2].items():
            if tables.printed(row) and cells[attack] is not None:
                found.setdefault(measured_on(cells[attack]), []).append(100 * cells[attack]["accuracy"] - row[column])
    each = [f"{signed(min(of), 1)} to {signed(max(of), 1)} points in {len(of)} cell{'s' * (len(of) > 1)} at tier {runs.TIERS[tier]}"
            f" (n = {n:,})" for (tier, n), of in sorted(found.items(), reverse=True)]
    return [f"Ours less what the paper prints: {'; '.join(each)}."] if each else []


def _contrasts(compared):
    each = {}
    for text, attack, theirs, ours in compared:
        if ours:
            difference, at = ours[0]
            each.setdefault((text, at, about(difference)), []).append(
                f"{UNDER[attack]} {difference} points, {_against(difference, theirs)}")
    return [f"{text} ({at}; {made}): {'; '.join(said)}." for (text, at, made), said in each.items()]


def _against(difference, theirs):
    printed = f"(the paper: {signed(theirs, 1)})"
    if difference.unsure:
        return f"not told apart from zero {printed}"
    if theirs == 0:
        return printed[1:-1]
    return f"of the {'same' if difference.points * theirs > 0 else 'opposite'} sign {printed}"


def training(folder=RESULTS):
    """Of trainings that differ in epochs alone, what the longer of the longest two has more, and whether accuracy still grows."""
    several, rises, alike = False, False, {}
    for label, trainings in findings.by_length(folder).items():
        for attack in findings.PRINTED:
            of = [(plan, cells[attack]) for plan, cells in trainings if attack in cells]
            several |= len(of) > 1
            pairs = [(plan, more, less(longer, shorter)) for (plan, shorter), (more, longer) in combinations(of, 2)
                     if findings.differs("epochs", plan, more)]
            pairs = [pair for pair in pairs if pair[-1] is not None]
            if pairs:
                plan, more, gain = pairs[-1]
                rises |= gain.low > 0
                text = f"{label} after {more['epochs']} epochs less after {plan['epochs']}"
                alike.setdefault(text, {})[attack] = gain
    lines = [_points(text, each) for text, each in alike.items()]
    if rises:
        lines.append("Where accuracy still rises, its level says nothing about the paper's: what can be compared is the order of rows"
                     " that were trained alike.")
    elif several and not lines:
        lines.append("No two of these trainings of a network differ in epochs alone and were measured alike, so what length is worth"
                     " cannot be told.")
    return listed(lines)


def _points(text, each):
    """What `text` names, as points: {attack: Difference}."""
    said = ", ".join(f"{UNDER[attack]} {one}" for attack, one in each.items())
    return f"{text}: {said} points ({about(next(iter(each.values())))})."


def ranks(folder=RESULTS, theirs=5):
    """What the rank of the noise is worth, each rank against the lowest, and the paper's against all."""
    cells = findings.family("rank", folder)
    if cells is None:
        return listed([])
    lowest, *others = sorted(set(cells["value"]))
    cell = {(one["value"], one["attack"]): one for _, one in cells.iterrows()}.get

    def differences(rank, other):
        each = {attack: less(cell((rank, attack)), cell((other, attack))) for attack in findings.PRINTED}
        return {attack: one for attack, one in each.items() if one is not None}

    pairs = [(rank, lowest) for rank in others] + [(theirs, other) for other in others if other != theirs]
    found = {pair: each for pair in pairs if (each := differences(*pair))}
    lines = [_points(f"Rank {rank:g} less rank {other:g}", each) for (rank, other), each in found.items()]
    each = [one for (rank, _), of in found.items() if rank == theirs for one in of.values()]
    if each:
        def sides(of):
            return f"above in {sum(one.low > 0 for one in of)} and below in {sum(one.high < 0 for one in of)}"
        lines.append(f"Of {len(each)} comparison{'s' * (len(each) > 1)} rank {theirs}, the paper's, is surely {sides(each)} where"
                     f" each is taken by itself, and {sides([one.among(len(each)) for one in each])} on intervals that hold jointly.")
    return listed(lines)


def selection(folder=RESULTS):
    """What choosing on the test images adds."""
    found = [(label, less(best, honest), (best["M"], best["sigma"]) == (honest["M"], honest["sigma"]))
             for label, honest, best in findings.selected(folder)]
    if not found:
        return listed([])
    alike = [label for label, _, same in found if same]
    said = ", ".join(f"{label} {gain}" for label, gain, same in found if not same)
    said = f"{said} points, where the ± ignores that the larger one was picked" if said else "nothing"
    also = f" For {' and '.join(alike)} both sets of images choose the same cell." if alike else ""
    of = " or ".join(dict.fromkeys(about(gain) for _, gain, _ in found))
    return listed([f"Choosing σ and M on the test images adds to accuracy under PGD ({of}): {said}.{also}"])


def summed(folder=RESULTS):
    """What it changes that the authors' published code sums its gradients: under each attack, in the gain of votes and noise, and in what
    lies between PGD and EPGD."""
    found, lines = findings.in_sums(folder), []
    for attack in ("pgd", "epgd"):
        each = {place: less(*reversed(of[attack])) for place, of in found.items() if attack in of}
        if each:
            ends = [find_end(each, key=lambda place: each[place].points) for find_end in (min, max)]
            said = " to ".join(f"{each[place]} ({place[0]}, σ = {place[2]:g}, M = {place[3]}; {about(each[place])})"
                               for place in dict.fromkeys(ends))
            lines.append(f"Accuracy under {ATTACKS[attack]} along the sum of its gradients, less that along each gradient alone:"
                         f" {said} points.")
    for once, voted in _once_and_voted(found):
        gains = {attack: [less(*pair) for pair in zip(voted[attack], once[attack])] for attack in once if attack in voted}
        for attack, (alone, together) in gains.items():
            if None in (alone, together):
                continue
            lines.append(f"What votes and noise add to one pass of CPNI-W under {ATTACKS[attack]} (σ = {SIGMA:g}, M = {VOTES};"
                         f" {about(alone)}): {alone} points along each gradient alone, {together} along their sum.")
        if {"pgd", "epgd"} <= set(voted):
            alone, together = (less(*pair) for pair in zip(voted["epgd"], voted["pgd"]))
            if None in (alone, together):
                continue
            row = select(tables.paper(3), label="CPNI-W", sigma=SIGMA).iloc[0]
            lines.append(f"Accuracy of that vote under EPGD less that under PGD: {alone} points along each gradient alone, {together} along"
                         f" their sum; in the paper {signed(row['epgd'] - row['pgd'], 1)} (M = {row['M']}).")
    return listed(lines)


def units(folder=RESULTS):
    """What it would change if the paper's σ were in pixel units."""
    weak, strong = findings.in_both_units(folder).values()
    each = {attack: less(strong[attack], weak[attack]) for attack in ATTACKS}
    said = ", ".join(f"{one} {ON[attack]}" for attack, one in each.items() if one is not None)
    made = next((one for one in each.values() if one is not None), None)
    return listed([f"Four times the noise changes accuracy, in points, by {said} ({about(made)})."] if made else [])


def rounding(folder=RESULTS):
    """What bf16 changes, with the same random numbers."""
    lines = []
    for pair in findings.pairs(folder):
        said = f"{signed(100 * (pair.accuracy_y - pair.accuracy_x), 1)}"
        if pair.right_x is not None and pair.right_y is not None and pair.batch_size < pair.n_x:
            one, other = (bits.row(packed, pair.n_x) for packed in (pair.right_y, pair.right_x))
            said = str(of_images(one, other, pair.batch_size))
        under = UNDER.get(pair.attack, f"under {pair.attack}")
        lines.append(f"{pair.label_x}, {under}, σ = {pair.sigma:g}, M = {pair.M_x}: bf16 less fp32 is {said} points"
                     f" (tier {pair.tier_x}, n = {pair.n_x:,}).")
    return listed(lines)


def two_votes(folder=RESULTS):
    """What a second vote adds to one pass, the mean over σ of each base model."""
    tiers, lines = measured(folder), []
    for attack in ("none", "pgd"):
        each = [{name: gain for name, gain in votes_add(one, 2, 1, (attack,)).items() if gain is not None} for one in tiers]
        found = max(each, key=len)  # of the tier that has most base models, of several such the best
        if found:
            said = ", ".join(f"{gain} ({name.split(',')[0]})" for name, gain in found.items())
            lines.append(f"{UNDER[attack][0].upper()}{UNDER[attack][1:]}, two votes less one: {said} points, the mean over σ"
                         f" ({about(next(iter(found.values())))}).")
    return listed(lines)
