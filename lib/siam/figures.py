"""The paper's figures, drawn from records; panels, legend, caption and the numbers behind them."""

import pandas as pd

from siam import tables
from siam.paths import RESULTS
from siam.report import ATTACKS, BASES, SIGMA_MAX, cells, interval, made_on, one_tier, select, usual, warning
from siam.style import INK, NOT_YET, Figure, Table, fading, panel

COLOURS = dict(zip(BASES, ["#0072B2", "#009E73", "#CC79A7", "#D55E00"]))
RULES = {"prediction": "-", "soft": "--", "weighted": ":"}  # the paper's three; the records hold two more


def _draw(number, title, frame, panels, hue, look, x="sigma", xlabel="σ (normalised units)"):
    """A Figure of rows of `_usual`. panels: {title: selection of cells}; hue: cells -> the names of their
    curves; look: names of the curves -> {name: (colour, dashes)}, in the order of the legend. Dotted lines mark the σ of
    the best cell that the paper prints for a base model.
    """
    title = f"Figure {number}: {title}."
    frame = frame[(frame["split"] != "heldout") & (frame["sigma"] <= SIGMA_MAX)]
    frame = cells(frame)
    found = {name: select(frame, **chosen) for name, chosen in panels.items()}
    ours = {name: one_tier(part) for name, part in found.items()}
    left = [f"{label} ({name})" for name, part in found.items()
            for label in sorted(set(part["label"]) - set(ours[name]["label"]))]
    ours = {name: part.assign(curve=hue(part)) for name, part in ours.items() if len(part)}
    if not ours:
        return Figure([], {}, f"{title} {NOT_YET.capitalize()}: no record holds any of it.", None)
    everything = pd.concat([part.assign(part=name + ", " + part["label"]) for name, part in ours.items()])
    look = look(everything.sort_values(["M", "sigma"])["curve"].unique())
    drawn, numbers, marked = [], [], False
    for name, part in ours.items():
        curves = {curve: part[part["curve"] == curve].sort_values(x) for curve in look}
        curves = {curve: points for curve, points in curves.items() if len(points)}
        marks = _printed(part) if x == "sigma" else {}
        marked = marked or len(marks) > 0
        drawn.append(panel(curves, look, x, xlabel, name, f"figure{number} {name}", marks))
        wide = part.assign(text=part.apply(_point, axis=1)).pivot(index=x, columns="curve", values="text")
        wide = wide.reindex(columns=list(look)).astype(object).fillna(NOT_YET).rename(index="{:g}".format)
        numbers.append(wide.reset_index(names=xlabel).assign(Panel=name))
    missing = ", ".join(name for name in panels if name not in ours)
    missing = f" {NOT_YET.capitalize()}: {missing}." if missing else ""
    left = f" Left out, as of a lower tier than the rest of the panel: {', '.join(left)}." if left else ""
    one_M = everything["M"].nunique() == 1
    nested = "" if one_M else " Points along M are nested: they share their forward passes."
    several = " Bars: standard deviation over runs." if everything["std"].notna().any() else ""
    dotted = " Dotted: σ of the best cell under PGD that the paper prints." if marked else ""
    caption = (f"{title} {made_on(everything)}. Bands: exact 95\u00a0% interval over images."
               f"{several}{dotted}{nested}{missing}{left}{warning(everything)}")
    numbers = pd.concat(numbers)[["Panel", xlabel, *look]]
    table = Table(numbers, "Accuracy in percent (95 % interval), tier", 1)
    return Figure(drawn, look, caption, table)


def _printed(part):
    """The σ of the best cells under PGD that the paper's Table 3 prints of a panel's base models, and their colours."""
    printed = tables.paper(3)
    best = printed.sort_values("pgd").drop_duplicates("label", keep="last").set_index("label")["sigma"]
    labels = [label for label in BASES if label in set(part["label"])]
    return {best[label]: INK if len(labels) == 1 else COLOURS[label] for label in labels}


def _point(cell):
    return f"{interval(cell)}, {cell['tier']}"


def _by_draws(frame):
    return "M = " + frame["M"].astype(str)


def _attack(attack):
    return {"attack": attack, "epsilon": 0 if attack == "none" else 8}


def figure1(folder=RESULTS):
    """Accuracy of CPNI-W with prediction smoothing against σ, a curve for each M; panels clean, PGD, EPGD."""
    panels = {name: dict(label="CPNI-W", rule="prediction", **_attack(key)) for key, name in ATTACKS.items()}
    return _draw(1, "CPNI-W with prediction smoothing", usual(folder), panels, _by_draws, fading)


def figure2(folder=RESULTS):
    """Accuracy at M = 8 against σ for the paper's base models and voting rules; panels clean, PGD, EPGD."""
    frame = usual(folder)
    frame = frame[frame["label"].isin(BASES) & frame["rule"].isin(RULES)]
    panels = {name: dict(M=8, **_attack(key)) for key, name in ATTACKS.items()}
    styles = {f"{label}, {rule}": (colour, dashes)
              for label, colour in COLOURS.items() for rule, dashes in RULES.items()}

    def look(names):
        return {name: style for name, style in styles.items() if name in names}

    return _draw(2, "Base models and voting rules, M = 8", frame, panels,
                 lambda part: part["label"] + ", " + part["rule"], look)


def figure3(folder=RESULTS):
    """Accuracy of Gauss and EPGD-diverged with prediction smoothing against σ, a curve for each M."""
    panels = {f"{label}, {ATTACKS[key]}": dict(label=label, rule="prediction", **_attack(key))
              for key in ("epgd", "pgd") for label in ("Gauss", "EPGD-diverged")}
    title = "Gauss and EPGD-diverged with prediction smoothing"
    return _draw(3, title, usual(folder), panels, _by_draws, fading)


def figure4(folder=RESULTS):
    """Accuracy of CPNI-W, prediction smoothing, M = 8, under PGD against ε; curves: σ with 2 or more ε."""
    pgd = dict(label="CPNI-W", rule="prediction", M=8, attack="pgd")
    frame = select(usual(folder), **pgd)
    frame = frame[frame.groupby("sigma")["epsilon"].transform("nunique") >= 2]
    title = "CPNI-W with prediction smoothing, M = 8, under PGD"
    return _draw(4, title, frame, {"PGD": pgd}, lambda part: "σ = " + part["sigma"].map("{:g}".format),
                 fading, "epsilon", "ε (1/255 of the pixel range)")
