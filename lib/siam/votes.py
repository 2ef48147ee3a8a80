"""The file of counted votes: what `siam.studies.bound` writes and `siam.pages.bound` reads. No torch."""

import json

from siam.files import read_npz, write_npz

HALVES = 2  # the passes are kept in two halves: one votes, the other says how probable the true class was


def name_of(checkpoint, attack, sigma):
    return f"{checkpoint} {attack} {sigma:g}"


def save(path, cells, labels, about):
    """Write the record: one array per cell, the labels, and `about` as JSON text; the old file or the new one, no half."""
    write_npz(path, dict(labels=labels, about=json.dumps(about, sort_keys=True, ensure_ascii=False), **cells))


def load(path):
    """(counts {(checkpoint, attack, σ): uint8 [2, N, 10]}, labels [N], about). Raises ValueError, one line, for no record."""
    arrays = read_npz(path, "a record of votes")
    try:
        about, labels = json.loads(str(arrays.pop("about"))), arrays.pop("labels")
        cells = {tuple(said["cell"]): arrays[name_of(*said["cell"])] for said in about["cells"]}
        passes = about["draws"] // HALVES
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a record of votes: {error}") from None
    for cell, votes in cells.items():
        if votes.shape != (HALVES, len(labels), 10) or (votes.sum(2, dtype=int) != passes).any():
            raise ValueError(f"{path}: not a record of votes: {name_of(*cell)} does not fit its draws")
    return cells, labels, about
