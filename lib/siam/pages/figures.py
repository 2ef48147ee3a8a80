"""The paper's figures, drawn from records; panels, legend, caption and the numbers behind them."""

import numpy as np
import pandas as pd

from siam import runs
from siam.pages import tables
from siam.pages.style import ALONE, INCHES, INK, NETWORKS, Figure, Table, drawing, heatmap, of_draws, of_sigma, panel
from siam.paths import RESULTS
from siam.report import (ATTACKS, BASES, NOT_YET, SIGMA_MAX, cells, evaluations, interval, made_on, one_tier, select, suites,
                         trainings, warning)

RULES = ("prediction", "soft", "weighted")  # the paper's three; the records hold two more


def _draw(number, title, folder, panels, hue, look, x="sigma", xlabel="σ (normalised units)", keep=lambda frame: frame):
    """A Figure of the first of `report.suites` that has what it shows. panels: {title: selection of cells}; hue: cells -> the
    names of their curves; look: names of the curves -> {name: (colour, dashes)}, in the order of the legend; keep: which rows.
    Panels under one attack share their axis. Short ticks mark the σ of the best cell that the paper prints for a base model.
    """
    title, recorded = f"Figure {number}: {title}.", evaluations(folder)
    shown = [(suite, keep(suite[(suite["split"] != "heldout") & (suite["sigma"] <= SIGMA_MAX)])) for suite in suites(recorded)]
    suite, frame = next((of for of in shown if len(of[1])), shown[0])
    better, frame = _better(recorded, suite), cells(frame)
    found = {name: select(frame, **chosen) for name, chosen in panels.items()}
    ours = {name: one_tier(part) for name, part in found.items()}
    left = [f"{label} ({name})" for name, part in found.items()
            for label in sorted(set(part["label"]) - set(ours[name]["label"]))]
    ours = {name: part.assign(curve=hue(part)) for name, part in ours.items() if len(part)}
    if not ours:
        return Figure([], {}, f"{title} {NOT_YET.capitalize()}: no record holds any of it.", None)
    everything = pd.concat([part.assign(part=name if part["label"].nunique() == 1 else name + ", " + part["label"])
                            for name, part in ours.items()])
    better = [f"{label} (tier {tier})" for label, tier in better.items() if label in set(everything["label"])]
    look = look(everything.sort_values(["M", "sigma"])["curve"].unique())
    drawn, numbers, marked = [], [], False
    for name, part in ours.items():
        curves = {curve: part[part["curve"] == curve].sort_values(x) for curve in look}
        curves = {curve: points for curve, points in curves.items() if len(points)}
        limits = _limits(of for other, of in ours.items() if panels[other]["attack"] == panels[name]["attack"])
        marks = _printed(part) if x == "sigma" else {}
        marked = marked or len(marks) > 0
        drawn.append(panel(curves, look, x, xlabel, name, f"figure{number} {name}", marks, limits,
                           INCHES if len(ours) > 1 else ALONE))
        wide = part.assign(text=part.apply(_point, axis=1)).pivot(index=x, columns="curve", values="text")
        wide = wide.reindex(columns=list(look)).astype(object).fillna(NOT_YET).rename(index="{:g}".format)
        ids = part.groupby(x)["ids"].sum().map(lambda ids: tuple(sorted(set(ids)))).to_numpy()
        numbers.append(wide.reset_index(names=xlabel).assign(Panel=name, Records=ids))
    missing = "; ".join(name for name in panels if name not in ours)
    missing = f" {NOT_YET.capitalize()}: {missing}." if missing else ""
    left = f" Left out, as of a lower tier than the rest of the panel: {', '.join(left)}." if left else ""
    left += f" Left out, as too little of this is measured at their tier yet: {', '.join(better)}." if better else ""
    one_M = everything["M"].nunique() == 1
    alike = everything.groupby(["part", "sigma"])["seeds"].nunique().max() == 1
    where = "" if alike else ", where they are of the same runs"
    nested = "" if one_M else f" Points along M are nested: they share their forward passes{where}."
    spread = everything[everything["std"].notna()]
    batches = " or ".join(f"{size:,}" for size in sorted(set(spread["batch_size"])))
    several = f" Bars: standard deviation over runs, in batches of {batches} images, which share their draws." if batches else ""
    ticks = " Short ticks on the axis: σ of the best cell under PGD that the paper prints." if marked else ""
    caption = (f"{title} {made_on(everything)}. Bands: exact 95\u00a0% interval over images."
               f"{several}{ticks}{nested}{missing}{left}{warning(everything['tier'])}")
    numbers = pd.concat(numbers)[["Panel", xlabel, *look, "Records"]]
    table = Table(numbers, "Accuracy in percent (95 % interval), tier", 1)
    return Figure(drawn, look, caption, table)


