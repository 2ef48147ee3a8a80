"""The paper's figures, drawn from records; panels, legend, caption and the numbers behind them."""

from collections import Counter
from functools import partial

import numpy as np
import pandas as pd

from siam import runs
from siam.pages import tables
from siam.pages.style import ALONE, INCHES, INK, NETWORKS, Figure, Table, drawing, heatmap, limits_of, of_draws, of_sigma, panel, undrawn
from siam.paths import RESULTS
from siam.report import (ATTACKS, BANDS, BASES, NOT_YET, SIGMA_MAX, by_tier, cells, evaluations, interval, made_on, of_any_effort,
                         of_attack, of_eight, one_tier, select, trainings, warning)

RULES = ("prediction", "soft", "weighted")  # the paper's three; the records hold two more
STRENGTHS = dict(label="CPNI-W", rule="prediction", M=8, attack="pgd")  # what Figure 4 shows, for several ε
# σ, ε or sources of an attack: with fewer of them a better tier does not yet take the place of a lower one. From 4 σ on
# `siam.claims.rules` looks for the best.
ENOUGH = 4
MANY = 64  # votes, so many that few tie
LACKING = "–"  # a cell of the numbers that was not measured: in some columns most are


def along_sigma(frame, labels, rules=("prediction",), **chosen):
    """Of some evaluations those of base models on test images under the paper's attacks, along its axis of σ. chosen: as `select`."""
    frame = select(frame, **chosen)
    frame = frame[frame["label"].isin(labels) & frame["rule"].isin(rules) & frame["attack"].isin(ATTACKS)]
    return of_eight(frame[(frame["split"] != "heldout") & (frame["sigma"] <= SIGMA_MAX)])


FIGURE1 = partial(along_sigma, labels=("CPNI-W",))
FIGURE2 = partial(along_sigma, labels=BASES, rules=RULES, M=8)
FIGURE3 = partial(along_sigma, labels=("Gauss", "EPGD-diverged"))


def strengths(frame):
    """Of some evaluations what Figure 4 shows. A curve keeps to one batch size, the one that most of its ε have: a batch shares
    a draw of the layers' noise, so that runs of small batches spread less."""
    frame = select(frame, **STRENGTHS)
    frame = frame[(frame["split"] != "heldout") & (frame["sigma"] <= SIGMA_MAX)]
    points = frame.drop_duplicates(["sigma", "epsilon", "batch_size"])
    sizes = points.groupby("sigma")["batch_size"].agg(lambda of: of.mode().iloc[0])
    frame = frame[frame["batch_size"] == frame["sigma"].map(sizes)]
    return frame[frame.groupby("sigma")["epsilon"].transform("nunique") >= 2]


def fullest(frames, keep=lambda frame: frame, x="sigma"):
    """Of frames of evaluations, the best first, the one to show: that with ENOUGH values of x under each attack for most base models, in
    what `keep` keeps of it; of several such that with most base models at all, and then the first that has anything."""
    every = pd.concat([keep(frame)["attack"] for frame in frames])
    attacks = sorted(set(every) - {"none"})

    def merit(frame):
        kept = keep(frame)
        attacked = kept[(kept["attack"] != "none") & kept["label"].isin(BASES)]
        values = attacked.groupby(["label", "attack"])[x].nunique().unstack(fill_value=0).reindex(columns=attacks, fill_value=0)
        return sum(values.min(axis=1) >= ENOUGH), len(values), len(kept) > 0

    return max(frames, key=merit)


def of_same_networks(frame):
    """The cells of some evaluations, those of a label all of the same networks: of the one that is in most cells, and of those that
    are in all the same. Else the luck of more trainings at one point would be drawn as what σ or M do."""
    best = [one_tier(of) for _, of in frame.groupby(["label", "attack"])]
    frame = pd.concat(best) if best else frame
    found, kept = cells(frame), set()
    for _, of in found.groupby("label"):
        networks = of["networks"].map(set).explode()
        places = {network: set(where.index) for network, where in networks.groupby(networks)}
        most = max(places.values(), key=len)
        kept |= {network for network, where in places.items() if where == most}
    return cells(frame[frame["digest"].isin(kept)])


