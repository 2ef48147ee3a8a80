"""What Figures 1 to 4 and the map of transferred attacks show, in sentences that are read from the records: a Markdown list for each.
No torch.

They are about the networks that are drawn. A difference cannot be told from zero where its 95 % interval contains it.
"""

from functools import partial
from itertools import product
from types import SimpleNamespace

from siam.claims import rules
from siam.pages import figures
from siam.pages.figures import FIGURE1, FIGURE2, FIGURE3, MANY, along_sigma, fullest, of_same_networks, strengths
from siam.pages.style import listed
from siam.paired import averaged, less, mean_of
from siam.paths import RESULTS
from siam.report import ATTACKS, BASES, by_tier, evaluations, select, trainings

WHERE = {attack: f"under {name}" if attack != "none" else "without an attack" for attack, name in ATTACKS.items()}


def figure1(folder=RESULTS):
    """Where the optimum over σ lies for each attack and M, and what votes add."""
    drawn = _read(of_same_networks(FIGURE1(_drawn(folder, FIGURE1))))
    Ms = {attack: sorted(rules.draws_of(drawn, "CPNI-W", attack)) for attack in WHERE}
    all_of = sum(map(len, Ms.values()))
    lines = [_highest(where, {f"M = {M}": rules.optimum_of(drawn, "CPNI-W", attack, M=M, ranges=all_of) for M in Ms[attack]})
             for attack, where in WHERE.items()]
    return _list(lines + _votes(drawn, "CPNI-W", WHERE))


def figure2(folder=RESULTS):
    """What prediction smoothing has more or less than the paper's other two rules, averaged over σ; and than both definitions of the
    soft one with many votes, of which few tie."""
    kept = _drawn(folder, FIGURE2)
    drawn = _read(of_same_networks(FIGURE2(kept)))
    return _list([*(_ahead(drawn, rule) for rule in ("soft", "weighted")), _many(kept)])


def figure3(folder=RESULTS):
    """The optima of the base models under both attacks, and what votes add to the two that are drawn."""
    all_bases = partial(along_sigma, labels=BASES)
    drawn, attacks, lines = _read(of_same_networks(all_bases(_drawn(folder, FIGURE3)))), ("pgd", "epgd"), []
    labels = {attack: [label for label in BASES if rules.draws_of(drawn, label, attack)] for attack in attacks}
    all_of = sum(map(len, labels.values()))
    for attack in attacks:
        optima = {label: rules.optimum_of(drawn, label, attack, M=8, ranges=all_of) for label in labels[attack]}
        lines.append(_highest(f"with 8 votes {WHERE[attack]}", optima))
    return _list(lines + _votes(drawn, "Gauss", attacks) + _votes(drawn, "EPGD-diverged", attacks))


def figure4(folder=RESULTS):
    """What the most input noise that is drawn changes at each ε."""
    return _list([_noise(of_same_networks(strengths(_drawn(folder, strengths, "epsilon"))))])


def effort(folder=RESULTS):
    """What is worth more to an attacker, averaging gradients within a step or going on for more steps."""
    drawn = set(figures.most_attacked(folder)["digest"])
    each = [_averaging(measured) for measured in rules.read(folder) if drawn & set(measured.frame["digest"])]
    return _list(map(_more_steps_or_averages, each))


def transfers(folder=RESULTS):
    """How much an attack made on another network leaves more than one on the network itself, by what the other is."""
    trained = trainings(folder).drop_duplicates("digest").set_index("digest")
    shown = figures.mapped(figures.transferred(evaluations(folder), trained.index)[0])
    drawn, kinds = set(zip(shown["source"], shown["digest"])), {}
    for measured in rules.read(folder):
        for kind, difference in _made_elsewhere(measured.transfers, drawn, trained):
            kinds.setdefault(kind, []).append(difference)
    found = {f"made on {kind}": mean_of(of) for kind, of in kinds.items()}
    found = dict(sorted(found.items(), key=lambda of: of[1].points))
    said = ", ".join(f"{one} ({kind})" for kind, one in found.items())
    return _list([f"accuracy of the base models of section 5 under an attack made on another network, less that under one made on the"
                  f" network itself, in points: {said}{_doubt(found)} {_about(found.values())}." if found else None])


