"""From records to cells: one number of the paper each, with its interval, tier and runs.

`siam.pages.tables` and `siam.pages.figures` put cells on a page; the functions here serve records of your own as well.

Only records are read, so every page is rebuilt in seconds. Accuracies are fractions in frames, percent on
pages; σ is in normalised units, ε in 1/255 of the pixel range.
"""

import json
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from siam import bits, runs
from siam.paths import RESULTS

BASES = ("CPNI-W", "EPGD-converged", "EPGD-diverged", "Gauss")  # section 5
TUNED = BASES[1:]  # fine-tuned from the first
SIGMA_MAX = 0.5  # the end of the paper's axis; what lies beyond belongs to experiments on the side
ATTACKS = {"none": "Clean", "pgd": "PGD", "epgd": "EPGD"}
RULES = {  # that the book compares; a reader's own are left to the explorer
    "prediction": "prediction smoothing (eq. 8)",
    "soft": "soft smoothing (eq. 9)",
    "soft-logits": "soft smoothing on logits (the authors' code)",
    "weighted": "weighted smoothing (eq. 11)",
    "second": "first and second place (eq. 12, c = 0.5)",
}
SAMPLES = {"pgd": 1, "pgd_s": 1, "epgd": 8}  # gradient draws a step of the paper's attacks
NOT_YET = "not yet measured"
ALL_KINDS = "all"  # kinds of fine-tuning together
FEW = 4  # votes: up to so many, the draws that a batch shares are felt in an accuracy
BANDS = f"95\u00a0% intervals over images, for M ≤ {FEW} over batches where that is wider"

CHOSEN = "σ and M chosen by us on held-out training images (highest PGD accuracy)"

# A cell is one number of the paper, of one recipe; SAME is what the runs averaged in it must have in common.
CELL = ["label", "method", "recipe", "rule", "M", "sigma", "attack", "epsilon"]
SAME = ["tier", "n", "keeps", "precision", "batch_size"]
KIND = ["tier", "n", "label", "recipe"]  # what networks that differ in their seed alone have in common

FLOATS = ["epsilon", "step_size", "sigma", "source_sigma", "accuracy", "low", "high"]
WHOLES = ["steps", "samples", "draws", "images", "batch_size", "seed", "n", "M", "correct"]


def _records(folder, kind):
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no folder {folder} of records")
    return [runs.read(path) for path in sorted((Path(folder) / kind).glob("*.json"))]


def _right(record):
    right = runs.right_of(record)
    return [None] * len(record["result"]) if right is None else [row.tobytes() for row in np.packbits(right, axis=1)]


def trainings(folder=RESULTS):
    """One row per trained checkpoint: training_id, the fields of its run, recipe (the run without its seed,
    as text; start is the recipe of what it fine-tunes), tier, name, label, digest, epoch, held-out counts
    heldout_n, clean, adversarial; noise (`export.noise`, or NaN); seconds, device.

    Raises ValueError for a file in folder/training that is no record.
    """
    columns = ["training_id", *runs.TrainingRun.__dataclass_fields__, "recipe", "tier", "name", "label",
               "digest", "epoch", "heldout_n", "clean", "adversarial", "noise", "seconds", "device"]
    rows, records = [], _records(folder, "training")
    asked = {kept["digest"]: record["run"] for record in records for kept in record["checkpoints"]}

    def recipe(run):
        start = recipe(asked[run["start"]]) if run["start"] in asked else run["start"]
        return {**{key: value for key, value in run.items() if key != "seed"}, "start": start}

    for record in records:
        shared = {**record["run"], "recipe": json.dumps(recipe(record["run"]), sort_keys=True),
                  "training_id": record["id"], "tier": record["tier"], "seconds": record.get("seconds"),
                  "device": record.get("device", "")}
        for checkpoint in record["checkpoints"]:
            heldout = checkpoint.get("heldout", {})
            rows.append({**shared, **checkpoint, **heldout, "heldout_n": heldout.get("n")})
    return pd.DataFrame(rows, columns=columns)


