"""Where our numbers differ from the paper's: experiments that change one thing, read from the records.

Each function returns what a page shows, and says "not yet measured" where the records do not hold the experiment.
"""

import json
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pandas as pd

from siam import bits, export, runs
from siam.pages import tables
from siam.pages.figures import MANY
from siam.pages.style import Table, unfilled
from siam.paired import less, of_differences, of_images, over_batches
from siam.paths import CHECKPOINTS, RESULTS
from siam.report import (ATTACKS, BASES, KIND, NOT_YET, SAMPLES, as_in_paper, by_network, cells, cells_of, chosen, evaluations, find,
                         interval, made_on, measured_on, most_votes, of_eight, one_pass, select, signed, sources, suite, suites, trainings,
                         usual, warning)

NAMES = {"rank": "r", "epochs": "Epochs"}
UNITS = {0.24: "σ = 0.24 in normalised units", 0.97: "σ = 0.24 of the pixel range, 0.97 normalised"}
PRINTED = {"none": "Clean", "pgd": "PGD"}  # the attacks of the paper's Table 1
START, LEARNS, SHORTENED = "Noise starts at", "It learns at", "Gradient at most"
INPUTS = (27, *[144] * 7, 16, *[288] * 6, 32, *[576] * 5)  # of a unit of each convolution of ResNet-20


def varied(name, folder=RESULTS):
    """CPNI-W after trainings that differ in one thing alone, "rank" or "epochs": a Table, one noisy pass, σ = 0.

    Of several such families of trainings the one with the most members at one tier is shown. Raises ValueError for another name.
    """
    if name not in NAMES:
        raise ValueError(f"name = {name!r} is not allowed: give one of {', '.join(NAMES)}")
    found = family(name, folder)
    caption = f"CPNI-W by {'the rank of its noise' if name == 'rank' else 'epochs of training'}, one noisy pass, σ = 0."
    columns = ["Rows", NAMES[name], *ATTACKS.values(), "Tier", "n", "Runs", "Records"]
    if found is None:
        return unfilled(caption, columns)
    if name == "rank":
        caption += f" Trained for {json.loads(found['recipe'].iloc[0])['schedule']['epochs']} epochs."
    lines, under = [], {attack: text for attack, text in ATTACKS.items() if attack in set(found["attack"])}
    for value, of in found.groupby("value"):
        shown = {text: select(of, attack=attack) for attack, text in under.items()}
        shown = {text: NOT_YET if cell.empty else interval(cell.iloc[0]) for text, cell in shown.items()}
        counts = dict.fromkeys(tables.counted(cell) for _, cell in of.sort_values("runs", ascending=False).iterrows())
        lines.append({"Rows": "all else equal", NAMES[name]: f"{value:g}", **shown, "Runs": " and ".join(counts),
                      **sources(list(of.itertuples()))})
    lacking = [text for attack, text in ATTACKS.items() if attack not in under]
    caption += f" {NOT_YET.capitalize()}: {' and '.join(lacking)}." if lacking else ""
    caption += f" {made_on(found)}. Runs: how many (seeds of training/evaluation).{warning(found['tier'])}"
    return Table(pd.DataFrame(lines, columns=[name for name in columns if name not in lacking]), caption, 1)


def family(name, folder=RESULTS):
    """The cells of CPNI-W after trainings that differ in one thing alone, and its `value`; None where no two do."""
    frame = as_in_paper(evaluations(folder))
    frame = select(frame, variant="CPNI-W", method="adversarial", rule="prediction", M=1, sigma=0)
    frame = frame[frame["attack"].isin(ATTACKS) & (frame["split"] == "test")]
    recipes = [json.loads(recipe) for recipe in frame["recipe"]]
    values = [(recipe if name == "rank" else recipe["schedule"]).pop(name) for recipe in recipes]
    family = [json.dumps(recipe, sort_keys=True) for recipe in recipes]  # all else
    frame = frame.assign(value=values, family=family, order=frame["tier"].map(runs.TIERS.index))
    sizes = frame.groupby(["order", "family"])["value"].nunique().reset_index(name="size").sort_values(["size", "order"])
    if sizes.empty or sizes["size"].iloc[-1] < 2:
        return None
    frame = frame.merge(sizes.tail(1)[["order", "family"]])
    value_of = frame.drop_duplicates("recipe").set_index("recipe")["value"]
    found = cells(of_eight(frame))
    return found.assign(value=found["recipe"].map(value_of))


