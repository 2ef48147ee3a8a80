"""From the records of `benchmarks/throughput.py` to the book's page on speed. No torch.

Ratios and shares are compared across devices; seconds are shown for GPUs only, as those of a shared CPU say more
about its other users than about the code.
"""

from pathlib import Path

import pandas as pd

from siam.files import read_other
from siam.paths import RESULTS
from siam.style import NOT_YET, Table

# Of some works: what a whole one is, its number of images (of noisy passes of an image), and the seconds aimed at.
AIMS = {
    "training": ("an epoch of PGD-7 adversarial training, 49,000 images", 49_000, 1.0),
    "tally": ("a tally of 10,000 images and 512 noisy passes", 10_000 * 512, 6.0),
}
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


def throughput(folder=RESULTS):
    """Per device, work and rung: how many times as fast as plain eager code, and the share of the floor. A Table."""
    found = records(folder)
    rows = [_row(record, work, rung) for record in found for work in record["works"] for rung in work["rungs"]]
    if not any(map(on_gpu, found)):
        rows.append({"Rows": "a GPU", "Rung": "any", "Times as fast": NOT_YET, "Share of the floor": NOT_YET, "Records": ()})
    frame = pd.DataFrame(rows).fillna("")
    caption = (
        "Speed: how many times as fast as plain eager code each rung is, which keeps what the rungs above it have."
        " Medians, and quartiles, over rounds of the ratio of neighbours in time; the floor was measured beside them."
        f"{''.join(map(_measured_on, found))}"
        " Seconds are given for GPUs only: those of a shared CPU mean little."
    )
    return Table(frame, caption, 1)


def _row(record, work, rung):
    faster, row = rung["faster"], {"Rows": f"{work['title']} ({record['device']})", "Rung": rung["name"]}
    row["Times as fast"] = f"{faster['median']:.2f}"
    row["Quartiles"] = f"{faster['low']:.2f}–{faster['high']:.2f}" if rung is not work["rungs"][0] else ""
    row["Share of the floor"] = f"{100 * rung['share']['median']:.1f} %"
    row["Result differs by"] = f"{100 * rung['differs']:.2g} %"
    if on_gpu(record):
        row["Milliseconds"] = f"{1000 * rung['seconds']['median']:.2f}"
    return row | {"Records": (record["place"],)}


def _measured_on(record):
    rates = ", ".join(f"{rate['median'] / 1e9:,.0f} GFLOP/s in {name}"
                      for name, rate in record["rates"].items() if name != "copy")  # fmt: skip
    copied = f", copies {record['rates']['copy']['median'] / 1e9:,.0f} GB/s" if "copy" in record["rates"] else ""
    clock = {"process": "processor time", "wall": "wall-clock time"}[record["clock"]]
    return (
        f" Measured on {record['device']}, torch {record['versions'].get('torch', 'unknown')},"
        f" {record['rounds']} rounds of {clock} on {record['date']}, load average {record['load']['before'][0]:.1f} on"
        f" {record['cores']} cores before and {record['load']['after'][0]:.1f} after; matrix products {rates}{copied}."
    )


def aims(folder=RESULTS):
    """The seconds of a whole epoch and of a whole tally on a GPU beside what is aimed at: a Markdown list."""
    lines = []
    for key, (text, units, aim) in AIMS.items():
        found = [
            f"{rung['seconds']['median'] * units / work['units']:.2f} s on {record['device']} ({rung['name']})"
            for record in records(folder) if on_gpu(record)
            for work in record["works"] if work["key"] == key
            for rung in [min(work["rungs"], key=lambda rung: rung["seconds"]["median"])]
        ]  # fmt: skip
        lines.append(f"- {text[:1].upper() + text[1:]}: aim {aim:.1f} s, on a GPU {'; '.join(found) or NOT_YET}.")
    return "\n".join(lines)
