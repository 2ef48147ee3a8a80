"""The explorer: accuracy against the input noise σ, or the attack's budget ε, for a base model, rule and M of the reader's choice.

    from siam.explorer import Explorer, explore
    explore()                              # the committed records
    explore(axis="epsilon")                # against ε
    Explorer(frame, base_model="CPNI-W")   # a frame of your own

The same widget is live in JupyterLab and in the book's static pages; where no script runs, a picture and a
table of the opening view stand in for it. No torch is needed.
"""

import base64
import math
import re
from pathlib import Path

import anywidget
import pandas as pd
import traitlets as t
from matplotlib.figure import Figure

from siam import report
from siam.cifar10 import PIXEL_STD
from siam.live.record import CHECKPOINT
from siam.pages.style import BLUE, GREEN, PINK, VERMILLION, png_of
from siam.paths import PAPER, RESULTS, SHIPPED
from siam.report import BASES, RULES
from siam.runs import TIERS, clopper_pearson, in_255ths, real, whole

ATTACKS = {"none": "clean", "pgd": "PGD", "epgd": "EPGD", "fgsm": "FGSM", "pgd-sum": "PGD, summed",
           "epgd-sum": "EPGD, summed"}  # others, as rules, go by the name they have
SPLITS = {
    "test": "test images",
    "heldout": "held-out training images",
    "sample-test": "test images of the shipped sample",
}
COLOURS = {"clean": BLUE, "pgd": VERMILLION, "epgd": GREEN, "fgsm": PINK, "other": "#48566B"}

REQUIRED = ("label", "attack", "sigma", "rule", "M", "correct", "n")
OPTIONAL = {  # what a frame of the reader's own may leave out
    "id": "", "tier": "unstated", "checkpoint": "", "digest": "", "split": "test", "seed": 0, "batch_size": 0,
    "precision": "", "epsilon": 8.0, "step_size": 0.0, "steps": 0, "samples": 0,
}
WHOLES = {"M": 1, "correct": 0, "n": 1, "seed": 0, "batch_size": 0, "steps": 0, "samples": 0}  # columns of whole numbers, and the least
REALS = ("sigma", "epsilon", "step_size", "low", "high")
# Points that differ in any of these are never joined by one line, nor compared in one view.
SOURCE = ["label", "tier", "split", "n", "checkpoint", "digest", "seed", "batch_size", "precision"]
SETTING = ["attack", "steps", "step_size", "samples"]
VIEW = ("base_model", "rule", "attacks", "draws", "sigma", "epsilon", "source")
AXES = {"sigma": "σ, input noise (normalised units)", "epsilon": "ε, the attack's budget (1/255 of the pixel range)"}


def payload(frame, printed=None, epsilon=8.0, axis="sigma"):
    """What the explorer draws, as plain lists and dicts: sorted, compact, valid JSON.

    frame: one row per record, rule and M; the columns REQUIRED, and those of OPTIONAL where known. low and
    high, the 95 % interval, are computed if absent. printed: the paper's Table 3 as data/paper/table3.csv has
    it, or None. axis: one of AXES, along which curves run. Against σ, epsilon is the attack budget shown, in 1/255 of
    the pixel range, others are left out; against ε every σ is a source of its own, of those with two budgets or more.
    Raises ValueError, one line, for what is no DataFrame, a missing column, a value outside its range, or an epsilon that the frame has
    nothing at.
    """
    if axis not in AXES:
        raise ValueError(f"axis = {axis!r} is not allowed: give one of {', '.join(AXES)}")
    frame, epsilon = _complete(frame), real("epsilon", epsilon)
    budgets = sorted(set(frame.epsilon[frame.attack != "none"]))
    for budget in (epsilon, *budgets):
        in_255ths("epsilon", budget, 0.5, 8)
    if axis == "sigma":
        frame = frame[(frame.attack == "none") | (frame.epsilon == epsilon)]
        if budgets and epsilon not in budgets:
            there = ", ".join(f"{budget:g}" for budget in budgets)
            raise ValueError(f"epsilon = {epsilon:g} is not allowed, as the frame has nothing at it: give one of {there}")
        source, budget = SOURCE, f"{epsilon:g}/255"
    else:  # a step is a share of the budget, or each budget would be an attack of its own
        frame = frame[frame.attack != "none"]
        source, budget, printed = [*SOURCE, "sigma"], "ε", None
        rest, still = frame[frame.epsilon > 0], frame[frame.epsilon == 0].drop(columns="step_size")
        rest = rest.assign(step_size=(rest.step_size / rest.epsilon).round(6))
        # No step leaves the image where the budget is 0, which is so the left end of every curve that is like it in all else.
        alike = [name for name in (*source, *SETTING) if name != "step_size"]
        still = still.merge(rest[[*alike, "step_size"]].drop_duplicates(), on=alike)
        frame = pd.concat([rest, still.drop_duplicates([*alike, "step_size", "rule", "M"])], ignore_index=True)
        frame = frame[frame.groupby([*source, *SETTING], dropna=False).epsilon.transform("nunique") > 1]
    attacks = [attack for attack in _attacks(frame, budget) if axis == "sigma" or attack["setting"]]
    groups = frame.groupby(source, dropna=False)
    sources = [_source(dict(zip(source, key)), rows.assign(x=rows[axis]), attacks) for key, rows in groups]
    return {
        "axis": axis,
        "models": list(dict.fromkeys([*BASES, *sorted(frame.label.unique(), key=_naturally)])),
        "rules": [{"key": key, "name": RULES.get(key, key)} for key in _ordered(RULES, frame["rule"])],
        "attacks": [{key: a[key] for key in ("key", "kind", "name", "detail", "extra")} for a in attacks],
        "sources": _listed(sorted(sources, key=_preference)),
        "printed": _printed(printed),
        "pixel_std": round(PIXEL_STD, 4),
    }