def _draw(number, title, folder, keep, panels, hue, look, x="sigma", xlabel="σ (normalised units)"):
    """A Figure of what `keep` keeps of the tier that has most of it. panels: {title: selection of cells}; hue: cells -> the names
    of their curves; look: names of the curves -> {name: (colour, dashes)}, in the order of the legend.

    Panels under one attack share their axis. Short ticks mark the σ of the best cell that the paper prints for a base model.
    """
    title, recorded = f"Figure {number}: {title}.", evaluations(folder)
    kept = keep(fullest(by_tier(recorded), keep, x))
    found = of_same_networks(kept)
    each = {name: select(found, **chosen) for name, chosen in panels.items()}
    shown = {name: one_tier(part).assign(curve=hue) for name, part in each.items() if len(part)}
    if not shown:
        return Figure([], {}, f"{title} {NOT_YET.capitalize()}: no record holds any of it.", None)
    look = look(pd.concat(shown.values()).sort_values(["M", "sigma"])["curve"].unique())
    everything = pd.concat(shown.values())
    tiers = set(everything["tier"])
    drawn, numbers = [], []
    for name, part in shown.items():
        curves = {curve: part[part["curve"] == curve].sort_values(x) for curve in look}
        curves = {curve: points for curve, points in curves.items() if len(points)}
        limits = limits_of(of for other, of in shown.items() if panels[other]["attack"] == panels[name]["attack"])
        marks = _printed(part) if x == "sigma" else {}
        drawn.append(panel(curves, look, x, xlabel, name, f"figure{number} {name}", marks, limits,
                           INCHES if len(shown) > 1 else ALONE))
        numbers.append(_numbers(part, look, x, xlabel, interval if len(tiers) == 1 else _point).assign(Panel=name))
    numbers = pd.concat(numbers)[["Panel", xlabel, *look, "Records"]]
    lacking = f". {LACKING}: {NOT_YET}" if (numbers == LACKING).any(axis=None) else ""
    tier = f"tier {min(tiers)}" if len(tiers) == 1 else "tier"
    table = Table(numbers, f"Accuracy in percent (95 % interval), {tier}{lacking}.", 1)
    ticks = " Short ticks on the axis: σ of the best cell under PGD that the paper prints." if x == "sigma" else ""
    caption = f"{title} {_about(shown, ticks)}{_left_out(each, shown, kept)}{_passed_over(recorded, kept)}"
    return Figure(drawn, _legend(look, shown, x, xlabel), caption + warning(everything["tier"]), table)


def _legend(look, shown, x, xlabel):
    """The legend of curves that look so: one that no panel draws as more than a dot is a dot, and its name says where that lies."""
    places = {curve: [set(part.loc[part["curve"] == curve, x]) for part in shown.values()] for curve in look}
    dots = {curve: sorted(set.union(*each)) for curve, each in places.items() if max(map(len, each)) < 2}
    symbol = xlabel.split()[0]
    return {f"{curve} ({symbol} = {' or '.join(map('{:g}'.format, dots[curve]))} alone)" if curve in dots else curve:
            (colour, "o" if curve in dots else dashes) for curve, (colour, dashes) in look.items()}


def _numbers(part, look, x, xlabel, say):
    """The numbers of a panel, a row for each x, as text by `say`."""
    wide = part.assign(text=part.apply(say, axis=1)).pivot(index=x, columns="curve", values="text")
    wide = wide.reindex(columns=list(look)).astype(object).fillna(LACKING).rename(index="{:g}".format)
    ids = part.groupby(x)["ids"].sum().map(lambda ids: tuple(sorted(set(ids)))).to_numpy()
    return wide.reset_index(names=xlabel).assign(Records=ids)


def _about(shown, ticks):
    """What a caption says of the cells that are shown: what they were measured on and how they are drawn."""
    parts = [part.assign(part=name if part["label"].nunique() == 1 else name + ", " + part["label"]) for name, part in shown.items()]
    everything = pd.concat(parts)
    spread = everything[everything["std"].notna()]
    batches = " or ".join(f"{size:,}" for size in sorted(set(spread["batch_size"])))
    several = f" Bars: standard deviation over runs, in batches of {batches} images, which share their draws." if batches else ""
    alike = everything.groupby(["part", "sigma"])["seeds"].nunique().max() == 1
    where = "" if alike else ", where they come from the same runs"
    nested = f" Points along M are nested: they share their forward passes{where}." if everything["M"].nunique() > 1 else ""
    return f"{made_on(everything)}. Bands: {BANDS}.{several}{ticks}{nested}"