def lengths(folder=RESULTS):
    """How near longer training comes to the paper: a Table of the trainings of PNI-W and CPNI-W, one noisy pass, σ = 0."""
    trained_on, lines, used = {"either": "clean or attacked", "both": "clean and attacked"}, [], []
    for label, each in by_length(folder).items():
        for plan, of in each:
            used += of.values()
            lines.append({"Rows": label, "Epochs": plan["epochs"], "Steps of its PGD": str(plan.get("steps", "")),
                          "Images are": trained_on.get(plan.get("mix"), ""),
                          START: f"{plan['noise_start']:g}" if "noise_start" in plan else "",
                          LEARNS: f"{plan['noise_lr']:g}" if "noise_lr" in plan else "",
                          SHORTENED: f"{plan['clip']:g}" if "clip" in plan else "",
                          **{text: interval(of[attack]) if attack in of else NOT_YET for attack, text in PRINTED.items()},
                          **sources(of.values())})
        lines.append({"Rows": label, "Epochs": 400, "Steps of its PGD": "7", "Images are": trained_on["both"], START: "1", LEARNS: "1",
                      SHORTENED: "0.05", **{text: f"{printed(label)[attack]:.1f}" for attack, text in PRINTED.items()},
                      **sources([]), "Tier": "printed by the paper"})
    caption = (f"PNI-W and CPNI-W by training, one noisy pass, σ = 0, beside what the paper prints. {START}: 1 is the authors' own start;"
               f" other values are multiples of its strength, with random signs in F. {LEARNS}: the noise's learning rate as a multiple of"
               f" the weights'. {SHORTENED}: the norm to which the gradient of an update is clipped, where it is.")
    caption += f" {made_on(pd.DataFrame(used))}.{warning(cell.tier for cell in used)}" if used else f" {NOT_YET.capitalize()} by us."
    return Table(pd.DataFrame(lines).astype({"Epochs": str}), caption, 1)


def by_length(folder=RESULTS):
    """{PNI-W and CPNI-W: [(schedule, {attack: cell}) of each training, the shortest first, then the worse tier]}, one noisy pass,
    σ = 0."""
    frame = select(as_in_paper(evaluations(folder)), rule="prediction", M=1, sigma=0, split="test", method="adversarial")
    found, each = cells(of_eight(frame)), {}
    for label in ("PNI-W", "CPNI-W"):
        ours = [(json.loads(recipe)["schedule"], {cell["attack"]: cell for _, cell in of.iterrows() if cell["attack"] in PRINTED})
                for recipe, of in select(found, label=label).groupby("recipe")]
        each[label] = sorted(ours, key=lambda training: (training[0]["epochs"], runs.TIERS.index(training[0]["tier"])))
    return each


def starts(folder=RESULTS):
    """What the strength is worth that noise starts at: [(epochs, {what: {attack: Difference}})], the shortest training first, of PNI-W
    trained alike but for that, of CPNI-W trained like the weaker of the two but for that, of what each CPNI-W has more than each, and of
    CPNI-W whose noise learns as fast as the weights."""
    each, found = by_length(folder), []
    for (plan, weak), (more, strong) in permutations(each["PNI-W"], 2):
        if differs("noise_start", plan, more):
            whites = {_starting("PNI-W", of): cells for of, cells in ((plan, weak), (more, strong))}
            alike = [(of, cells) for of, cells in each["CPNI-W"] if of == plan or differs("noise_start", plan, of)]
            coloured = {_starting("CPNI-W", of): cells for of, cells in sorted(alike, key=lambda one: one[0]["noise_start"])}
            pairs = [pair[::-1] for of in (whites, coloured) for pair in combinations(of, 2)] + list(product(coloured, whites))
            learns = {f"{_starting('CPNI-W', of)} and learns as fast as the weights": cells for of, cells in each["CPNI-W"]
                      if differs("noise_lr", plan, of) and of["noise_lr"] == 1}
            pairs += product(learns, [name for name in coloured if name == _starting("CPNI-W", plan)])
            sides = {f"{one} less {other}": [(whites | coloured | learns)[name] for name in (one, other)] for one, other in pairs}
            gains = {text: {attack: less(one.get(attack), other.get(attack)) for attack in PRINTED} for text, (one, other) in sides.items()}
            gains = {text: {attack: gain for attack, gain in of.items() if gain is not None} for text, of in gains.items()}
            found.append((plan["epochs"], {text: of for text, of in gains.items() if of}))
    return found


