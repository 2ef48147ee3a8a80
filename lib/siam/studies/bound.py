"""Section 4.1: the votes on which the bound of the smoothed loss is checked, image by image.

    python -m siam.studies.bound

counts the votes of two networks over test images, clean and attacked, and writes one record, `RECORD`. What is said of them,
and the page, is in `siam.pages.bound`.
"""

from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from siam import models, runs
from siam.data import images, pixels
from siam.devices import describe
from siam.evaluation import votes_on
from siam.files import command, refuse_unlike
from siam.folding import Folded
from siam.models import digest_of
from siam.paths import CHECKPOINTS, RESULTS
from siam.votes import HALVES, load, name_of, save

RECORD = RESULTS / "bound" / "tallies.npz"
# checkpoint, attack, σ in normalised units
CELLS = tuple(product(("cpni-w-long-0", "gauss-long-0"), ("none", "pgd"), (0.12, 0.24, 0.48)))


def asked(checkpoint, digest, attack, sigma, **fields):
    """The evaluation whose votes are counted: 1,000 test images in ten batches, 128 passes, bf16, attack as in the book's."""
    fields = dict(images=1000, batch_size=100, draws=128, precision="bf16") | fields
    return runs.EvaluationRun(checkpoint, digest, attack=attack, sigma=sigma, **fields)


def said_of(run):
    """What all cells of a record have in common."""
    return {name: getattr(run, name) for name in ("draws", "batch_size", "seed", "split", "images", "precision")}


def attack_of(run):
    """What a cell says of its attack, PGD or none."""
    return {name: getattr(run, name) for name in ("epsilon", "steps", "step_size")}


def count(run, model, x, y):
    """First choices of `run.draws` passes in two halves, uint8 [2, N, 10].

    x: pixels as bytes [N, 3, 32, 32], y [N]. Attack, passes and their random numbers are as in `siam.evaluation`: what
    more batches or more passes of the same run give begins with what fewer give. Raises ValueError for more passes than a byte counts.
    """
    if run.draws // HALVES > 255:
        raise ValueError(f"draws = {run.draws} is not allowed: a half of more than 255 is not kept")
    halves = []
    batches = list(zip(x.split(run.batch_size), y.split(run.batch_size)))
    for batch, (seen, labels) in enumerate(tqdm(batches, desc=run.checkpoint, mininterval=5, leave=False)):
        votes, _ = votes_on(model, model, pixels(seen), labels, run, batch)
        first, both = (votes.at(M).ranks[0, :, :, 0] for M in (run.draws // HALVES, run.draws))
        halves.append(torch.stack([first, both - first]).to(torch.uint8))
    return torch.cat(halves, 1).cpu().numpy()


def measure(path=RECORD, cells=CELLS, checkpoints=CHECKPOINTS, results=RESULTS, **fields):
    """Count every cell and write the record after each; cells that it has of this very network are kept. Returns its path.

    `fields` of the run replace those of `asked`. Raises ValueError, one line, for a record made with other ones.
    """
    counts, about, shared = {}, dict(cells=[]), runs.provenance(describe("cpu"))
    if Path(path).exists():
        done, _, about = load(path)
        counts = {name_of(*cell): votes for cell, votes in done.items()}
    if about["cells"]:  # what is compared is the same for all cells and digests
        checkpoint, attack, sigma = cells[0]
        refuse_unlike(path, about, said_of(asked(checkpoint, "0" * 16, attack, sigma, **fields)))
    for checkpoint, attack, sigma in cells:
        others = [one for one in about["cells"] if tuple(one["cell"]) != (checkpoint, attack, sigma)]
        run = asked(checkpoint, digest_of(checkpoint, checkpoints, results), attack, sigma, **fields)
        kept = next((one for one in about["cells"] if one not in others), None)
        if kept and kept["digest"] == run.digest:
            refuse_unlike(path, kept, attack_of(run))
            continue
        file = models.place(checkpoint, checkpoints)
        said = models.about(file)
        x, y = images(run.split, run.images)
        votes = count(run, Folded(models.load(file, run.sigma)), x, y)
        tier = runs.tier(said["tier"], run.split, run.images)
        counts[name_of(checkpoint, attack, sigma)] = votes
        about["cells"] = [*others, dict(
            cell=[checkpoint, attack, sigma], digest=run.digest, **attack_of(run), tier=tier, commit=shared["commit"],
        )]
        about |= dict(kind="votes", **said_of(run))
        save(path, counts, y.numpy().astype(np.uint8), about | runs.grown(about, path, shared))
        print(f"{name_of(checkpoint, attack, sigma)}: counted", flush=True)
    return path


def main(arguments=None):
    command("siam.studies.bound", "Count the votes that the bound is checked on.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
