"""The page on perceptually aligned gradients: grids of pictures and tables, from what `siam.studies.gradients` wrote. No torch."""

from pathlib import Path

import numpy as np
import pandas as pd

from siam.files import read_npz, read_other
from siam.pages.grid import Grid
from siam.pages.style import Table, change, unfilled
from siam.pages.tables import PLAIN
from siam.paths import RESULTS
from siam.report import NOT_YET, minus

AMPLIFIED = 3  # how many times a perturbation is drawn stronger than it is
PLACE = "gradients/record.json"  # in data/results
FIELDS = ("arms", "rows", "differences", "shown", "settings", "n", "tier", "judged_right")


def read(folder=RESULTS):
    """(record, {name: pictures uint8 [rows, 32, 32, 3]}) of folder/gradients; (None, {}) where nothing was measured.

    Raises ValueError, one line, for a file that is no such record or holds no pictures; OSError where the pictures are missing.
    """
    path = Path(folder) / PLACE
    record = read_other(path, "gradients", FIELDS)
    if record is None:
        return None, {}
    for arm in record["arms"]:
        arm["name"] = _named(arm["name"])
    return record, read_npz(path.with_suffix(".npz"), "the pictures of a record")


def _named(name):
    """The name of a network on the pages, of that in the record."""
    if name.startswith("plain adversarial"):
        return name.replace("plain adversarial", PLAIN["adversarial"])
    return name.replace("plain", PLAIN["plain"])


# ------------------------------------------------------------------------------------------------ pictures


def _grid(title, said, folder, columns):
    """A Grid of the shown images. columns: record, pictures -> the columns after the source."""
    record, pictures = read(folder)
    if record is None:
        return Grid(f"{title}. {NOT_YET.capitalize()}.", [], {})
    rows = [f"{of['class']} → {of['target']}" if "untargeted" not in title.lower() else of["class"] for of in record["shown"]]
    columns = {("image", ""): pictures["source"], **columns(record, pictures)}
    return Grid(f"{title}. {said} Tier {record['tier']}.", rows, columns)


def _of_arms(record, pictures, key, change=lambda picture, source: picture):
    """{(network, draws): pictures} of all arms."""
    return {(arm["name"], _draws(arm, arm["samples"])): change(pictures[f"{arm['arm']}/{key}"], pictures["source"])
            for arm in record["arms"] if f"{arm['arm']}/{key}" in pictures}


def _draws(arm, m):
    return f"m = {m}" if arm["noisy"] else "no noise"


def _amplified(picture, source):
    difference = picture.astype(int) - source.astype(int)
    return np.clip(128 + AMPLIFIED * difference, 0, 255).astype(np.uint8)


def attacked(variant="targeted", folder=RESULTS):
    """The attacked images, rows by classes, columns by networks; variant: "targeted" or "untargeted"."""
    said = ("Each row is one image and the class it is attacked towards." if variant == "targeted" else
            "Each attack only leads away from the image's own class.")
    return _grid(f"Images after the {variant} attack", f"{said} m: noise draws whose gradients are averaged in each step.",
                 folder, lambda record, pictures: _of_arms(record, pictures, variant))


def perturbations(folder=RESULTS):
    """What the targeted attacks added, amplified, on grey."""
    return _grid(f"What the targeted attack added, {AMPLIFIED} times amplified", "Grey is no change; values outside the"
                 " range are clipped.", folder, lambda record, pictures: _of_arms(record, pictures, "targeted", _amplified))


def input_gradients(folder=RESULTS):
    """Gradients at the unchanged images, averaged over more and more draws."""
    def columns(record, pictures):
        return {(arm["name"], _draws(arm, m)): pictures[f"{arm['arm']}/gradient-{m}"] for arm in record["arms"]
                for m in record["settings"]["draws"] if f"{arm['arm']}/gradient-{m}" in pictures}

    return _grid("Input gradients of the target's log-probability", "Taken at the unchanged image, averaged over m noise draws."
                 " Grey is zero; each picture is scaled by itself, and 1 % of its values are clipped.", folder, columns)


# ------------------------------------------------------------------------------------------------ numbers


def _percent(share):
    return f"{100 * share['share']:.1f} ({100 * share['low']:.1f}–{100 * share['high']:.1f})"