def strengths(folder=RESULTS):
    """The same as a Table."""
    found = [(epochs, text, each) for epochs, sides in starts(folder) for text, each in sides.items()]
    caption = "What changes where noise starts at another strength, or learns faster"
    if not found:
        return unfilled(f"{caption}.")
    lines = [{"Rows": f"{epochs} epochs", "Difference": text, **{name: str(each.get(attack, NOT_YET)) for attack, name in PRINTED.items()},
              **sources(each.values())} for epochs, text, each in found]
    return Table(pd.DataFrame(lines), f"{caption}, in points{of_differences([one for *_, each in found for one in each.values()])}", 1)


def _starting(label, plan):
    equal = ", all of F equal" if label == "CPNI-W" and plan["noise_start"] == 1 else ""  # see `siam.noise.soften`
    return f"{label} that starts at {plan['noise_start']:g}{equal}"


def noises(folder=RESULTS, checkpoints=CHECKPOINTS):
    """How strong the noise of the convolutions was where a training began and where it ended: a Table. Of trainings whose record says
    so (`siam.export.noise`), and of those whose network ships."""
    there = {runs.digest(path): path for path in Path(checkpoints).glob("*.safetensors")}
    lines = []
    for _, run in trainings(folder).drop_duplicates("digest").iterrows():
        ended = run["noise"]
        if not isinstance(ended, list) and run["digest"] in there and not run["variant"].endswith("A-a"):
            ended = export.noise(export.checkpoint(there[run["digest"]])[0])
        if isinstance(ended, list) and ended and {"noise_start", "noise_lr"} <= set(run["schedule"]):
            plan, (strengths, shared) = run["schedule"], np.transpose(ended)
            began = "–" if pd.notna(run["start"]) else f"{_at_start(run['variant'], run['rank'], plan['noise_start']):.2f}"
            lines.append({"Rows": f"trained at tier {run['tier']}, {plan['epochs']} epochs",
                          "Network": f"{run['label']}, seed {run['seed']}", "Began at": began,
                          "Learnt at": f"{plan['noise_lr']:g}", "Ended at": _spread(strengths, 2),
                          "Of it low-rank, %": _spread(100 * shared, 0), "Records": (f"training/{run['training_id']}.json",),
                          "order": (-runs.TIERS.index(run["tier"]), -plan["epochs"])})
    caption = ("The noise of the weights as a multiple of their std, its learning rate as a multiple of the weights', and how much of its"
               " variance the low-rank part F has: the median over the convolutions, in brackets the smallest and the largest")
    if not lines:
        return unfilled(f"{caption}.")
    return Table(pd.DataFrame(lines).sort_values(["order", "Network"]).drop(columns="order"), f"{caption}.", 2)


def _spread(values, digits):
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _at_start(variant, rank, factor):
    """The median strength, as in `noises`, that the noise of the convolutions starts at: that of `siam.noise`, times a factor, of
    weights drawn with a variance of 2 / inputs."""
    stds = np.sqrt(2 / np.array(INPUTS))
    white = runs.ALPHA * (stds if variant == "PNI-W" else np.sqrt(stds))
    return factor * np.median(np.sqrt(white**2 + (0 if variant == "PNI-W" else rank * runs.F_INIT**2)) / stds)


def differs(name, plan, other):
    """Whether a schedule has less of `name` than another that is equal in all else but the name of its tier."""
    same = [{key: value for key, value in of.items() if key not in (name, "tier")} for of in (plan, other)]
    return same[0] == same[1] and name in plan and plan[name] < other[name]


def printed(label):
    """{attack: the paper's accuracy of one pass}, of its Table 1."""
    row = tables.paper(1).dropna(subset="label").set_index("label").loc[label]
    return {attack: row[column] for column, attack in tables.TABLES[1][2].items()}