def evaluations(folder=RESULTS):
    """One row per evaluation, voting rule and M: the fields of its run; id, tier, n, device, commit; rule, M,
    correct, accuracy, low, high; right, which images were, eight a byte (None in a record of counts alone); of its training
    label, variant, method, training_id, training_seed, recipe, epochs, heldout_pgd (the accuracy of the epoch kept), start (the digest
    of what it was fine-tuned from, or None), root (that, or its own) and, as `trained`, its tier; source_label, that of the network a
    transferred attack was made on; luck (`luck`, of the nearest tier that has any, or None) and tuning (of fine-tuning to that label).

    The attack of those is "transferred pgd", "transferred pgd_s" (PGD on a source with input noise), ….
    Raises ValueError for a file in folder/evaluation or folder/training that is no record.
    """
    files = [path for kind in ("evaluation", "training") for path in sorted((Path(folder) / kind).glob("*.json"))]
    return _evaluations(Path(folder), tuple((path, path.stat().st_mtime_ns) for path in files)).copy()


@lru_cache(maxsize=1)  # every table of a page asks, and there are hundreds of files
def _evaluations(folder, state):
    about = ["id", "tier", "n", "device", "commit"]
    counts = ["rule", "M", "correct", "accuracy", "low", "high", "right"]
    rows = [{**record["run"], **{key: record.get(key) for key in about}, **line, "right": right}
            for record in _records(folder, "evaluation") for line, right in zip(record["result"], _right(record))]
    frame = pd.DataFrame(rows, columns=[*runs.EvaluationRun.__dataclass_fields__, *about, *counts])
    frame = frame.astype({**dict.fromkeys(FLOATS, float), **dict.fromkeys(WHOLES, int)})  # when empty as well
    smoothed = (frame["attack"] == "pgd") & (frame["source_sigma"] > 0)
    named = "transferred " + frame["attack"].mask(smoothed, "pgd_s")
    frame["attack"] = frame["attack"].where(frame["source"].isna(), named)
    trained = trainings(folder).rename(columns={"seed": "training_seed", "tier": "trained"}).drop_duplicates("digest")
    trained = trained.assign(epochs=[plan["epochs"] for plan in trained["schedule"]],
                             heldout_pgd=(trained["adversarial"] / trained["heldout_n"]).astype(float))
    trained = trained[["digest", "label", "variant", "method", "training_id", "training_seed", "recipe", "trained", "start", "epochs",
                       "heldout_pgd"]]
    frame = frame.merge(trained, on="digest", how="left").astype({"training_seed": float})
    frame["source_label"] = frame["source"].map(dict(zip(trained["digest"], trained["label"])))
    frame["label"] = frame["label"].fillna(frame["checkpoint"])  # a reader's own network has no record
    frame = frame.fillna({"variant": "unknown", "method": "unknown", "training_id": "", "recipe": "", "trained": ""})
    frame = frame.assign(root=frame["start"].fillna(frame["digest"]))  # the network it was fine-tuned from, or itself
    lucks = luck(frame)
    each = list(zip(frame["tier"], frame["attack"], frame["M"] > 1))
    for name, of in (("luck", [""] * len(frame)), ("tuning", frame["label"])):
        asked = [(*which, label) for which, label in zip(each, of)]
        nearest = {which: nearest_luck(lucks, *which) for which in set(asked)}
        frame[name] = [nearest[which] for which in asked]
    return frame