def _left_out(each, shown, kept):
    """What a caption says of what is not drawn, although it is of the tier that is: `each` panel before, `shown` after `one_tier`."""
    missing = "; ".join(name for name in each if name not in shown)
    lower = ", ".join(f"{label} ({name})" for name in shown for label in sorted(set(each[name]["label"]) - set(shown[name]["label"])))
    drawn = {network for part in each.values() for networks in part["networks"] for network in networks}
    fewer = ", ".join(sorted(set(kept[~kept["digest"].isin(drawn)]["label"])))
    return ((f" {NOT_YET.capitalize()}: {missing}." if missing else "")
            + (f" Left out, being of a lower tier than the rest of the panel: {lower}." if lower else "")
            + (f" Left out, because not measured at every one of these points: other trainings of {fewer}." if fewer else ""))


def _passed_over(recorded, shown, of="trained"):
    """What a caption says of base models that are `recorded` at better tiers than those that are shown, by the tier `of` evaluations."""
    said = []
    for label in BASES:
        there, here = (set(select(frame, label=label)[of]) for frame in (recorded, shown))
        better = runs.TIERS[max(map(runs.TIERS.index, here)) + 1 :] if here else ()
        if tiers := [tier for tier in reversed(better) if tier in there]:
            said.append(f"{label} (tier {' and '.join(tiers)})")
    return f" Left out, as too little of this is measured at their tier yet: {', '.join(said)}." if said else ""


def _printed(part):
    """The σ of the best cells under PGD that the paper's Table 3 prints of a panel's base models, and their colours."""
    printed = tables.paper(3)
    best = printed.sort_values("pgd").drop_duplicates("label", keep="last").set_index("label")["sigma"]
    labels = [label for label in BASES if label in set(part["label"])]
    return {best[label]: INK if len(labels) == 1 else NETWORKS[label] for label in labels}


def _point(cell):
    return f"{interval(cell)}, {cell['tier']}"


def _by_draws(frame):
    return "M = " + frame["M"].astype(str)


def _of_draws(names):
    """Solid and dashed in turn, as neighbours lie close to each other."""
    draws = {name: int(name.removeprefix("M = ")) for name in names}
    return {name: (of_draws(M), "-" if M.bit_length() % 2 else "--") for name, M in draws.items()}


def figure1(folder=RESULTS):
    """Accuracy of CPNI-W with prediction smoothing against σ, a curve for each M; panels clean, PGD, EPGD."""
    panels = {name: dict(label="CPNI-W", rule="prediction", **of_attack(key)) for key, name in ATTACKS.items()}
    return _draw(1, "CPNI-W with prediction smoothing", folder, FIGURE1, panels, _by_draws, _of_draws)


def figure2(folder=RESULTS):
    """Accuracy at M = 8 against σ, a curve for each of the paper's base models; panels: attacks, and its voting rules."""
    panels = {f"{name}, {rule}": dict(M=8, rule=rule, **of_attack(key)) for key, name in ATTACKS.items() for rule in RULES}

    def look(names):
        return {label: (NETWORKS[label], "-") for label in BASES if label in names}

    return _draw(2, "Base models and voting rules, M = 8", folder, FIGURE2, panels, lambda part: part["label"], look)


def figure3(folder=RESULTS):
    """Accuracy of Gauss and EPGD-diverged with prediction smoothing against σ, a curve for each M."""
    panels = {f"{label}, {ATTACKS[key]}": dict(label=label, rule="prediction", **of_attack(key))
              for key in ("epgd", "pgd") for label in ("Gauss", "EPGD-diverged")}
    title = "Gauss and EPGD-diverged with prediction smoothing"
    return _draw(3, title, folder, FIGURE3, panels, _by_draws, _of_draws)


def figure4(folder=RESULTS):
    """Accuracy of CPNI-W, prediction smoothing, M = 8, under PGD against ε; curves: σ with 2 or more ε."""
    def look(names):
        return {name: (of_sigma(float(name.removeprefix("σ = "))), "-") for name in names}

    title = "CPNI-W with prediction smoothing, M = 8, under PGD"
    return _draw(4, title, folder, strengths, {"PGD": STRENGTHS}, lambda part: "σ = " + part["sigma"].map("{:g}".format),
                 look, "epsilon", "ε (1/255 of the pixel range)")