def gains(folder=RESULTS):
    """What smoothing adds to one pass of CPNI-W without input noise, by the tier it was trained at, beside the paper's: a Table."""
    frame, first = evaluations(folder), tables.paper(1).set_index("method").loc["CPNI-W"]
    voted = select(tables.paper(3), label="CPNI-W").set_index("sigma")
    lines, used = [], []
    for tier in [tier for tier in reversed(runs.TIERS) if tier in set(frame["trained"])]:
        ours, _ = cells_of(usual(frame[frame["trained"] == tier]))
        for sigma in (0, 0.24):
            found = gained(ours, MANY, sigma)
            measured = [difference for difference in found.values() if difference is not None]
            if measured:
                shown = {ATTACKS[attack]: NOT_YET if found[attack] is None else str(found[attack]) for attack in ATTACKS}
                lines.append({"Rows": f"trained at tier {tier}", "σ": f"{sigma:g}", "M": f"{MANY}", **shown, **sources(measured)})
                used += measured
    for sigma in (0, 0.24):
        theirs = {ATTACKS[attack]: signed(voted.loc[sigma, column] - first[column], 1) if column in first else "–"
                  for column, attack in tables.TABLES[3][2].items()}
        lines.append({"Rows": "printed by the paper", "σ": f"{sigma:g}", "M": f"{voted.loc[sigma, 'M']}", **theirs, **sources([])})
    return Table(pd.DataFrame(lines), f"What smoothing adds to one pass of CPNI-W, in points{of_differences(used)}", 2)


def gained(ours, M, sigma):
    """{attack: what M votes at σ have more than one pass of CPNI-W without input noise, a Difference or None}."""
    one = {"label": "CPNI-W", "rule": "prediction", "M": 1, "sigma": 0}
    return {attack: less(*(find(ours, row, attack) for row in (one | {"M": M, "sigma": sigma}, one))) for attack in ATTACKS}


def repeated(folder=RESULTS):
    """What a vote adds to one noisy pass, over networks of several trainings: a Table, prediction smoothing, the most votes at each σ.

    Each training is one value, so that the ± allows for another training; kinds of fewer than three trainings are left out. A
    vote with input noise is held against one pass without it and against one pass with it.
    """
    each, lines, used = by_network(evaluations(folder)), [], []
    for (*of, sigma, M), votes in most_votes(each).groupby([*KIND, "sigma", "M"]):
        kind = dict(zip(KIND, of))
        for name, at in {"without input noise": 0, **({"with the same input noise": sigma} if sigma else {})}.items():
            one = select(each, **kind, sigma=at, M=1)
            both = votes.merge(one, on=["attack", "digest"], suffixes=("", "_one"))
            gains = {attack: 100 * (row["accuracy"] - row["accuracy_one"]) for attack, row in both.groupby("attack") if len(row) >= 3}
            if gains:
                shown = {text: str(over_batches(gains[attack])) if attack in gains else NOT_YET for attack, text in ATTACKS.items()}
                both = both[both["attack"].isin(gains)].assign(ids=both["ids"] + both["ids_one"])
                lines.append({"Rows": f"less one pass {name}", "Network": kind["label"], "σ": f"{sigma:g}", "M": f"{M}", **shown,
                              "Trainings": _counts(gains), **sources(list(both.itertuples()))})
                used.append(kind["tier"])
    caption = "What a vote adds, in points, over networks trained with different seeds, on the same images"
    if not lines:
        return unfilled(f"{caption}.")
    lines = pd.DataFrame(lines).sort_values("Rows", ascending=False, kind="stable")
    return Table(lines, f"{caption} (± half a 95 % interval over these).{warning(used)}", 1)


def _counts(each):
    """How many values {attack: values} has of each: a number, or the least and the most."""
    sizes = sorted(set(map(len, each.values())))
    return "–".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))


def tuned(folder=RESULTS):
    """What fine-tuning adds to one noisy pass of the network that it starts from, over several starts: a Table.

    Each start is one value, so that the ± allows for another training; kinds of fewer than three starts are left out.
    """
    lines, used = [], []
    for _, of in one_pass(evaluations(folder))[1].groupby(KIND):
        each = {attack: select(of, attack=attack).groupby("root")["accuracy"].mean() for attack in PRINTED}
        if min(map(len, each.values())) >= 3:
            lines.append({"Rows": "less the network it started from", "Network": of["label"].iloc[0],
                          **{text: str(over_batches(each[attack])) for attack, text in PRINTED.items()},
                          "Starts": _counts(each),
                          "Epochs": str(json.loads(of["recipe"].iloc[0])["schedule"]["epochs"]), **sources(list(of.itertuples()))})
            used += list(of["tier"])
    caption = ("What fine-tuning adds to one noisy pass, σ = 0, in points, over networks trained and fine-tuned with different seeds, on"
               " the same images")
    if not lines:
        return unfilled(f"{caption}.")
    return Table(pd.DataFrame(lines), f"{caption} (± half a 95 % interval over these).{warning(used)}", 1)