def cells(frame):
    """One row per cell: of its evaluations those of the best tier, then of most images, then those that say which images
    were right, then of the precision most of its network's have, averaged over runs. Of several trainings only those seeds
    of the evaluation count that all of them have, so that each weighs the same.

    frame: rows of `evaluations`. Columns: CELL, tier, n, precision, batch_size, accuracy (mean), std (over runs, NaN for one),
    runs, low, high, luck, tuning; ids, seeds, accuracies, right, networks (the digest) and roots, of each run. Runs share their
    images, so the interval is the mean of theirs: more runs do not narrow it. With FEW votes it is as wide as that over batches.
    """
    seeds = ["?" if pd.isna(trained) else f"{trained:g}" for trained in frame["training_seed"]]
    seeds = [f"{trained}/{seed}" for trained, seed in zip(seeds, frame["seed"])]
    alike = frame.groupby(["label", "method", "recipe", "precision"])["id"].transform("nunique")
    frame = frame.assign(order=frame["tier"].map(runs.TIERS.index), keeps=frame["right"].notna(), alike=alike, seeds=seeds)
    frame = frame.sort_values(["order", "n", "keeps", "alike", "precision", "draws", "batch_size", "id"],
                              ascending=[False, False, False, False, False, False, True, True])
    groups = frame.groupby(CELL, sort=False)
    keep = np.ones(len(frame), bool)
    for column in SAME:
        keep &= (frame[column] == groups[column].transform("first")).to_numpy(bool)
    frame = frame[keep].drop_duplicates([*CELL, "digest", "source", "seed"])
    networks = frame.groupby(CELL)["digest"].transform("nunique")
    frame = frame.assign(shared=frame.groupby([*CELL, "seed"])["digest"].transform("nunique") == networks)
    frame = frame[frame["shared"] | ~frame.groupby(CELL)["shared"].transform("any")].sort_values("seeds", kind="stable")
    groups = frame.groupby(CELL)
    found = groups.agg(
        tier=("tier", "first"), n=("n", "first"), precision=("precision", "first"), batch_size=("batch_size", "first"),
        accuracy=("accuracy", "mean"), std=("accuracy", "std"), runs=("id", "size"), low=("low", "mean"), high=("high", "mean"),
        luck=("luck", "first"), tuning=("tuning", "first"),
    ).reset_index()
    frame, ends = frame.iloc[groups.ngroup().argsort(kind="stable")], found["runs"].cumsum()  # cell by cell

    def each(column):
        values = frame[column].tolist()
        return [tuple(values[end - size : end]) for size, end in zip(found["runs"], ends)]

    found = found.assign(ids=each("id"), seeds=each("seeds"), accuracies=each("accuracy"),
                         right=each("right"), networks=each("digest"), roots=each("root"))
    found = found.assign(**{name: [one if isinstance(one, tuple) else None for one in found[name]] for name in ("luck", "tuning")})
    return widened(found)


def widened(frame):
    """`cells`, or rows of `evaluations`, with low and high as far apart as `runs.with_draws` has them, where FEW vote.

    Not of a network without any noise: its images share nothing.
    """
    ends, drawn = frame[["low", "high"]].to_numpy(float, copy=True), (frame["label"] != "plain") | (frame["sigma"] > 0)
    columns = zip(drawn & (frame["M"] <= FEW), frame["n"], frame["batch_size"], frame["right"])
    for i, (few, n, batch, right) in enumerate(columns):
        right = right if isinstance(right, tuple) else (right,)
        if few and None not in right:
            ends[i] = runs.with_draws(ends[i], np.mean([bits.row(packed, n) for packed in right], 0), batch)
    return frame.assign(low=ends[:, 0], high=ends[:, 1])


def luck(frame):
    """What another training seed changes: {(tier, "none" or "pgd", voted, tuned): (variance in points² over trainings, degrees of
    freedom)}, from all networks of `one_pass`, and voted: of `votes`, of three or more trainings.

    tuned: "" for the accuracy of a network trained from scratch, or the label of a fine-tuned one, for what that adds to its start;
    ALL_KINDS for that of all labels together.
    """
    found = {}
    for voted, (scratch, tuned) in ((False, one_pass(frame)), (True, votes(frame))):
        networks = pd.concat([scratch.assign(tuned=""), tuned.assign(tuned=tuned["label"])])
        spread = networks.groupby(["tuned", *KIND, "attack", "sigma"])["accuracy"].agg(["var", "size"])
        # The σ of one network are no further trainings.
        spread = spread[spread["size"] >= 3].groupby(["tuned", *KIND, "attack"]).agg({"var": "mean", "size": "min"}).reset_index()
        for (tier, attack, of), each in spread.groupby(["tier", "attack", "tuned"]):
            found[tier, attack, voted, of] = _pooled(each["var"], each["size"] - 1)
        for (tier, attack), each in spread[spread["tuned"] != ""].groupby(["tier", "attack"]):
            # Two epochs of one training say no more of luck than one does.
            each = each.groupby(["n", "recipe"]).agg(var=("var", "mean"), freedom=("size", lambda of: of.iloc[0] - 1))
            found[tier, attack, voted, ALL_KINDS] = _pooled(each["var"], each["freedom"])
    return found


