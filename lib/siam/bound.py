"""Section 4.1, checked: does the base network's loss under noise bound the smoothed one's, image by image?

    python -m siam.bound

counts the votes of two networks over test images, clean and attacked, and writes one record, `RECORD`. What reads the
record needs no torch. Write p for the share of passes that name the true class, q for that of the strongest other class:

    wrong     = 1[p < q]                       the 0-1 loss of the smoothed classifier, eq. (18)
    surrogate = 1 - max(p - q, 0)              eqs. (19) and (20); the same as (1 - p) + min(p, q)
    base      = 1 - p                          the base network's expected 0-1 loss, the end of eq. (21)

Equation (20) as printed says wrong = surrogate, the line after it and eq. (21) say wrong <= base and wrong = base. For
every image holds:  wrong <= surrogate,  base <= surrogate <= 2 base,  and therefore  wrong <= 2 base.
"""

import argparse
import json
import os
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from siam import runs
from siam.paths import CHECKPOINTS, RESULTS
from siam.style import NOT_YET, Table

RECORD = RESULTS / "bound" / "tallies.npz"
NETWORKS = {"cpni-w-cpu-0": "CPNI-W", "gauss-cpu-0": "Gauss"}
SIGMAS = (0.12, 0.24, 0.48)  # normalised units
ATTACKS = {"none": "clean", "pgd": "PGD"}
CELLS = tuple(product(NETWORKS, ATTACKS, SIGMAS))
HALVES = 2  # the passes are kept in two halves: one votes, the other says how probable the true class was


def name_of(checkpoint, attack, sigma):
    return f"{checkpoint} {attack} {sigma:g}"


# ------------------------------------------------------------------------------------------------- counting


def asked(checkpoint, digest, attack, sigma, **fields):
    """The evaluation whose votes are counted: 1,000 test images, ε = 8/255, bf16. With 64 draws it is one of the book's."""
    fields = dict(images=1000, draws=128, precision="bf16") | fields
    return runs.EvaluationRun(checkpoint, digest, attack=attack, sigma=sigma, **fields)


def count(run, model, x, y, batches=None):
    """First choices of `run.draws` passes in two halves, uint8 [2, N, 10], and how many are right at M = 1, 2, 4, ….

    x: pixels as bytes [N, 3, 32, 32], y [N]. The random numbers are those of `siam.evaluation`, so a run's images at M
    agree with the record of the same run with fewer draws. batches: how many to do, all by default.
    """
    import torch

    from siam.data import pixels
    from siam.evaluation import attacked
    from siam.seeding import seeded
    from siam.smoothing import RULES, tally, vote
    from siam.training import autocast

    halves, correct = [], 0
    parts = list(zip(x.split(run.batch_size), y.split(run.batch_size)))[:batches]
    for number, (images, labels) in enumerate(parts):
        with autocast(x.device, run.precision):
            with seeded(run.seed, number, "attack"):
                images = attacked(run, model, pixels(images), labels)
            votes = tally(model, images, run.draws, (run.seed, number))
        correct = correct + (vote(RULES["prediction"](votes)) == labels).sum(1)
        first, both = (votes.at(M).ranks[0, :, :, 0] for M in (run.draws // HALVES, run.draws))
        halves.append(torch.stack([first, both - first]).to(torch.uint8))
    return torch.cat(halves, 1).cpu().numpy(), correct.tolist()


def save(path, cells, labels, about):
    """Write the record: one array per cell, the labels, and `about` as JSON text; the old file or the new one, no half."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as file:
        np.savez_compressed(file, labels=labels, about=json.dumps(about, sort_keys=True, ensure_ascii=False), **cells)
    os.replace(part, path)


def load(path=RECORD):
    """(counts {(checkpoint, attack, σ): uint8 [2, N, 10]}, labels [N], about). Raises ValueError, one line, for no record."""
    try:
        with np.load(path) as file:
            arrays = dict(file)
        about, labels = json.loads(str(arrays.pop("about"))), arrays.pop("labels")
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path}: not a record of votes: {error}") from None
    counts = {}
    for said in about["cells"]:
        votes = arrays[name_of(*said["cell"])]
        if votes.shape != (HALVES, len(labels), 10) or (votes.sum(2, dtype=int) != about["draws"] // HALVES).any():
            raise ValueError(f"{path}: not a record of votes: {name_of(*said['cell'])} does not fit its draws")
        counts[tuple(said["cell"])] = votes
    return counts, labels, about


def measure(path=RECORD, cells=CELLS, checkpoints=CHECKPOINTS, **fields):
    """Count every cell and write the record after each; cells that it has already are kept. Returns its path."""
    from siam import models
    from siam.data import images
    from siam.folding import Folded
    from siam.training import describe

    counts, about, shared = {}, dict(cells=[]), runs.provenance(describe("cpu"))
    if Path(path).exists():
        done, _, about = load(path)
        counts = {name_of(*cell): votes for cell, votes in done.items()}
    for checkpoint, attack, sigma in cells:
        if name_of(checkpoint, attack, sigma) in counts:
            continue
        file = Path(checkpoints) / f"{checkpoint}.safetensors"
        said = models.about(file)
        run = asked(checkpoint, said["digest"], attack, sigma, **fields)
        x, y = images(run.split, run.images)
        began = time.process_time()
        votes, correct = count(run, Folded(models.load(file, run.sigma)), x, y)
        tier = runs.tier(said["tier"], run.split, run.images, shared["device"])
        counts[name_of(checkpoint, attack, sigma)] = votes
        about["cells"].append(dict(
            cell=[checkpoint, attack, sigma], digest=run.digest, epsilon=run.epsilon, steps=run.steps,
            step_size=run.step_size, correct=correct, seconds=round(time.process_time() - began, 1), tier=tier,
            evaluation=asked(checkpoint, said["digest"], attack, sigma, **fields | dict(draws=64)).id,
        ))  # fmt: skip
        about |= dict(kind="votes", draws=run.draws, batch_size=run.batch_size, seed=run.seed, split=run.split,
                      images=run.images, precision=run.precision, **shared)  # fmt: skip
        save(path, counts, y.numpy().astype(np.uint8), about)
        print(f"{name_of(checkpoint, attack, sigma)}: {correct[-1]} of {run.images} right at M = {run.draws},"
              f" {about['cells'][-1]['seconds']} s", flush=True)  # fmt: skip
    return path


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m siam.bound", description="Count the votes that the bound is checked on.")
    parser.add_argument("--record", type=Path, default=RECORD, help="where to write (cells that are there are kept)")
    try:
        measure(parser.parse_args(arguments).record)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