def selection(folder=RESULTS):
    """What choosing σ and M on the test images adds to PGD accuracy, prediction smoothing: a Table.

    The best of all our cells on the test images, less the cell that held-out training images choose.
    """
    lines, found = [], []
    for label, honest, best in selected(folder):
        gain = signed(less(best, honest).points, 1)
        for images, cell, more in (("held-out images", honest, ""), ("test images", best, gain)):
            lines.append(["PGD accuracy on test images", label, images, f"{cell['sigma']:g}", f"{cell['M']}", interval(cell),
                          more, *sources([cell]).values()])
            found.append(cell)
    columns = ["Rows", "Base model", "σ, M chosen on", "σ", "M", "PGD, %", "Gain, points", "Tier", "n", "Records"]
    lines = lines or [["", "", "", "", "", NOT_YET, "", "", "", ()]]
    caption = "What choosing σ and M on the test images adds, accuracy in percent (95 % interval)."
    return Table(pd.DataFrame(lines, columns=columns), caption + warning(cell.tier for cell in found), 1)


def selected(folder=RESULTS):
    """[(base model, the cell under PGD that held-out images choose, the one that test images do, of the same grid)]."""
    ours, heldout = cells_of(suite(folder))
    found = []
    for label in BASES:
        honest = find(ours, chosen(heldout, label, "prediction"), "pgd")
        if honest is not None:
            grid = select(heldout, label=label, rule="prediction", attack="pgd")[["M", "sigma"]]
            there = select(ours, label=label, rule="prediction", attack="pgd", epsilon=8, n=honest["n"], tier=honest["tier"])
            there = there.merge(grid)
            found.append((label, honest, there.loc[there["accuracy"].idxmax()]))
    return found


def twins(folder=RESULTS):
    """Evaluations asked for in fp32 and in bf16, all else equal, prediction smoothing: a Table.

    The two share their random numbers, so the difference is rounding, and what it tips over.
    """
    columns = ["Rows", "Network", "Attack", "σ", "M", "fp32, %", "bf16, %", "Tier", "n", "Records"]
    lines = [["the same random numbers", pair.label_x, ATTACKS.get(pair.attack, pair.attack), f"{pair.sigma:g}", f"{pair.M_x}",
              f"{100 * pair.accuracy_x:.1f}", f"{100 * pair.accuracy_y:.1f}", pair.tier_x, f"{pair.n_x:,}", (pair.id_x, pair.id_y)]
             for pair in pairs(folder)]
    lines = lines or [["the same random numbers", "", "", "", "", NOT_YET, NOT_YET, "", "", ()]]
    return Table(pd.DataFrame(lines, columns=columns), "What rounding changes, accuracy in fp32 and bf16.", 1)


def pairs(folder=RESULTS):
    """The evaluations in fp32 (…_x) and in bf16 (…_y) that differ in nothing else, prediction smoothing, all votes."""
    frame = select(evaluations(folder), rule="prediction")
    frame = frame[(frame["M"] == frame["draws"]) & (frame["split"] == "test")]
    same = [name for name in runs.EvaluationRun.__dataclass_fields__ if name != "precision"]
    found = frame[frame["precision"] == "fp32"].merge(frame[frame["precision"] == "bf16"], on=same)
    order = [*ATTACKS, *sorted(set(found["attack"]) - set(ATTACKS))]
    return sorted(found.itertuples(), key=lambda pair: (pair.label_x, order.index(pair.attack)))


def summed(folder=RESULTS):
    """What attacks leave that step along the sum of all gradients so far, as the authors' published code has it, beside the paper's: a
    Table, prediction smoothing, one pass and the most votes at each σ."""
    lines, used = [], []
    for (label, recipe, sigma, M), of in in_sums(folder).items():
        for attack, (alone, together) in of.items():
            change = less(together, alone)
            lines.append({"Rows": f"trained at tier {json.loads(recipe)['schedule']['tier']}", "Network": label, "σ": f"{sigma:g}",
                          "M": f"{M}", "Attack": ATTACKS[attack], "Each gradient alone": interval(alone), "Their sum": interval(together),
                          "Difference": str(change), **sources([alone, together])})
            used.append(change)
    caption = "PGD and EPGD along each gradient alone, and along the sum of all so far, accuracy in percent (95 % interval)"
    if not lines:
        return unfilled(f"{caption}.")
    return Table(pd.DataFrame(lines), f"{caption}; difference in points{of_differences(used)}", 3)