def _pooled(variances, freedoms):
    """The mean of variances by their degrees of freedom, and its own: as kinds of network may differ in their luck, those of Welch and
    Satterthwaite."""
    parts = variances * freedoms / freedoms.sum()
    spreads = (parts**2 / freedoms).sum()
    return parts.sum(), parts.sum() ** 2 / spreads if spreads else freedoms.sum()


def one_pass(frame):
    """Of evaluations two frames, a row for each network, attack (none or PGD) and tier: one noisy pass at σ = 0 on test images, of each
    network on the most that there are. First the accuracy of those trained from scratch, in percent; then what the fine-tuned have
    more than the network that they started from, in points, where both were tested on as many images."""
    return _against_their_start(by_network(select(frame, M=1, sigma=0)))


def votes(frame):
    """As `one_pass`, the most votes at each σ; a fine-tuned network's at the nearest σ that its start was asked at."""
    return _against_their_start(most_votes(by_network(frame)))


def _against_their_start(each):
    alike = ["tier", "attack", "n", "root"]
    each = each[each["attack"].isin(["none", "pgd"]) & (each["n"] == each.groupby(["tier", "attack", "digest"])["n"].transform("max"))]
    each = each.assign(accuracy=100 * each["accuracy"])
    scratch = each[each["root"] == each["digest"]]
    tuned = each[each["root"] != each["digest"]].merge(scratch[[*alike, "sigma", "accuracy", "ids"]], on=alike, suffixes=("", "_root"))
    tuned = tuned.assign(apart=(tuned["sigma"] - tuned.pop("sigma_root")).abs()).sort_values("apart", kind="stable")
    tuned = tuned.drop_duplicates(["tier", "attack", "n", "digest", "sigma"]).drop(columns="apart").sort_index()
    tuned["accuracy"] -= tuned.pop("accuracy_root")
    return scratch, tuned.assign(ids=tuned["ids"] + tuned.pop("ids_root"))


def by_network(frame):
    """Of evaluations a row for each network, tier, n, σ, M and attack of ATTACKS: its accuracy by prediction smoothing on test images, the
    mean over seeds, and the ids."""
    frame = select(as_in_paper(frame), rule="prediction", split="test")
    frame = of_eight(frame[frame["attack"].isin(ATTACKS)])
    alike = [*KIND, "sigma", "M", "attack", "root", "digest"]
    # Evaluations that differ in their largest M alone have the same first passes.
    frame = frame.sort_values(["batch_size", "draws"], ascending=[True, False]).drop_duplicates([*alike, "seed"])
    return frame.groupby(alike, as_index=False).agg(accuracy=("accuracy", "mean"), ids=("id", tuple))


def most_votes(each):
    """Of `by_network` the votes of a kind of network at each σ and under each attack: of the M that most of its networks have the
    largest."""
    alike, votes = [*KIND, "sigma", "attack"], each[each["M"] > 1]
    votes = votes.assign(have=votes.groupby([*alike, "M"])["digest"].transform("nunique"))
    votes = votes[votes["have"] == votes.groupby(alike)["have"].transform("max")]
    return votes[votes["M"] == votes.groupby(alike)["M"].transform("max")]


def nearest_luck(lucks, tier, attack, voted=False, tuned=""):
    """Of `luck` that of a tier, or where that has none of the one nearest to it (the better of two); None where no tier has.

    Of those that apply (of a vote its own and that of one pass, of a fine-tuned label its own and that of ALL_KINDS) the largest variance
    and the fewest degrees of freedom: each rests on few trainings, and may be small by luck.
    """
    place, attack, found = runs.TIERS.index(tier), "none" if attack == "none" else "pgd", []
    for kind, of in product({tuned, ALL_KINDS} if tuned else {""}, {False, voted}):
        there = [(-abs(runs.TIERS.index(one) - place), runs.TIERS.index(one)) for one, *under in lucks if under == [attack, of, kind]]
        found += [lucks[runs.TIERS[max(there)[1]], attack, of, kind]] if there else []
    return (max(variance for variance, _ in found), min(freedom for _, freedom in found)) if found else None