def most_attacked(folder):
    """The evaluations of CPNI-W, MANY votes, under PGD of whatever steps and EPGD of whatever samples: of the tier whose network met
    most of them, of several such the best."""
    everything = evaluations(folder)
    frame = select(of_any_effort(everything), M=MANY)
    frame = frame[frame["sigma"].isin([0, 0.24])]
    each = [one_tier(frame[frame["digest"].isin(select(of, label="CPNI-W")["digest"])]) for of in by_tier(everything)]
    return max(each, key=lambda of: len(of[["steps", "samples"]].drop_duplicates()))


def effort(folder=RESULTS):
    """Accuracy of CPNI-W against the gradients that an attack takes: PGD of more steps, EPGD of more samples a step."""
    title = f"Attacks of more gradients on CPNI-W, ε = 8/255, prediction smoothing, M = {MANY}"
    frame = most_attacked(folder)
    if frame.empty:
        return undrawn(title)
    found = [cells(of).assign(steps=steps, samples=samples) for (steps, samples), of in frame.groupby(["steps", "samples"])]
    found = pd.concat(found, ignore_index=True)
    found["gradients"] = found["steps"] * found["samples"]
    grows = {"pgd": "PGD, steps grow", "epgd": "EPGD, 7 steps, samples grow"}
    found["curve"] = found["attack"].map(grows) + found["sigma"].map(", σ = {:g}".format)
    look = {curve: (of_sigma(sigma), "-" if attack == "pgd" else "--") for (curve, attack, sigma), _ in
            sorted(found.groupby(["curve", "attack", "sigma"]), key=lambda of: (of[0][1] == "epgd", of[0][2]))}

    def draw(axes):
        for curve, (colour, dashes) in look.items():
            of = found[found["curve"] == curve]
            if dashes == "--":  # EPGD of one sample, where its curve begins
                first = (found["attack"] == "pgd") & (found["steps"] == 7) & found["sigma"].isin(of["sigma"])
                of = pd.concat([found[first], of])
            of = of.sort_values("gradients")
            axes.fill_between(of["gradients"], 100 * of["low"], 100 * of["high"], color=colour, alpha=0.08, lw=0)
            axes.plot(of["gradients"], 100 * of["accuracy"], dashes, color=colour, marker="o")
        axes.set_xscale("log", base=2, subs=[])
        axes.minorticks_off()
        axes.set_xticks([1, 4, 16, 64, 256], [1, 4, 16, 64, 256])

    ends = "; ".join(f"{curve}: {100 * of.max():.1f} to {100 * of.min():.1f} %" for curve, of in found.groupby("curve")["accuracy"])
    drawn = drawing(draw, "PGD and EPGD", "gradients per image", "accuracy, %", ends, "effort", ALONE)
    lines = [{"Panel": one.curve, "Steps": f"{one.steps}", "Samples": f"{one.samples}", "Gradients": f"{one.gradients}",
              "Accuracy": interval(one._asdict()),
              "Records": tuple(sorted(one.ids))} for one in found.sort_values(["curve", "gradients"]).itertuples()]
    caption = (f"{title}. {made_on(found)}. Bands: exact 95 % interval over images. The curve of EPGD begins at one"
               f" sample, which is PGD of seven steps.{warning(found['tier'])}")
    return Figure([drawn], look, caption, Table(pd.DataFrame(lines), "Accuracy in percent (95 % interval)", 2))


CLEAN = "no attack"


def mapped(attacked):
    """Of evaluations under transferred attacks those that a map shows: the best tier, and in it most images, that has enough of it."""
    each = [of for _, of in attacked.groupby([attacked["tier"].map(runs.TIERS.index), "n"])][::-1]
    return fullest(each, x="source") if each else attacked


