"""The page on layers' noise that is stronger at inference than in training, from what `siam.studies.strength` wrote. No torch."""

from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from siam import bits
from siam.files import read_other
from siam.pages import tables
from siam.pages.adaptive import ANY, EPGD, PGD, about, and_any, cell_of, measured_in
from siam.pages.style import BLUE, GREEN, GREY, INK, PINK, VERMILLION, Figure, Table, limits_of, listed, panel, undrawn, unfilled
from siam.paired import of_images
from siam.paths import RESULTS
from siam.report import interval

PLACE = "strength/record.json"  # in data/results
FIELDS = ("cells", "epsilon", "batch", "n")
COLOURS = {"": (INK, "--"), PGD: (BLUE, "-"), EPGD: (GREEN, "-"), "EPGD, 32 draws": (PINK, "-"),
           "EPGD, noise as trained": (VERMILLION, "-"), "noise off": (GREY, "-"),
           "aimed at the border, noise as trained": (VERMILLION, "--"), ANY: (INK, "-")}  # in the order of the page


class Voted(NamedTuple):
    """A network whose layers' noise is k times as strong as in training, behind input noise σ: for each attacker ("": none) which test
    images are right [M, n], and which of the held-out ones under PGD (None where not measured)."""

    checkpoint: str
    label: str
    trained: str
    name: str
    k: float
    sigma: float
    draws: tuple
    right: dict
    heldout: np.ndarray | None


def read(folder=RESULTS):
    """The record of `siam.studies.strength`, or None. Raises ValueError, one line, for a file that is none."""
    return read_other(Path(folder) / PLACE, "strength", FIELDS)


def voted(record):
    """The Voted of a record, those under all attackers that any is under, in its order."""
    found, attackers = {}, {cell["attacker"] for cell in record["cells"] if cell["split"] == "test"}
    networks = {(cell["checkpoint"], cell["label"], cell["trained"]) for cell in record["cells"]}
    for cell in record["cells"]:
        checkpoint, label, trained = (cell[name] for name in ("checkpoint", "label", "trained"))
        alike = sum(of[1:] == (label, trained) for of in networks)  # only their own names tell those apart
        name = f"{label} ({trained}, {checkpoint})" if alike > 1 else f"{label} ({trained})"
        about = checkpoint, label, trained, name, cell["strength"], cell["sigma"], tuple(cell["draws"])
        right = bits.unpack(cell["right"], len(cell["draws"]), record["n"])
        found.setdefault(about, {})[cell["split"], cell["attacker"]] = right
    each = [(about, {name: right for (split, name), right in of.items() if split == "test"}, of.get(("heldout", PGD)))
            for about, of in found.items()]
    return [Voted(*about, and_any(right), heldout) for about, right, heldout in each if set(right) == attackers and len(attackers) > 1]


def groups(record):
    """[[Voted of one network and σ, k ascending]], those that have k = 1 to be held against."""
    each = {}
    for one in voted(record) if record else ():
        each.setdefault((one.checkpoint, one.sigma), []).append(one)
    return [sorted(of, key=lambda one: one.k) for of in each.values() if any(one.k == 1 for one in of)]


def chosen(of):
    """The Voted among one network and σ's whose vote is right on most held-out images under PGD; None where none was asked."""
    asked = [one for one in of if one.heldout is not None]
    return max(asked, key=lambda one: one.heldout[-1].sum(), default=None)


def more(record, one, other, attacker, M=-1):
    """Points that the vote (or, M = 0, the first pass) of a Voted has over another's under an attacker, a Difference of one training."""
    return of_images(one.right[attacker][M], other.right[attacker][M], record["batch"], **measured_in(record, PLACE))


def _name(attacker):
    return attacker or "no attack"


def curves(folder=RESULTS):
    """Figure: the accuracy of the vote against k, a line an attacker, for each network and σ a panel under attack and one
    of clean images; its numbers have one pass as well."""
    record = read(folder)
    found, title = groups(record), "The vote against the strength of the noise in the layers"
    if not found:
        return undrawn(title)
    attackers = [name for name in COLOURS if name in found[0][0].right]
    look = {_name(attacker): COLOURS[attacker] for attacker in attackers}
    panels, lines = {"under attack": [], "clean": []}, []
    for of in found:
        first = of[0]
        name = f"{first.name}, {f'σ = {first.sigma:g}' if first.sigma else 'no input noise'}"
        frames = {_name(attacker): pd.DataFrame([dict(k=one.k, **cell_of(one.right[attacker][-1])) for one in of]).assign(std=np.nan)
                  for attacker in attackers}
        marks = {one.k: colour for one, colour in ((chosen(of), VERMILLION),) if one}
        panels["under attack"].append((name, {attacker: frame for attacker, frame in frames.items() if attacker != _name("")}, marks))
        panels["clean"].append((f"clean: {name}", {_name(""): frames[_name("")]}, marks))
        for one in of:
            lines += [{"Rows": name, "k": f"{one.k:g}", "Attacker": _name(attacker),
                       "one pass, %": interval(cell_of(one.right[attacker][0], record["batch"])),
                       "the vote, %": interval(cell_of(one.right[attacker][-1]))} for attacker in attackers]
    drawn = []
    for each in panels.values():  # an axis of their own: clean accuracy is so much higher that on one the attackers' curves run together
        limits = limits_of(frame for _, frames, _ in each for frame in frames.values())
        drawn += [panel(frames, look, "k", "k, times the trained strength", name, f"strength {name}", marks, limits, 3)
                  for name, frames, marks in each]
    epsilon, M = record["epsilon"], found[0][0].draws[-1]
    steps = " or ".join(map(str, sorted({cell["steps"] for cell in record["cells"] if "steps" in cell})))
    caption = (f"{title}: prediction smoothing, M = {M}, ε = {epsilon:g}/255, {steps} steps. Short ticks: the k that held-out images choose"
               f" (highest accuracy of the vote under PGD). {ANY.capitalize()}: images that are right under every attacker. Bands are"
               f" 95 % intervals over images; all points share their images. Clean images have panels, and an axis, of their own."
               f" {about(record, chain(*found))}")
    legend = {_name(name): ("currentColor" if COLOURS[name][0] == INK else COLOURS[name][0], COLOURS[name][1]) for name in attackers}
    return Figure(drawn, legend, caption, Table(pd.DataFrame(lines), "Accuracy in percent (95 % interval)", 2, PLACE))