def one_recipe(frame):
    """Of each base model (label and method) the evaluations of one recipe, so that no curve or table mixes
    networks that share a name: of the best tier on test images, then the one trained for most epochs, then that of the highest PGD
    accuracy on the held-out images of its trainings, then of most cells, then of most images, then the last by its text.
    """
    def merit(rows):
        tested = rows[rows["split"] != "heldout"]
        order = tested["tier"].map(runs.TIERS.index)
        best, trained = tested[order == order.max()], rows.drop_duplicates("digest")
        return (max(order, default=-1), *(np.nan_to_num(trained[name].mean(), nan=-1) for name in ("epochs", "heldout_pgd")),
                len(best[CELL].drop_duplicates()), max(best["n"], default=0))

    chosen = {name: max((merit(rows), recipe) for recipe, rows in group.groupby("recipe"))[1]
              for name, group in frame.groupby(["label", "method"])}
    rows = zip(frame["label"], frame["method"], frame["recipe"])
    return frame[np.array([chosen[label, method] == recipe for label, method, recipe in rows], bool)]


def as_in_paper(frame):
    """The evaluations with the attack of the authors' code (7 steps of ε/4; PGD: 1 gradient draw, EPGD: 8) or none, and a voting rule of
    RULES. A transferred attack is made on another network of the same label."""
    frame = with_own(frame)
    return frame[_attack(frame).isin(["none", *SAMPLES]) & frame["rule"].isin(RULES)]


def of_eight(frame):
    """The evaluations under attacks of ε = 8/255, as in the authors' code, and those without an attack."""
    return frame[frame["epsilon"] == np.where(frame["attack"] == "none", 0, 8)]


def with_own(frame):
    """`as_in_paper`, and what the paper has not: attacks in whatever setting and voting rules of the reader's own, FGSM."""
    attack = _attack(frame)
    samples = frame["samples"] == attack.map(SAMPLES)
    steps = (frame["steps"] == 7) & np.isclose(4 * frame["step_size"], frame["epsilon"])
    second = (frame["source_label"] == frame["label"]) & (frame["source"] != frame["digest"])
    return frame[~attack.isin(SAMPLES) | (samples & steps & (second | frame["source"].isna()))]


def _attack(frame):
    return frame["attack"].str.removeprefix("transferred ")


def usual(frame):
    """Of `evaluations` those that pages show: the attacks and trainings of the paper, one recipe of each base model.

    A noisy network trained without an attack shares its label with the paper's, and is left to the explorer.
    """
    frame = as_in_paper(frame)
    known = frame["method"] != "unknown"
    return one_recipe(frame[known & ((frame["method"] != "plain") | (frame["label"] == "plain"))])


def by_tier(frame):
    """Of `evaluations` those of the networks trained at each tier, the best first: a list of frames as `usual` gives."""
    tiers = [tier for tier in reversed(runs.TIERS) if tier in set(frame["trained"])]
    return [usual(frame[frame["trained"] == tier]) for tier in tiers] or [usual(frame)]


def suites(frame):
    """Of `by_tier` those to compare networks in: first that with most of the base models of section 5 (of several such the best), then
    those below it."""
    each = by_tier(frame)
    bases = [of.loc[of["label"].isin(BASES), "label"].nunique() for of in each]
    return each[bases.index(max(bases)) :]


def suite(folder):
    """The evaluations of the networks that comparisons show: the first of `suites`."""
    return suites(evaluations(folder))[0]


def select(frame, **values):
    """The rows whose columns have these values (σ and ε: up to rounding)."""
    for column, value in values.items():
        close = np.isclose(frame[column], value) if column in ("sigma", "epsilon") else frame[column] == value
        frame = frame[close]
    return frame


def of_attack(attack):
    """The columns of an attack at the paper's budget, for `select`."""
    return {"attack": attack, "epsilon": 0 if attack == "none" else 8}


def of_any_effort(frame):
    """The evaluations by prediction smoothing on test images under PGD and EPGD of ε = 8/255 in steps of ε/4, however many, of whatever
    samples."""
    frame = frame[frame["attack"].isin(["pgd", "epgd"]) & np.isclose(4 * frame["step_size"], 8)]
    return select(frame, rule="prediction", split="test", epsilon=8)