def _complete(frame):
    """`frame` with every column this module reads, checked."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"a frame of type {type(frame).__name__} is not allowed: give a pandas DataFrame with {', '.join(REQUIRED)}")
    if frame.empty:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in (*REQUIRED, *OPTIONAL, "low", "high")})
    missing = [name for name in REQUIRED if name not in frame]
    if missing:
        raise ValueError(f"the frame lacks the column {', '.join(missing)}; it needs {', '.join(REQUIRED)}")
    frame = frame.assign(**{name: value for name, value in OPTIONAL.items() if name not in frame})
    for name in ("label", "rule", "attack"):
        for value in frame[name].tolist():
            if not isinstance(value, str) or not value:
                raise ValueError(f"{name} = {value!r} is not allowed: give its name, a non-empty string")
    for name, least in WHOLES.items():
        frame[name] = [whole(name, value, least) for value in frame[name].tolist()]
    _refuse(frame, "correct", frame.correct > frame.n, "give no more than n")
    if not {"low", "high"} <= set(frame):
        intervals = [clopper_pearson(correct, n) for correct, n in zip(frame.correct, frame.n)]
        frame = frame.assign(low=[low for low, _ in intervals], high=[high for _, high in intervals])
    for name in REALS:
        frame[name] = [real(name, value) for value in frame[name].tolist()]
    share = frame.correct / frame.n
    _refuse(frame, "low", frame.low > share + 1e-6, "give a fraction from 0 to 1, no more than correct / n")  # records round to 1e-6
    _refuse(frame, "high", (frame.high < share - 1e-6) | (frame.high > 1), "give a fraction from 0 to 1, no less than correct / n")
    return frame


def _refuse(frame, name, bad, allowed):
    """Raise ValueError, one line, for the first value of the column `name` that is `bad`."""
    if bad.any():
        raise ValueError(f"{name} = {frame[name][bad.to_numpy()].iloc[0]} is not allowed: {allowed}")


def _naturally(label):
    """A key that sorts the numbers in labels by their size: r=2 before r=10."""
    return [float(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+(?:\.\d+)?)", label))]


def _ordered(known, found):
    """The names that are known, then others that were found, by the alphabet."""
    return [*known, *sorted(set(found) - set(known))]


def _attacks(frame, budget):
    """The attacks of the frame and the paper's three; a second setting of one is an attack of its own.

    budget: "8/255", or "ε" where it varies and the frame's steps are shares of it.
    """
    unit = "/255" if budget != "ε" else " ε"
    found = frame.groupby(SETTING).size().sort_values(ascending=False, kind="stable")
    attacks = []
    for name in _ordered(ATTACKS, frame["attack"]):
        settings = [key[1:] for key in found.index if key[0] == name]
        if not settings and name not in ("none", "pgd", "epgd"):
            continue
        for extra, (steps, step_size, samples) in enumerate(settings or [(0, 0.0, 0)]):
            known = name != "none" and steps > 0
            base = name.removesuffix("-sum")  # a summed attack has its attack's colour, and dots
            step = "ε/4" if (unit, step_size) == (" ε", 0.25) else f"{step_size:g}{unit}"
            attacks.append({
                "key": name if not extra else f"{name}-{steps}-{step_size:g}-{samples}",
                "kind": "clean" if name == "none" else base if base in COLOURS else "other",
                "name": ATTACKS.get(name, name) + (f" {steps}×{step_size:g}, {samples}" if extra else ""),
                "detail": f"{steps} step{'s' * (steps > 1)} of {step} within {budget}"
                          + f", gradient over {samples} passes" * (samples > 1)
                          + ", along the sum of all gradients so far" * name.endswith("-sum") if known else "",
                "extra": extra > 0 or name.endswith("-sum"),  # not drawn before it is ticked
                "setting": [name, steps, step_size, samples] if settings else None,
            })
    return attacks


def _source(source, rows, attacks):
    """One checkpoint on one set of images: its curves, cells[rule][x][M] = [correct, low, high] or None."""
    draws = sorted(int(M) for M in rows.M.unique())
    curves = {}
    for attack in attacks:
        points = rows[(rows[SETTING] == attack["setting"]).all(axis=1)] if attack["setting"] else rows[:0]
        if points.empty:
            continue
        xs = sorted(points.x.unique())
        cells = {rule: [[None] * len(draws) for _ in xs] for rule in _ordered(RULES, points.rule) if rule in set(points.rule)}
        ids = {}
        # Of two records of one point the one with more draws comes last: it repeats the other's first passes.
        if points.duplicated(["x", "rule", "M", "id"]).any():
            raise ValueError(f"two rows for one point of {attack['name']}: {_names(source)['name']}; give each an id")
        points = points.assign(most=points.groupby("id").M.transform("max")).sort_values(["most", "id"])
        for p in points.itertuples():
            i, m = xs.index(p.x), draws.index(p.M)
            cells[p.rule][i][m] = [int(p.correct), round(float(p.low), 6), round(float(p.high), 6)]
            ids[p.x] = p.id
        curves[attack["key"]] = {
            "x": [float(x) for x in xs], "id": [ids[x] for x in xs], "cells": cells}
    return {"model": source["label"], **_names(source), "seed": int(source["seed"]),
            "tier": source["tier"], "split": source["split"], "n": int(source["n"]), "draws": draws, "attacks": curves,
            "live": source["checkpoint"] == CHECKPOINT}


def _names(source):
    """A source in words: its name, with everything that tells it from another; its group; and in that its family, which those share
    with it that differ in the seed alone, as parts of which the last, the digest, is for those that are alike in the others."""
    sigma = f"σ = {source['sigma']:g}" if "sigma" in source else ""
    tier, images = f"{source['tier']} tier", f"{source['n']:,} {SPLITS.get(source['split'], source['split'])}"
    batches = f"batches of {source['batch_size']}" if source["batch_size"] else ""
    checkpoint, digest, precision = source["checkpoint"], source["digest"][:8], source["precision"]
    network = f"checkpoint {checkpoint} ({digest})" if checkpoint else digest and f"network {digest}"
    name = [sigma, tier, images, network, f"seed {source['seed']}", batches, precision]
    family = sigma, checkpoint, batches, precision, digest
    return {"name": ", ".join(filter(None, name)), "group": f"{tier}, {images}", "family": family}


def _listed(sources):
    """The sources, each with its place in a list, best tier first, and what a list calls its family: the group, and the parts that
    tell the family from others of the model there."""
    families = {}
    for source in sources:
        families.setdefault((source["model"], source["group"]), set()).add(source["family"])
    ranks = sorted({_rank(source) for source in sources})
    for source in sources:
        there = families[source["model"], source["group"]]
        differ = [len(set(part)) > 1 for part in zip(*there)]
        apart = len({of[:-1] for of in there}) == len(there)  # then none needs its digest
        parts = [part for part, tells in zip(source["family"], differ[:-1] if apart else differ) if tells and part]
        source["place"] = ranks.index(_rank(source))
        source["entry"] = source["group"] + (f": {', '.join(parts)}" if parts else "")
    return [{key: value for key, value in source.items() if key not in ("group", "family")} for source in sources]


def _rank(source):
    return -_tier(source), source["split"] != "test", -source["n"], source["group"]


def _tier(source):
    return TIERS.index(source["tier"]) if source["tier"] in TIERS else -1


def _preference(source):
    """Order of a model's sources: test images, those with a curve to move along, best tier first, most points, most images."""
    curve = max((len(curve["x"]) for curve in source["attacks"].values()), default=0) > 4  # fewer show no optimum
    points = sum(len(curve["x"]) for curve in source["attacks"].values())
    return source["split"] != "test", not curve, -_tier(source), -points, -source["n"], source["name"]