def choice(folder=RESULTS):
    """Table: the k that held-out images choose beside the noise as trained, under each attacker; what the paper prints for the network."""
    record = read(folder)
    found = [(of, best) for of in groups(record) if (best := chosen(of))]
    caption = "The noise that held-out images choose, and the noise as trained"
    if not found:
        return unfilled(f"{caption}.")
    lines = []
    for of, best in found:
        trained = next(one for one in of if one.k == 1)
        for name in [name for name in COLOURS if name in best.right]:
            lines.append({"Rows": f"{best.name}, σ = {best.sigma:g}, k = {best.k:g}", "Attacker": _name(name),
                          "k = 1, %": interval(cell_of(trained.right[name][-1])), "chosen k, %": interval(cell_of(best.right[name][-1])),
                          "difference": str(more(record, best, trained, name)), "paper, M = 512, %": printed(best, name)})
    caption += (f": accuracy of the vote, M = {found[0][1].draws[-1]}, in percent (95 % interval), and differences in points (± half a 95 %"
                f" interval over batches of {record['batch']}), within one training. {about(record, chain(*(of for of, _ in found)))}")
    return Table(pd.DataFrame(lines), caption, 1, PLACE)


def printed(one, attacker):
    """The accuracy that the paper's Table 3 has for a network at this σ, under this attacker, as text; "" where it prints none."""
    column = {"": "clean", PGD: "pgd", EPGD: "epgd"}.get(attacker)
    rows = tables.paper(3).query("rule == 'prediction' and M == 512 and label == @one.label and sigma == @one.sigma")
    return f"{rows.iloc[0][column]:.1f}" if column and len(rows) else ""


def in_words(folder=RESULTS):
    """What the record says, a Markdown list."""
    record, lines = read(folder), []
    for of in groups(record):
        best, trained = chosen(of), next(one for one in of if one.k == 1)
        at = f"**{trained.name}, σ = {trained.sigma:g}**"
        if best is None:
            continue
        if best.k == 1:
            lines.append(f"{at}: held-out images choose the noise as trained.")
            continue
        each = {name: more(record, best, trained, name) for name in ("", PGD, EPGD, ANY)}
        single = [name for name in best.right if name not in ("", ANY)]
        left = []
        for one, whose in ((best, "that noise"), (trained, "the noise as trained")):
            worst = min(single, key=lambda name: one.right[name][-1].sum())
            left.append(f"{100 * one.right[worst][-1].mean():.1f} % with {whose} (*{worst}*)")
        lines.append(f"{at}: held-out images choose noise {best.k:g} times as strong as trained. It changes the vote by {each['']} points"
                     f" on clean images, {each[PGD]} under PGD and {each[EPGD]} under EPGD, the share of images that survive every attacker"
                     f" by {each[ANY]}, and one pass on clean images by {more(record, best, trained, '', 0)}. The strongest attacker"
                     f" leaves {' and '.join(left)}.")
    return listed(lines)


def headline(folder=RESULTS):
    """What stronger noise in the layers is worth where held-out images choose it, a sentence, of the vote that PGD leaves most of; None
    where they choose none."""
    record = read(folder)
    found = [(of, best) for of in groups(record) if (best := chosen(of)) and best.k > 1]
    if not found:
        return None
    of, best = max(found, key=lambda one: one[1].heldout[-1].sum())
    trained = next(one for one in of if one.k == 1)
    each = {name: more(record, best, trained, name) for name in ("", PGD, EPGD, ANY)}
    sigma = f"σ = {best.sigma:g}" if best.sigma else "without input noise"
    return (f"**Stronger noise.** [Noise in the layers](notebooks/strength.ipynb) that is made {best.k:g} times as strong after"
            f" training, as held-out images choose, adds {each[PGD]} points to the vote under PGD and {each[EPGD]} under EPGD; the"
            f" share of images that survive all attackers of that page changes by {each[ANY]}, and accuracy on clean images by {each['']}"
            f" ({best.label}, {sigma}, M = {best.draws[-1]}, trained at tier {best.trained}; tier {each[PGD].tier}, n = {record['n']:,}).")