def cells_of(frame):
    """The cells of `usual` or a suite: those on test images, and those on the held-out training images whose σ and M were measured on
    test images as well, so that what is chosen there can be shown."""
    held, alike = frame["split"] == "heldout", ["label", "method", "recipe", "rule", "M", "sigma", "attack"]
    tested, chosen_on = cells(frame[~held]), cells(frame[held])
    there = set(zip(*(tested[name] for name in alike)))
    return tested, chosen_on[np.array([place in there for place in zip(*(chosen_on[name] for name in alike))], bool)]


def chosen(heldout, label, rule, training=np.nan):
    """σ and M of the highest PGD accuracy on held-out training images (ties: fewer draws, less noise)."""
    row = {"label": label, "training": training, "rule": rule, "M": "–", "sigma": "–", "part": CHOSEN}
    found = select(heldout, label=label, rule=rule, attack="pgd", epsilon=8)
    found = one_tier(found if pd.isna(training) else select(found, method=training))
    if len(found):
        best = found.sort_values(["accuracy", "M", "sigma"], ascending=[False, True, True]).iloc[0]
        row.update(M=best["M"], sigma=best["sigma"], part=f"{CHOSEN}, n = {best['n']:,}")
    return row


def find(ours, row, attack):
    """The cell of ours that a row and an attack name, or None."""
    if pd.isna(row["label"]) or row["M"] == "–":
        return None
    found = select(ours, **of_attack(attack),
                    **{key: row[key] for key in ("label", "rule", "M", "sigma")})
    if not pd.isna(row.get("training")):
        found = select(found, method=row["training"])
    return None if found.empty else found.iloc[0]


def interval(cell):
    """A cell's accuracy and its 95 % interval, in percent, as text."""
    return f"{100 * cell['accuracy']:.1f} ({100 * cell['low']:.1f}–{100 * cell['high']:.1f})"


def measured_on(cell):
    """Tier (as its place in their order) and number of images: compared cells have both in common."""
    return runs.TIERS.index(cell["tier"]), cell["n"]


def made_on(used):
    """What some cells were measured on, in words: once if the same for all, else for each `part`."""
    def words(cells):
        precisions = " and ".join(sorted(set(cells["precision"])))
        return (f"{_tiers(set(cells['tier']))}, n = {_range(cells['n'])} images, runs per cell: {_range(cells['runs'])},"
                f" precision {precisions}")

    parts = {part: words(cells) for part, cells in used.groupby("part", sort=False)} if "part" in used else {}
    same = len(set(parts.values())) < 2 or len(parts) > 4  # a list longer than that nobody reads
    text = words(used) if same else "; ".join(f"{part}: {made_on}" for part, made_on in parts.items())
    return text[0].upper() + text[1:]


def sources(found):
    """The last columns of a table's row, as text: what its cells or Differences were measured on, and their records."""
    tiers, sizes = {one.tier for one in found}, sorted({one.n for one in found})
    return {"Tier": " and ".join(tier for tier in reversed(runs.TIERS) if tier in tiers),
            "n": " and ".join(f"{n:,}" for n in sizes), "Records": tuple(sorted({id for one in found for id in one.ids}))}


def warning(tiers):
    """What a caption says where cells of another tier than the paper's are used, else nothing."""
    tiers = set(tiers)
    weak = [tier for tier in runs.TIERS if tier in tiers and tier not in runs.REPRODUCTIONS]
    short = " Tier fast: a tenth of the paper's epochs." if "fast" in tiers else ""
    what = "small models of the experiment, not reproductions" if len(weak) > 1 else "a small model of the experiment, not a reproduction"
    return short + (f" {_tiers(weak).capitalize()}: {what}." if weak else "")


def _tiers(tiers):
    """Some tiers in words, the best first: "tier cpu", "tiers fast, long and cpu"."""
    *most, last = (tier for tier in reversed(runs.TIERS) if tier in tiers)
    return f"tiers {', '.join(most)} and {last}" if most else f"tier {last}"


def _range(values):
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def minus(value, digits):
    """A number as text; its sign, where it has one, is that of print."""
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value, digits):
    """The same, always with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def one_tier(frame):
    """Only the cells of the best tier there is: what stands in one panel is comparable."""
    order = frame["tier"].map(runs.TIERS.index)
    return frame[order == order.max()]