def _limits(parts):
    """The ends of an axis that has room for all points of some panels, with their bands and bars, in percent."""
    points = pd.concat(parts)
    bars = points["std"].fillna(0)
    low = min(points["low"].min(), (points["accuracy"] - bars).min())
    high = max(points["high"].max(), (points["accuracy"] + bars).max())
    room = 0.04 * (high - low)
    return 100 * (low - room), 100 * (high + room)


def _better(recorded, frame):
    """{label: tier} of the base models that have been trained at a better tier than those of a suite."""
    order = runs.TIERS.index
    best = recorded[recorded["trained"] != ""].groupby("label")["trained"].agg(lambda tiers: max(tiers, key=order))
    drawn = frame.drop_duplicates("label").set_index("label")["trained"]
    return {label: best[label] for label in BASES if label in drawn and order(best[label]) > order(drawn[label])}


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


def _attack(attack):
    return {"attack": attack, "epsilon": 0 if attack == "none" else 8}


def figure1(folder=RESULTS):
    """Accuracy of CPNI-W with prediction smoothing against σ, a curve for each M; panels clean, PGD, EPGD."""
    panels = {name: dict(label="CPNI-W", rule="prediction", **_attack(key)) for key, name in ATTACKS.items()}
    return _draw(1, "CPNI-W with prediction smoothing", folder, panels, _by_draws, _of_draws)


def figure2(folder=RESULTS):
    """Accuracy at M = 8 against σ, a curve for each of the paper's base models; panels: attacks, and its voting rules."""
    panels = {f"{name}, {rule}": dict(M=8, rule=rule, **_attack(key)) for key, name in ATTACKS.items() for rule in RULES}

    def look(names):
        return {label: (NETWORKS[label], "-") for label in BASES if label in names}

    return _draw(2, "Base models and voting rules, M = 8", folder, panels, lambda part: part["label"], look,
                 keep=lambda frame: frame[frame["label"].isin(BASES) & frame["rule"].isin(RULES)])


def figure3(folder=RESULTS):
    """Accuracy of Gauss and EPGD-diverged with prediction smoothing against σ, a curve for each M."""
    panels = {f"{label}, {ATTACKS[key]}": dict(label=label, rule="prediction", **_attack(key))
              for key in ("epgd", "pgd") for label in ("Gauss", "EPGD-diverged")}
    title = "Gauss and EPGD-diverged with prediction smoothing"
    return _draw(3, title, folder, panels, _by_draws, _of_draws)


STRENGTHS = dict(label="CPNI-W", rule="prediction", M=8, attack="pgd")  # what Figure 4 shows, for several ε


def figure4(folder=RESULTS):
    """Accuracy of CPNI-W, prediction smoothing, M = 8, under PGD against ε; curves: σ with 2 or more ε."""
    def look(names):
        return {name: (of_sigma(float(name.removeprefix("σ = "))), "-") for name in names}

    title = "CPNI-W with prediction smoothing, M = 8, under PGD"
    return _draw(4, title, folder, {"PGD": STRENGTHS}, lambda part: "σ = " + part["sigma"].map("{:g}".format),
                 look, "epsilon", "ε (1/255 of the pixel range)", strengths)


