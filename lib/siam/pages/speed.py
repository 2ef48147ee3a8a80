"""From the records of `benchmarks/throughput.py` to the book's page on speed. No torch.

Ratios, and speed in percent of the machine's limit, are compared across devices; seconds are shown for GPUs only, as those
of a shared CPU say more about its other users than about the code.
"""

from functools import partial
from itertools import cycle
from pathlib import Path

import pandas as pd

from siam.files import read_other
from siam.pages.style import COLOURS, INK, Figure, Table, drawing, undrawn
from siam.paths import RESULTS
from siam.report import NOT_YET

# Of some works: what a whole one is, its number of images (of noisy passes of an image), and the seconds aimed at.
AIMS = {
    "training": ("an epoch of PGD-7 adversarial training, 49,000 images", 49_000, 1.0),
    "tally": ("a tally of 10,000 images and 512 noisy passes", 10_000 * 512, 6.0),
}
# In the picture: the works, and the rungs whose names are long.
WORKS = {"training": "PGD-7 training", "step": "FGSM training", "tally": "Noisy passes", "epgd": "EPGD gradient"}
SHORT = {
    "fp32 instead of TF32, and the same sums each time": "fp32, not TF32",
    "in the attack the input's gradient alone": "input's gradient",
    "the input's gradient alone": "input's gradient",
    "in the attack BatchNorm folded, one draw for all noise, fused layers": "folded, fused",
    "BatchNorm folded, one draw for all noise, fused layers": "folded, fused",
    "nothing waits, fused optimiser": "nothing waits",
    "a tally for every M and rule": "tally",
}
LIMIT = "Speed, % of the machine's limit"
FIELDS = ("device", "versions", "date", "rounds", "threads", "cores", "clock", "load", "rates", "multiply_adds", "works")


def read(path):
    """The record at `path`, a dict. Raises ValueError, one line, for a file that is none."""
    return read_other(path, "throughput", FIELDS)


def records(folder=RESULTS):
    """The records in folder/throughput with their `place` in it, those of GPUs first."""
    found = [read(path) | {"place": f"throughput/{path.name}"} for path in sorted((Path(folder) / "throughput").glob("*.json"))]
    return sorted(found, key=lambda record: not on_gpu(record))


def on_gpu(record):
    return record["device"].startswith("cuda")


def named(record):
    """The machine of a record as the page calls it: a CPU whose instructions the record does not name, by its rate in bf16."""
    if on_gpu(record):
        return record["device"]
    name = record["device"].replace("cpu: ", "CPU, ").replace(" 1 threads", " 1 thread")
    return name if name.count(",") > 1 else f"{name}, {record['rates']['bf16']['median'] / 1e9:,.0f} GFLOP/s in bf16"


def picture(folder=RESULTS):
    """How many times as fast as plain eager code each rung is: a Figure, a panel for each work and a colour for each device."""
    found = records(folder)
    look = {named(record): (colour, "-") for record, colour in zip(found, cycle(COLOURS))}
    panels = []
    for key, title in WORKS.items():
        if ladders := {named(record): work["rungs"] for record in found for work in record["works"] if work["key"] == key}:
            alt = "; ".join(f"{device}: " + ", ".join(f"{rung['name']} {rung['faster']['median']:.2f}" for rung in rungs)
                            for device, rungs in ladders.items())
            panels.append(drawing(partial(_climb, ladders, look), title, "times as fast", "", alt, f"speed {key}"))
    if not panels:
        return undrawn("Speed")
    return Figure(panels, look, "How many times as fast as plain eager code each rung is; every rung keeps what those above it have."
                  " Dots: medians, with quartiles; 1 is plain eager code on the same device.", None)


def _climb(ladders, look, axes):
    names = list(dict.fromkeys(rung["name"] for rungs in ladders.values() for rung in rungs))
    axes.axvline(1, color=INK, alpha=0.5, lw=0.8)
    for i, (device, rungs) in enumerate(ladders.items()):
        low, median, high = ([rung["faster"][of] for rung in rungs] for of in ("low", "median", "high"))
        ends = [[m - end for m, end in zip(median, low)], [end - m for m, end in zip(median, high)]]
        rows = [names.index(rung["name"]) + 0.3 * (i - (len(ladders) - 1) / 2) for rung in rungs]
        axes.errorbar(median, rows, xerr=ends, fmt="o", color=look[device][0], capsize=2)
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    ticks = [tick for tick in (0.1, 0.3, 1, 3, 10, 30, 100) if least <= tick <= most]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(names)), [SHORT.get(name, name) for name in names])
    axes.invert_yaxis()


def throughput(folder=RESULTS):
    """Per device, work and rung: how many times as fast as plain eager code, and the speed in % of the machine's limit. A Table."""
    found = records(folder)
    rows = [_row(record, work, rung) for record in found for work in record["works"] for rung in work["rungs"]]
    if not any(map(on_gpu, found)):
        rows.append({"Rows": "a GPU", "Rung": "any", "Times as fast": NOT_YET, LIMIT: NOT_YET, "Records": ()})
    frame = pd.DataFrame(rows).fillna("")
    caption = (
        "Speed: how many times as fast as plain eager code each rung is; every rung keeps what those above it have."
        " Medians and quartiles, over rounds, of ratios taken within a round; the machine's limit was measured beside them."
        f"{''.join(map(_measured_on, found))}"
        " Seconds are given for GPUs only: those of a shared CPU mean little."
    )
    return Table(frame, caption, 1)


def _row(record, work, rung):
    faster, row = rung["faster"], {"Rows": f"{work['title']} ({named(record)})", "Rung": rung["name"]}
    row["Times as fast"] = f"{faster['median']:.2f}"
    row["Quartiles"] = f"{faster['low']:.2f}–{faster['high']:.2f}" if rung is not work["rungs"][0] else ""
    row[LIMIT] = f"{100 * rung['share']['median']:.1f}"
    row["Result differs by"] = f"{100 * rung['differs']:.2g} %"
    if on_gpu(record):
        row["Milliseconds"] = f"{1000 * rung['seconds']['median']:.2f}"
    return row | {"Records": (record["place"],)}


def _measured_on(record):
    rates = ", ".join(f"{rate['median'] / 1e9:,.0f} GFLOP/s in {name}"
                      for name, rate in record["rates"].items() if name != "copy")
    copied = f", copies {record['rates']['copy']['median'] / 1e9:,.0f} GB/s" if "copy" in record["rates"] else ""
    clock = {"process": "processor time", "wall": "wall-clock time"}[record["clock"]]
    return (
        f" Measured on {named(record)}; torch {record['versions'].get('torch', 'unknown')},"
        f" {record['rounds']} rounds of {clock} on {record['date']}, load average {record['load']['before'][0]:.1f} on"
        f" {record['cores']} cores before and {record['load']['after'][0]:.1f} after; matrix products {rates}{copied}."
    )


def aims(folder=RESULTS):
    """The seconds of a whole epoch and of a whole tally on a GPU beside what is aimed at: a Markdown list."""
    lines = []
    for key, (text, units, aim) in AIMS.items():
        found = [
            f"{rung['seconds']['median'] * units / work['units']:.2f} s on {named(record)} ({rung['name']})"
            for record in records(folder) if on_gpu(record)
            for work in record["works"] if work["key"] == key
            for rung in [min(work["rungs"], key=lambda rung: rung["seconds"]["median"])]
        ]
        lines.append(f"- {text[:1].upper() + text[1:]}: aim {aim:.1f} s, on a GPU {'; '.join(found) or NOT_YET}.")
    return "\n".join(lines)