def _made_elsewhere(at, drawn, trained):
    """[(what another network is, what PGD made on it leaves more than on the base model itself)] of those pairs `at`
    (`rules.Measured`) that are `drawn`."""
    root = trained["start"].fillna(trained.index.to_series())
    for source, shown in sorted(drawn & at.keys()):
        difference = less(at[source, shown], at.get((shown, shown)))
        if source != shown and trained.label[shown] in BASES and difference is not None:
            name, second = figures.kind(trained.loc[source]), trained.label[source] in BASES
            yield ("a network that shares its first training" if root[source] == root[shown] else f"a second {name}" if second else name,
                   difference)


def _drawn(folder, keep, x="sigma"):
    """The tier's evaluations that a figure draws."""
    return fullest(by_tier(evaluations(folder)), keep, x)


def _read(cells):
    """Cells as `siam.claims.rules` looks for them."""
    return SimpleNamespace(at=rules.placed(cells[cells["n"] >= rules.LEAST]))


def _list(lines):
    return listed(f"{line[0].upper()}{line[1:]}" for line in lines if line)


def _and(words):
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _about(used):
    """What cells or Differences were measured on."""
    used = list(used)
    tiers, sizes = sorted({one.tier for one in used}), sorted({one.n for one in used})
    return f"(tier{'s' * (len(tiers) > 1)} {_and(tiers)}, n = {_and([f'{n:,}' for n in sizes])})"


def _known(differences):
    return {name: one for name, one in differences.items() if one is not None}


def told(differences):
    """{what: Difference} in words: each, or the ends of many, and which cannot be told from zero."""
    many = len(differences) > 4
    ends = [find(differences, key=lambda name: differences[name].points) for find in (min, max)] if many else differences
    return (" to " if many else ", ").join(f"{differences[name]} ({name})" for name in ends) + _doubt(differences)


def _doubt(differences):
    """Which of {what: Difference} cannot be told from zero."""
    unsure = [name for name, one in differences.items() if one.unsure]
    if len(unsure) == len(differences):
        return f"; {'none' if len(unsure) > 1 else 'it'} is {'' if len(unsure) > 1 else 'not '}told apart from zero"
    return f"; not told apart from zero: {_and(unsure)}" if unsure else ""


def _highest(where, optima):
    """Where {what: Optimum or None} lie, if there are any."""
    places, found = {}, _known(optima)
    if not found:
        return f"too few σ are measured to tell where accuracy {where} is highest." if optima else None
    for name, of in found.items():
        span = rules.span(of)
        place = f"σ = {of.best['sigma']:g} ({'surely ' * (span != rules.ANYWHERE)}{span})"
        places.setdefault(place, []).append(name)
    said = "; ".join(f"at {place} for {_and(names)}" for place, names in places.items())
    left = [name for name in optima if name not in found]
    few = f" Too few σ are measured to tell for {_and(left)}." if left else ""
    return f"accuracy {where} is highest {said} {_about(of.best for of in found.values())}.{few}"


def _votes(drawn, label, attacks):
    """What 8 votes add to one, and to 8 the most that there are at several σ: a line each."""
    Ms = {M for M in rules.draws_of(drawn, label, "pgd") if len(rules.sigmas_of(drawn, label, "pgd", M)) > 1}
    lines, most = [], max(Ms, default=8)
    for more, fewer in ((8, 1), (most, 8)) if most > 8 else ((8, 1),):
        each = {ATTACKS[attack]: rules.at_sigmas(drawn, label, attack, ("prediction", more), ("prediction", fewer)) for attack in attacks}
        found = _known({name: mean_of(of.values()) for name, of in each.items()})
        if found:
            sigmas = {name: _over(each[name]) for name in found}
            over = set(sigmas.values())
            if len(over) > 1:
                found, over = {f"{name} over {sigmas[name]}": one for name, one in found.items()}, {"σ"}
            lines.append(f"{label}: M = {more} instead of {fewer} adds, in points averaged over {over.pop()}, {told(found)}"
                         f" {_about(found.values())}.")
    return lines