def strengths(frame):
    """Of some evaluations what Figure 4 shows. A curve keeps to one batch size, the one that most of its ε have: a batch shares
    a draw of the layers' noise, so that runs of small batches spread less."""
    frame = select(frame, **STRENGTHS)
    points = frame.drop_duplicates(["sigma", "epsilon", "batch_size"])
    sizes = points.groupby("sigma")["batch_size"].agg(lambda of: of.mode().iloc[0])
    frame = frame[frame["batch_size"] == frame["sigma"].map(sizes)]
    return frame[frame.groupby("sigma")["epsilon"].transform("nunique") >= 2]


def effort(folder=RESULTS, M=64):
    """Accuracy of CPNI-W against the gradients that an attack takes: PGD of more steps, EPGD of more samples a step."""
    title = f"Attacks of more gradients on CPNI-W, ε = 8/255, prediction smoothing, M = {M}"
    everything = evaluations(folder)
    frame = everything[everything["attack"].isin(["pgd", "epgd"]) & everything["source"].isna()]
    frame = select(frame, rule="prediction", M=M, split="test", epsilon=8)
    frame = frame[np.isclose(4 * frame["step_size"], 8) & frame["sigma"].isin([0, 0.24])]
    # The first suite whose network met more than the two attacks of the paper.
    each = [one_tier(frame[frame["digest"].isin(select(suite, label="CPNI-W")["digest"])]) for suite in suites(everything)]
    frame = next((of for of in each if len(of[["steps", "samples"]].drop_duplicates()) > 2), each[0])
    if frame.empty:
        return Figure([], {}, f"{title}: {NOT_YET}.", None)
    found = [cells(of).assign(steps=steps, samples=samples) for (steps, samples), of in frame.groupby(["steps", "samples"])]
    found = pd.concat(found, ignore_index=True)
    found["gradients"] = found["steps"] * found["samples"]
    grows = {"pgd": "PGD, steps grow", "epgd": "EPGD, 7 steps, samples grow"}
    found["curve"] = found["attack"].map(grows) + found["sigma"].map(", σ = {:g}".format)
    look = {curve: (of_sigma(sigma), "-" if attack == "pgd" else "--") for (curve, attack, sigma), _ in
            sorted(found.groupby(["curve", "attack", "sigma"]), key=lambda of: (of[0][1] == "epgd", of[0][2]))}

    def draw(axes):
        for curve, (colour, dashes) in look.items():
            of = found[found["curve"] == curve].sort_values("gradients")
            axes.fill_between(of["gradients"], 100 * of["low"], 100 * of["high"], color=colour, alpha=0.08, lw=0)
            axes.plot(of["gradients"], 100 * of["accuracy"], dashes, color=colour, marker="o")
        axes.set_xscale("log", base=2, subs=[])
        axes.minorticks_off()
        axes.set_xticks([1, 4, 16, 64, 256], [1, 4, 16, 64, 256])

    ends = "; ".join(f"{curve}: {100 * of.max():.1f} to {100 * of.min():.1f} %" for curve, of in found.groupby("curve")["accuracy"])
    drawn = drawing(draw, "PGD and EPGD", "gradients taken for an image", "accuracy, %", ends, "effort", ALONE)
    lines = [{"Panel": one.curve, "Steps": f"{one.steps}", "Samples": f"{one.samples}", "Gradients": f"{one.gradients}",
              "Accuracy": interval(one._asdict()), "Records": one.ids} for one in found.sort_values(["curve", "gradients"]).itertuples()]
    caption = (f"{title}. {made_on(found)}. Bands: exact 95 % interval over images. EPGD of one sample is PGD of seven"
               f" steps.{warning(found['tier'])}")
    return Figure([drawn], look, caption, Table(pd.DataFrame(lines), "Accuracy in percent (95 % interval)", 2))


CLEAN = "no attack"