def _number(average):
    mean, low, high = (minus(average[name], 3) for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def looks(folder=RESULTS):
    """How often networks that were not attacked name the class aimed at: a Table, targeted and untargeted."""
    record, _ = read(folder)
    columns = ["Attack", "Attacked network", "m", "Itself", "PNI-W", "PNI-W before", PLAIN["plain"], f"{PLAIN['plain']}, before"]
    caption = "Who names the class that the attack leads to, percent (95 % interval)."
    if record is None:
        return unfilled(caption, columns)
    arms = {arm["arm"]: arm for arm in record["arms"]}
    lines = []
    for row in (row for variant in ("targeted", "untargeted") for row in record["rows"] if row["attack"] == variant):
        arm = arms[row["arm"]]
        itself = arm["checkpoint"] == record["judges"]["plain"]
        cells = [row["attack"], arm["name"], _draws_of(row, arm), _percent(row["fooled"]), _percent(row["robust"]),
                 f"{100 * row['robust_before']['share']:.1f}", "itself" if itself else _percent(row["plain"]),
                 "" if itself else f"{100 * row['plain_before']['share']:.1f}"]
        lines.append(dict(zip(columns, cells)))
    right = {name: f"{100 * of['share']:.1f} %" for name, of in record["judged_right"].items()}
    caption += (f" First {record['n']:,} test images, the same for all; exact intervals. Before: the same question about the"
                f" images before the attack, of which PNI-W gets {right['robust']} right and the plain network {right['plain']}."
                f" Tier {record['tier']}.")
    return Table(pd.DataFrame(lines), caption, 1, PLACE)


def _draws_of(row, arm):
    """Over how many draws a row's gradient is averaged, as text."""
    return str(row.get("draws", arm["samples"])) if arm["noisy"] else "–"


def cosines(folder=RESULTS):
    """How well perturbations point to the mean image of the class aimed at, and how long they are: a Table."""
    record, _ = read(folder)
    columns = ["Attack", "Network", "m", "To the class", "To other classes", "Difference", "Length"]
    caption = "Cosine between what the attack added and the way from the image to a class's mean image."
    if record is None:
        return unfilled(caption, columns)
    return Table(_cosine_rows(record, ("targeted", "untargeted"), columns), caption + _over_images(record)
                 + " Length: mean L2 norm of what was added, in pixel units.", 1, PLACE)


def gradient_cosines(folder=RESULTS):
    """The same of the input gradients, by the number of draws they are averaged over: a Table."""
    record, _ = read(folder)
    columns = ["Attack", "Network", "m", "To the class", "To other classes", "Difference"]
    caption = "Cosine between the input gradient and the way from the image to a class's mean image."
    if record is None:
        return unfilled(caption, columns)
    return Table(_cosine_rows(record, ("gradient",), columns), caption + _over_images(record), 1, PLACE)


def _over_images(record):
    return (f" First {record['n']:,} test images; 95 % intervals by Student's t over batches, whose images share their draws."
            f" Tier {record['tier']}.")


def _cosine_rows(record, attacks, columns):
    arms = {arm["arm"]: arm for arm in record["arms"]}
    lines = []
    for row in (row for attack in attacks for row in record["rows"] if row["attack"] == attack):
        arm = arms[row["arm"]]
        part = "input gradient" if row["attack"] == "gradient" else row["attack"]
        cells = [part, arm["name"], _draws_of(row, arm), _number(row["cosine"]), _number(row["others"]), change(row["excess"], 3)]
        cells += [f"{row['length']['mean']:.2f}"] if "Length" in columns else []
        lines.append(dict(zip(columns, cells)))
    return pd.DataFrame(lines)


def averaging(folder=RESULTS):
    """What averaging over draws changes, image by image: a Table of paired differences."""
    record, _ = read(folder)
    columns = ["What", "Network", "Draws", "Cosine", "Cosine less that to other classes"]
    caption = "What averaging adds to the cosine, the same images and targets."
    if record is None:
        return unfilled(caption, columns)
    names = {arm["arm"]: arm["name"] for arm in record["arms"]}
    whats = {"gradient": "input gradient", "targeted": "targeted attack", "untargeted": "untargeted attack"}
    lines = [dict(zip(columns, (whats[of["what"]], names[of["arm"]], f"1 → {of['draws']}",
                                *(change(of[name], 3) for name in ("cosine", "excess")))))
             for of in record["differences"]]
    return Table(pd.DataFrame(lines), caption + _over_images(record), 1, PLACE)