def in_sums(folder=RESULTS):
    """{(network, recipe, σ, M): {attack: the cells under it and under the same along the sum of its gradients}}, the best tier first: of
    each network and σ one pass and the most votes."""
    frame = evaluations(folder)
    samples = frame["attack"].str.removesuffix("-sum").map(SAMPLES)
    frame = select(frame[frame["source"].isna() & (frame["recipe"] != "") & (frame["samples"] == samples)],
                   rule="prediction", split="test", steps=7, epsilon=8, step_size=2)
    found = {}
    for _, of in sorted(cells(frame).groupby(["label", "recipe", "sigma"]), key=lambda one: _place(one[1])):
        for M in sorted({1, max(select(of, attack="pgd-sum")["M"], default=1)}):
            at = {cell["attack"]: cell for _, cell in select(of, M=M).iterrows()}
            each = {attack: (at[attack], at[f"{attack}-sum"]) for attack in ("pgd", "epgd") if {attack, f"{attack}-sum"} <= set(at)}
            each = {attack: pair for attack, pair in each.items() if len(set(map(measured_on, pair))) == 1}
            if each:
                cell = next(iter(each.values()))[0]
                name = tables.PLAIN[cell["method"]] if cell["label"] == "plain" else cell["label"]
                found[name, *(cell[key] for key in ("recipe", "sigma", "M"))] = each
    return found


def _place(of):
    """Where the cells of a network come on a page: the best tier first, then by name and σ."""
    return -runs.TIERS.index(of["tier"].iloc[0]), of["label"].iloc[0], of["sigma"].iloc[0]


def units(folder=RESULTS):
    """CPNI-W, prediction smoothing, M = 64: σ = 0.24 taken as normalised units and as pixel units, a Table.

    σ = 0.24 of the pixel range is 0.24 / 0.247 = 0.97 in normalised units.
    """
    lines, used = [], []
    for sigma, found in in_both_units(folder).items():
        shown = {name: NOT_YET if found[attack] is None else interval(found[attack]) for attack, name in ATTACKS.items()}
        measured = [cell for cell in found.values() if cell is not None]
        lines.append({"Rows": "CPNI-W, prediction smoothing, M = 64", "The noise": UNITS[sigma], **shown, **sources(measured)})
        used += measured
    caption = "The units of σ, accuracy in percent (95 % interval)."
    return Table(pd.DataFrame(lines), caption + warning(cell.tier for cell in used), 1)


def in_both_units(folder=RESULTS):
    """{σ of UNITS: {attack: cell or None}}, of the first of `suites` that met the strong noise."""
    asked = {"label": "CPNI-W", "rule": "prediction", "M": 64}
    each = [cells_of(frame)[0] for frame in suites(evaluations(folder))]
    ours = next((cells for cells in each if find(cells, asked | {"sigma": 0.97}, "none") is not None), each[0])
    return {sigma: {attack: find(ours, asked | {"sigma": sigma}, attack) for attack in ATTACKS} for sigma in UNITS}


def calibration(folder=RESULTS):
    """How often the ± of a difference misses what is known to be zero, a Markdown list: that between two evaluation seeds of one
    noisy network, one pass, all else equal."""
    frame = select(as_in_paper(evaluations(folder)), rule="prediction", M=1)
    frame = frame[frame["right"].notna() & frame["source"].isna() & (frame["split"] == "test") & (frame["batch_size"] < frame["n"])]
    # Without noise only the start of an attack differs, which no two images share: no luck of a batch that could be missed.
    frame = frame[(frame["variant"] != "plain") | (frame["sigma"] > 0)]
    same = ["digest", "attack", "sigma", "epsilon", "n", "batch_size", "precision"]
    missed, networks = {}, {}
    for (digest, attack, *_), of in frame.drop_duplicates([*same, "seed"]).groupby(same):
        right = [bits.row(packed, n) for packed, n in zip(of["right"], of["n"])]
        networks.setdefault(attack, set()).update([digest] if len(right) > 1 else [])
        for one, other in combinations(right, 2):
            found = of_images(one, other, of["batch_size"].iloc[0])
            missed.setdefault(attack, []).append(abs(found.points) > found.half)
    lines = [f"- {ATTACKS[attack]}: zero lies outside the ± in {100 * np.mean(of):.1f} % of {len(of):,} pairs of seeds"
             f" on {len(networks[attack])} network{'s' if len(networks[attack]) > 1 else ''}."
             for attack, of in sorted(missed.items(), key=lambda item: list(ATTACKS).index(item[0])) if len(of) >= 20]
    return "\n".join(lines) or f"{NOT_YET.capitalize()}."