def transfers(folder=RESULTS, sigma=0.02, M=8):
    """Who fools whom: accuracy under PGD made on one network and shown to another, a row a source, a column a target.

    The target votes, M passes at σ; the source is attacked as it is, without input noise, also where it is the target.
    """
    trained = trainings(folder).drop_duplicates("digest").set_index("digest")
    title = f"Transferred PGD: accuracy of the network that is shown the attack, prediction smoothing, M = {M}, σ = {sigma:g}."
    frame = select(evaluations(folder), rule="prediction", M=M, sigma=sigma, split="test", steps=7, seed=0)
    frame = frame[frame["digest"].isin(trained.index)]
    attacked = frame[(frame["attack"] == "transferred pgd") & (frame["epsilon"] == 8) & frame["source"].isin(trained.index)]
    if attacked.empty:
        return Figure([], {}, f"{title} {NOT_YET.capitalize()}: no record holds any of it.", None)
    attacked = one_tier(attacked)
    n = attacked["n"].max()
    clean = select(evaluations(folder), rule="prediction", M=M, sigma=sigma, split="test", attack="none", seed=0, n=n,
                   tier=attacked["tier"].iloc[0])
    clean = clean[clean["digest"].isin(attacked["digest"])].assign(source=CLEAN)
    found = pd.concat([attacked[attacked["n"] == n], clean]).sort_values("draws").drop_duplicates(["source", "digest"])
    names = network_names(trained.reset_index())
    names = {digest: names[digest] for digest in {*attacked["digest"], *attacked["source"]}}
    order = sorted(names, key=lambda digest: (_place(trained.loc[digest]), names[digest]))
    found = found.assign(row=found["source"].map({**names, CLEAN: CLEAN}), column=found["digest"].map(names))
    rows = [names[digest] for digest in order if digest in set(found["source"])] + [CLEAN]
    columns = [names[digest] for digest in order if digest in set(found["digest"])]
    # The cells that are compared with each other have the colours: the rest lies far above, or below at almost nothing.
    known = [digest for digest in names if trained.loc[digest, "method"] != "plain"]
    compared = 100 * found[found["source"].isin(known) & found["digest"].isin(known)]["accuracy"]
    compared = compared if len(compared) else 100 * found["accuracy"]
    values = 100 * found.pivot(index="row", columns="column", values="accuracy").reindex(rows, columns=columns)
    texts = found.assign(text=found.apply(interval, axis=1)).pivot(index="row", columns="column", values="text")
    numbers = texts.reindex(rows, columns=columns).fillna(NOT_YET).rename_axis("Made on", axis=0).reset_index()
    ids = found.groupby("row")["id"].agg(lambda of: tuple(sorted(of)))
    numbers = numbers.assign(Records=numbers["Made on"].map(ids)).assign(Panel=f"tier {found['tier'].iloc[0]}, n = {n:,}")
    made = (f" Tier {found['tier'].iloc[0]}, n = {n:,} images, one run per cell, precision {found['precision'].iloc[0]}."
            f" Each interval over images is at most ± {_widest(found):.1f} points.{warning(found['tier'])}")
    made = (f" Colours run from {compared.min():.0f} to {compared.max():.0f} %, the range of attacks between the networks that"
            f" were trained on attacked images; what lies beyond has the colour of that end.{made}")
    drawn = heatmap(values, (compared.min(), compared.max()), "shown to", "made on", "Accuracy, %", "transfers")
    name = "Accuracy in percent (95 % interval), by the network shown the attack"
    table = Table(numbers[["Panel", "Made on", *columns, "Records"]], name, 1)
    return Figure([drawn], {}, title + made, table)


def network_names(trained):
    """{digest: name} of `report.trainings`: its label, how a plain one was trained, its seed where it is not the first."""
    names = {}
    for one in trained.drop_duplicates("digest").itertuples():
        same = select(trained, label=one.label, method=one.method)
        name = tables.PLAIN.get(one.method, one.label) if one.label == "plain" else one.label
        names[one.digest] = name if one.seed == same["seed"].min() else f"{name}, seed {one.seed}"
    return names


def _place(training):
    """The order of the networks: the paper's base models, other noisy ones, and those without noise last."""
    known = (*BASES, "PNI-W", "plain")
    return known.index(training["label"]) if training["label"] in known else len(BASES)


def _widest(found):
    return 50 * np.max(found["high"] - found["low"])