def transfers(folder=RESULTS):
    """Who fools whom: accuracy under PGD made on one network and shown to another, a row a source, a column a target.

    The target votes, M passes at σ; the source is attacked as it is, without input noise, also where it is the target.
    """
    sigma, M = 0.02, 8
    trained = trainings(folder).drop_duplicates("digest").set_index("digest")
    title = f"Transferred PGD: accuracy of the network that is shown the attack, prediction smoothing, M = {M}, σ = {sigma:g}."
    attacked, clean = transferred(evaluations(folder), trained.index, sigma, M)
    if attacked.empty:
        return Figure([], {}, f"{title} {NOT_YET.capitalize()}: no record holds any of it.", None)
    shown = mapped(attacked)
    clean = clean.merge(shown[["digest", "tier", "n"]].drop_duplicates())
    found = pd.concat([shown, clean]).sort_values("draws").drop_duplicates(["source", "digest"])
    names = network_names(trained.reset_index(), {*shown["digest"], *shown["source"]})
    order = sorted(names, key=lambda digest: (_place(trained.loc[digest]), names[digest]))
    found = found.assign(row=found["source"].map({**names, CLEAN: CLEAN}), column=found["digest"].map(names))
    rows = [names[digest] for digest in order if digest in set(found["source"])] + ([CLEAN] if CLEAN in set(found["source"]) else [])
    columns = [names[digest] for digest in order if digest in set(found["digest"])]
    # The cells that are compared with each other have the colours: the rest lies far above, or below at almost nothing.
    known = [digest for digest in names if trained.loc[digest, "method"] != "plain"]
    compared = 100 * found[found["source"].isin(known) & found["digest"].isin(known)]["accuracy"]
    compared = compared if len(compared) else 100 * found["accuracy"]
    values = 100 * found.pivot(index="row", columns="column", values="accuracy").reindex(rows, columns=columns)
    texts = found.assign(text=found.apply(interval, axis=1)).pivot(index="row", columns="column", values="text")
    numbers = texts.reindex(rows, columns=columns).fillna(NOT_YET).rename_axis("Made on", axis=0).reset_index()
    ids = found.groupby("row")["id"].agg(lambda of: tuple(sorted(of)))
    at = f"Tier {shown['tier'].iloc[0]}, n = {shown['n'].iloc[0]:,}"
    numbers = numbers.assign(Records=numbers["Made on"].map(ids)).assign(Panel=at.lower())
    made = (f" {at} images, one run per cell, precision {found['precision'].iloc[0]}. Each interval over images is at most"
            f" ± {_widest(found):.1f} points.{_passed_over(attacked, shown, 'tier')}{warning(found['tier'])}")
    made = (f" Colours run from {compared.min():.0f} to {compared.max():.0f} %, the range of attacks between the networks that"
            f" were trained on attacked images; values beyond it have the colour of the nearer end.{made}")
    drawn = heatmap(values, (compared.min(), compared.max()), "shown to", "made on", "Accuracy, %", "transfers")
    name = "Accuracy in percent (95 % interval), by the network shown the attack"
    table = Table(numbers[["Panel", "Made on", *columns, "Records"]], name, 1)
    return Figure([drawn], {}, title + made, table)


def transferred(frame, known, sigma=0.02, M=8):
    """Of evaluations those of a map of transfers: under attacks made on networks that are `known`, and without attack."""
    frame = select(frame, rule="prediction", M=M, sigma=sigma, split="test", seed=0)
    frame = frame[frame["digest"].isin(known)]
    attacked = select(frame, attack="transferred pgd", epsilon=8, steps=7)
    return attacked[attacked["source"].isin(known)], select(frame, attack="none").assign(source=CLEAN)


def network_names(trained, digests):
    """{digest: name} of some of `report.trainings`: its label, how a plain one was trained, its seed where it is not the first; and
    where two would be called the same, its tier."""
    names, tiers = {}, {}
    for one in trained[trained["digest"].isin(digests)].drop_duplicates("digest").itertuples():
        same = select(trained, label=one.label, method=one.method)
        name = kind(one)
        names[one.digest] = name if one.seed == same["seed"].min() else f"{name}, seed {one.seed}"
        tiers[one.digest] = one.tier
    often = Counter(names.values())
    return {digest: name if often[name] == 1 else f"{name}, tier {tiers[digest]}" for digest, name in names.items()}


def kind(training):
    """What one of `report.trainings` is called: its label, and how a plain one was trained."""
    return tables.PLAIN.get(training.method, training.label) if training.label == "plain" else training.label


def _place(training):
    """The order of the networks: the paper's base models, other noisy ones, and those without noise last."""
    known = (*BASES, "PNI-W", "plain")
    return known.index(training["label"]) if training["label"] in known else len(BASES)


def _widest(found):
    return 50 * np.max(found["high"] - found["low"])