def _printed(table):
    """The paper's operating points; accuracies in per cent, as printed."""
    if table is None:
        return []
    return [
        {"model": row["label"], "rule": row["rule"], "draws": int(row["M"]), "sigma": float(row["sigma"]),
         "attack": attack, "mean": float(row[column]), "std": float(row[f"{column}_std"])}
        for row in table.to_dict("records")
        for attack, column in (("none", "clean"), ("pgd", "pgd"), ("epgd", "epgd"))
    ]


class Explorer(anywidget.AnyWidget):
    """The explorer of a frame of evaluations (see `payload` for its columns).

    The view is in the traits: base_model (a label of the frame or of the paper), rule, attacks (a list of keys), draws (M),
    sigma (normalised units), or, along that axis, epsilon (1/255; else the one budget shown), source (its name; "" for the
    best there is). Read them, or set them to move the figure; `shown()` gives the numbers in view. Raises ValueError, in
    one line, for a bad value.
    """

    _esm = Path(__file__).with_name("explorer.js")
    _css = Path(__file__).with_name("explorer.css")

    payload = t.Dict().tag(sync=True)
    base_model = t.Unicode().tag(sync=True)
    rule = t.Unicode("prediction").tag(sync=True)
    attacks = t.List(t.Unicode()).tag(sync=True)
    draws = t.Int(1).tag(sync=True)
    sigma = t.Float(0.0).tag(sync=True)
    epsilon = t.Float(8.0).tag(sync=True)
    source = t.Unicode("").tag(sync=True)

    def __init__(self, frame, printed=None, axis="sigma", **view):
        if unknown := [name for name in view if name not in VIEW]:
            raise ValueError(f"{unknown[0]!r} is not part of the view, which has axis, {', '.join(VIEW)}")
        data = payload(frame, printed, view.get("epsilon", 8.0), axis)
        measured = [source["model"] for source in data["sources"]]
        counted = {rule for source in data["sources"] for curve in source["attacks"].values() for rule in curve["cells"]}
        opening = {
            "base_model": next((model for model in data["models"] if model in measured), data["models"][0]),
            "rule": next((rule["key"] for rule in data["rules"] if rule["key"] in counted), "prediction"),
            "attacks": [attack["key"] for attack in data["attacks"] if not attack["extra"]],
        }
        super().__init__(payload=data, **(opening | view))
        names = [one["name"] for one in data["sources"] if one["model"] == self.base_model]
        if self.source and self.source not in names:
            raise ValueError(f"source = {self.source!r} is not allowed; there are: {'; '.join(names) or 'none'}")
        if not self.source and {"rule", "attacks"} & set(view):  # the first source that has what was asked for
            having = [one for one in data["sources"] if one["model"] == self.base_model
                      and any(self.rule in one["attacks"].get(key, {"cells": ()})["cells"] for key in self.attacks)]
            if having and self._source() not in having:
                self.source = having[0]["name"]
        source = self._source()
        if source and "draws" not in view:
            cells = [cell for curve in source["attacks"].values() for rows in curve["cells"].values() for cell in rows]
            points = [sum(cell[m] is not None for cell in cells) for m in range(len(source["draws"]))]
            self.draws = max(zip(points, source["draws"]))[1]  # the largest M of a whole curve
        if source and axis not in view:
            xs = sorted({x for curve in source["attacks"].values() for x in curve["x"]})
            setattr(self, axis, xs[len(xs) // 2])

    @t.validate("base_model", "rule", "attacks", "draws", "sigma", "epsilon")
    def _valid(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        allowed = {
            "base_model": self.payload["models"],
            "rule": [rule["key"] for rule in self.payload["rules"]],
            "attacks": [attack["key"] for attack in self.payload["attacks"]],
        }
        if name in allowed:
            for item in [value] if isinstance(value, str) else value:
                if item not in allowed[name]:
                    options = ", ".join(allowed[name])
                    raise ValueError(f"{name} = {item!r} is not allowed: give one of {options}")
        elif name == "draws" and value < 1:
            raise ValueError(f"draws = {value!r} is not allowed: give M, 1 or more")
        elif name in AXES and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} = {value!r} is not allowed: give a finite number, 0 or more")
        return value

    def _source(self):
        """The source in view, or None where the base model is not yet measured."""
        sources = [source for source in self.payload["sources"] if source["model"] == self.base_model]
        named = [source for source in sources if source["name"] == self.source]
        return next(iter(named + sources), None)

    def _rule(self):
        """The name of the rule in view."""
        return next(rule["name"] for rule in self.payload["rules"] if rule["key"] == self.rule)

    def shown(self):
        """The numbers in view, a frame; its M is the measured one nearest to draws."""
        source, rows = self._source(), []
        if source:
            n, tier, draws = source["n"], source["tier"], source["draws"]
            m = min(range(len(draws)), key=lambda i: abs(math.log2(draws[i] / self.draws)))
            for key in self.attacks:
                curve = source["attacks"].get(key, {"x": [], "id": [], "cells": {}})
                for x, id, cells in zip(curve["x"], curve["id"], curve["cells"].get(self.rule, [])):
                    if cells[m]:
                        correct, low, high = cells[m]
                        rows.append((x, key, draws[m], correct / n, low, high, correct, n, tier, id))
        columns = [self.payload["axis"], "attack", "M", "accuracy", "low", "high", "correct", "n", "tier", "id"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self):
        """The opening view in words and numbers: what a page without scripts, and a diff, can show."""
        source, shown = self._source(), self.shown()
        axis = self.payload["axis"]
        symbol = AXES[axis][0]
        title = f"{symbol}/M explorer: {self.base_model}, {self._rule()}"
        if shown.empty:
            return f"{title}: not yet measured"
        names = {attack["key"]: attack["name"] for attack in self.payload["attacks"]}
        digits = 1 if source["n"] < 10_000 else 2  # to about one image, as in explorer.js
        cells = ["{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(100 * p.accuracy, 100 * p.low, 100 * p.high, d=digits)
                 for p in shown.itertuples()]
        wide = shown.assign(cell=cells).pivot(index=axis, columns="attack", values="cell").fillna("–")
        wide = wide[[key for key in self.attacks if key in wide]].rename(columns=names)
        wide.index = [f"{x:.2f}" if axis == "sigma" else f"{x:g}/255" for x in wide.index]
        return (f"{title}, M = {shown.M[0]}\n{source['name']}\n"
                f"correct, % of images [95 % interval], at each {symbol}\n"
                + wide.rename_axis(columns=None).to_string())

    def picture(self):
        """The opening view as PNG bytes, for where no script runs."""
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.set(xlabel=AXES[self.payload["axis"]], ylabel="correct, % of images")
        source, shown, axis = self._source(), self.shown(), self.payload["axis"]
        for attack in self.payload["attacks"]:
            colour = COLOURS[attack["kind"]]
            points = shown[shown.attack == attack["key"]]
            if len(points):
                style = "o:" if "-sum" in attack["key"] else "o--" if attack["extra"] else "o-"
                axes.plot(points[axis], 100 * points.accuracy, style, color=colour, ms=3,
                          label=attack["name"])
                axes.fill_between(points[axis], 100 * points.low, 100 * points.high, color=colour, alpha=0.15,
                                  lw=0)
            printed = [p for p in self.payload["printed"] if attack["key"] in self.attacks and
                       (p["model"], p["rule"], p["attack"]) == (self.base_model, self.rule, attack["key"])]
            axes.plot([p["sigma"] for p in printed], [p["mean"] for p in printed], "D", mfc="white",
                      color=colour)
        if len(shown):
            axes.legend(frameon=False)
        said = f"M = {shown.M[0]}; {source['name']}" if len(shown) else "not yet measured"
        title = f"{self.base_model}, {self._rule()}{'; diamonds: printed by the paper' * (axis == 'sigma')}\n{said}"
        axes.set_title(title, fontsize=8, loc="left")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        return png_of(figure)

    def _repr_mimebundle_(self, **_):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {
            "text/plain": repr(self),
            "image/png": base64.b64encode(self.picture()).decode(),
            "application/vnd.jupyter.widget-view+json": view,
        }


def explore(records=RESULTS, **view):
    """The explorer of the records of white-box attacks in a folder (data/results by default), beside the paper's Table 3.

    Of the book's own records it has the paper's attacks with its settings, and σ as far as the paper's; of another folder's all. view:
    axis (one of AXES), and the traits of `Explorer`.
    """
    frame = report.evaluations(records)
    if Path(records).resolve() == SHIPPED:  # the records of many experiments, not all of which belong on one picture
        frame = report.with_own(frame[frame["sigma"] <= report.SIGMA_MAX])
    frame = report.widened(frame[frame["source"].isna()])
    trained = frame["method"].replace("plain", "normal")  # two networks may share a label, but not a line
    told = (frame["label"] == "plain") | (frame["method"] == "plain")
    frame = frame.assign(label=frame["label"].mask(told, frame["label"] + ", " + trained + " training"))
    return Explorer(frame, pd.read_csv(PAPER / "table3.csv"), **view)