def _over(each):
    """The σ that the mean of {σ: Difference or None} is over, or how many they are."""
    used = averaged(_known(each).values())
    sigmas = [f"{sigma:g}" for sigma, one in each.items() if any(one is other for other in used)]
    return f"σ = {' and '.join(sigmas)}" if len(sigmas) < 4 else f"{len(sigmas)} σ"


def _ahead(drawn, rule):
    each = _known({(attack, label): rules.over_sigmas(drawn, label, attack, ("prediction", 8), (rule, 8))
                   for attack, label in product(ATTACKS, BASES)})
    if not each:
        return None
    means = {name: mean_of(one for (of, _), one in each.items() if of == attack) for attack, name in ATTACKS.items()}
    every = [one.among(len(each)) for one in each.values()]  # what some of many do: intervals that all of them keep
    above, below = sum(one.low > 0 for one in every), sum(one.high < 0 for one in every)
    return (f"prediction less {rule}, in points averaged over σ and the base models: {told(_known(means))}. Of {len(every)}"
            f" pair{'s' * (len(every) > 1)} of base model and attack, prediction is above {rule} in {above} and below it in {below}; in"
            f" {len(every) - above - below} the two are not told apart {_about(every)}.")


def _many(kept):
    softs = {"probabilities": "soft", "logits": "soft-logits"}
    drawn = _read(of_same_networks(along_sigma(kept, BASES, ("prediction", *softs.values()), M=MANY)))
    each = {text: _known(rules.prediction_adds(drawn, (MANY,), ("pgd", "epgd"), rule)) for text, rule in softs.items()}
    found = _known({f"soft on {text}": mean_of(of.values()) for text, of in each.items()})
    pairs = max(map(len, each.values()))
    said = (f"with {MANY} votes, where ties are few, prediction less soft under attack, in points averaged over σ and {pairs}"
            f" pair{'s' * (pairs > 1)} of model and attack")
    return f"{said}: {told(found)} {_about(found.values())}." if found else None


def _noise(ours):
    sigmas, found = sorted(set(ours["sigma"])), {}
    for epsilon, of in ours.groupby("epsilon"):
        at = [select(of, sigma=sigma) for sigma in (sigmas[-1], sigmas[0])]
        found[f"ε = {epsilon:g}"] = less(*(cell.iloc[0] for cell in at)) if len(sigmas) > 1 and all(map(len, at)) else None
    found = _known(found)
    alone = any(one.each is None for one in found.values())
    blind = "; where a record keeps only counts, the ± is computed as if the two shared no image" if alone else ""
    return (f"input noise of σ = {sigmas[-1]:g} instead of σ = {sigmas[0]:g} adds, in points, {told(found)}{blind}"
            f" {_about(found.values())}.") if found else None


def _averaging(measured):
    """EPGD less PGD of as many gradients: {how many, and σ: Difference}."""
    found = {}
    for label, steps, samples, sigma, draws in sorted(measured.others, key=lambda key: (key[3], key[2])):
        if (label, steps, draws) == ("CPNI-W", 7, MANY) and samples > 1:
            pair = [rules.pick_other(measured, label, *of, sigma, MANY) for of in ((7, samples), (7 * samples, 1))]
            found[f"{7 * samples} gradients, σ = {sigma:g}"] = less(*pair)
    return _known(found)


def _more_steps_or_averages(found):
    every = [one.among(len(found)) for one in found.values()]  # what some of many do: intervals that all of them keep
    steps, averages = sum(one.low > 0 for one in every), sum(one.high < 0 for one in every)
    alike = len(every) - steps - averages
    return (f"of {len(found)} comparison{'s' * (len(found) > 1)} at the same number of gradients, more steps win {steps} and averaging"
            f" wins {averages}{f', in {alike} the two are not told apart' if alike else ''}; accuracy under EPGD less that under PGD, in"
            f" points: {told(found)} {_about(found.values())}.") if found else None
