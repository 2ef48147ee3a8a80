"""By which statistics should BatchNorm go, where the network draws noise? By its running means, by others, by the batch's own.

    python -m siam.studies.batchnorm

Training normalises each layer by the statistics of the batch, of images that are cropped and half of them attacked, under that batch's
draw of the noise; attacks and votes by running means over many draws. This asks what that costs: the same network, images, draws and
attack, with nothing but the statistics changed (and, for each draw's with input noise, the draws), and the attack made through those
that answer. What it writes, `RECORD`, is read by `siam.pages.batchnorm`, which draws the page.
"""

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import batch_norm
from tqdm import tqdm

from siam import models, runs
from siam.attacks import error_of, pgd
from siam.data import crop_and_flip, images, pixels
from siam.devices import autocast, describe
from siam.files import command, read_npz, read_other, refuse_to_replace, write_npz
from siam.noise import strengthen
from siam.paired import interval_of
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.smoothing import tally, voted

RECORD = RESULTS / "batchnorm" / "record.json"
NETWORKS = ("plain-adversarial-long-0", "pni-w-long-0", "cpni-w-long-0", "cpni-w-fast-0")
# Checkpoint, how many times as strong its layers' noise is made as it was trained with, and σ in normalised units.
CELLS = (*product(NETWORKS, (1,), (0.0,)), ("cpni-w-fast-0", 1, 0.24), *product(("cpni-w-fast-0",), (2, 3), (0.0,)))
# In the order of the page. The first is what all other pages go by; "counted" is the mean over batches of training images as training
# sees them, cropped and flipped, half of them attacked; "whole": not cropped; "draw": of one such batch, cropped, anew in each pass;
# "batch": of the very images that are asked about.
STATISTICS = ("running", "counted", "whole", "draw", "batch")
ATTACKS = ("none", "pgd")
DRAWS = (1, 16)  # M, prediction smoothing
COUNTED = 2000  # training images that statistics are counted on
BATCH = 100  # images that share a draw of the layers' noise and, by "batch", their statistics
EPSILON, STEPS = 8 / 255, 7
SEED, PRECISION = 0, "bf16"
SETTINGS = dict(rule="prediction", draws=list(DRAWS), counted=COUNTED, batch=BATCH, epsilon=255 * EPSILON, attack_steps=STEPS,
                seed=SEED, precision=PRECISION)


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def by_batch(model):
    """`model`, from now on going by the statistics of whatever batch it is given, as training does; it keeps none of them."""
    for norm in norms(model):
        norm.running_mean = norm.running_var = None
    return model


def by_draw(model, guests):
    """`model` going by the statistics that pixels `guests` [G, 3, H, W] have in the same pass, under the same draw of its noise.

    What it says of an image then follows from that image, the draw and the guests, and no gradient reaches the statistics.
    """
    def normalised(norm, x):
        mean, variance = torch.zeros_like(norm.running_mean), torch.ones_like(norm.running_var)
        first = batch_norm(x[: len(guests)].detach(), mean, variance, norm.weight, norm.bias, True, 1.0, norm.eps)  # fills in both
        return torch.cat([first, batch_norm(x[len(guests) :], mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)])

    for norm in norms(model):
        norm.forward = partial(normalised, norm)
    return lambda x: model(torch.cat([guests, x]))[len(guests) :]


@torch.no_grad()
def by_count(model, x, *key):
    """`model` with running statistics counted anew on pixels x [N, 3, H, W]: the mean over batches of BATCH, each with a draw of the
    model's noise, seeded from `key`."""
    for norm in norms(model):
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all, not of the last
        norm.train()
    with seeded(*key, "statistics"):
        for part in x.split(BATCH):
            model(part)
    return model.eval()


def attacked(model, x, y, *key):
    """Pixels x [N, 3, H, W] after PGD on `model` at labels y [N], in batches of BATCH, seeded from `key` and the batch's number."""
    parts = []
    for number, (seen, labels) in enumerate(zip(x.split(BATCH), y.split(BATCH))):
        with seeded(*key, number, "attack"):
            parts.append(pgd(error_of(model, labels), seen, epsilon=EPSILON, step_size=EPSILON / 4, steps=STEPS))
    return torch.cat(parts)


def networks(checkpoint, strength, sigma, counted, checkpoints=CHECKPOINTS):
    """{statistics: what maps pixels to logits, by these}, each the plain path of a cell's network. counted: (uint8 images, labels)."""
    def network():
        model = models.load(models.place(checkpoint, checkpoints), sigma).requires_grad_(False)
        strengthen(model, strength)
        return model

    with seeded(SEED, "augmentation"):
        cropped, whole, y = pixels(crop_and_flip(counted[0])), pixels(counted[0]), counted[1]
    with autocast("cpu", PRECISION):
        running = network()
        for x in (cropped, whole):
            x[::2] = attacked(running, x[::2], y[::2], SEED, "counted")
        return dict(running=running, counted=by_count(network(), cropped, SEED), whole=by_count(network(), whole, SEED),
                    draw=by_draw(network(), cropped[:BATCH]), batch=by_batch(network()))


def job(model, x, y, batch):
    """Which of one batch's images x [N, 3, H, W] (pixels) are right, clean and attacked through `model` itself: {attack: [DRAWS, N]}."""
    right = {}
    with autocast("cpu", PRECISION):
        for attack in ATTACKS:
            seen = attacked(model, x, y, SEED, batch) if attack == "pgd" else x
            votes = tally(model, seen, max(DRAWS), (SEED, batch))
            right[attack] = np.stack([(voted(votes, M) == y).numpy() for M in DRAWS])
    return right


# ------------------------------------------------------------------------------------------------ the record


def average(values):
    """The mean of values [N] in percent and its 95 % interval over batches, whose images share draws and statistics."""
    return {name: round(100 * value, 3) for name, value in zip(("mean", "low", "high"), interval_of(values, BATCH))}


def rows(found):
    """The record's rows: of each attack and M the accuracy by each kind of statistics, and what it has more than by running ones.

    found: {statistics: {attack: which images are right [DRAWS, N]}}, of one cell.
    """
    out = []
    for (k, M), attack, statistics in product(enumerate(DRAWS), ATTACKS, found):
        right, running = (found[of][attack][k].astype(float) for of in (statistics, STATISTICS[0]))
        row = dict(statistics=statistics, attack=attack, M=M, n=len(right), accuracy=average(right))
        out.append(row if statistics == STATISTICS[0] else row | dict(more=average(right - running)))
    return out


def measure(path=RECORD, n=1000, checkpoints=CHECKPOINTS, results=RESULTS, counted=None, progress=True):
    """Ask the network of every cell of the first n test images, by all statistics, write the record, and return it.

    Cut off, it goes on after its last finished batch, kept in `results` until the record is written. counted: uint8 images and
    labels to count statistics on, COUNTED training images where none are given. Raises ValueError for an n that is no multiple of BATCH,
    two of which an interval needs, and for a file at `path` that is no record, FileNotFoundError where a network or CIFAR-10 is
    missing, and FileExistsError where the record is there.
    """
    runs.in_batches(n, BATCH)
    read_other(path, "batchnorm", ("rows",))
    refuse_to_replace(path)
    said = {name: models.about(models.place(name, checkpoints)) for name in NETWORKS}
    digests = {name: of["digest"] for name, of in said.items()}
    parts = Path(results) / ".partial" / "batchnorm"
    x, y = images("sample-test" if n <= 500 else "test", n)  # the sample is the first 500, and needs no download
    counted = images("train", COUNTED) if counted is None else counted
    with runs.in_parts(parts, [digests, SETTINGS, CELLS], runs.provenance(describe("cpu"))) as (here, file_of):
        asked = None
        jobs = list(product(CELLS, STATISTICS, range(n // BATCH)))
        for cell, statistics, batch in tqdm(jobs, desc="batchnorm", mininterval=5, disable=not progress):
            done = file_of(*cell, statistics, batch)
            if done.exists():
                continue
            if asked != cell:
                asked, answering = cell, networks(*cell, counted, checkpoints)
            part = slice(batch * BATCH, (batch + 1) * BATCH)
            right = job(answering[statistics], pixels(x[part]), y[part], batch)
            write_npz(done, right)
        lines = []
        for cell in CELLS:
            found = {}
            for statistics in STATISTICS:
                parts = [read_npz(file_of(*cell, statistics, batch), runs.PART) for batch in range(n // BATCH)]
                found[statistics] = {attack: np.concatenate([part[attack] for part in parts], 1) for attack in ATTACKS}
            lines += [dict(zip(("checkpoint", "strength", "sigma"), cell)) | row for row in rows(found)]
        about = [dict(checkpoint=name, digest=digests[name], label=of["label"], tier=of["tier"]) for name, of in said.items()]
        record = dict(kind="batchnorm", tier=runs.tier("cpu", "test", n), split="test", n=n, settings=SETTINGS, networks=about,
                      rows=lines, **here)
        runs.write_json(path, record)
    return record


def main(arguments=None):
    command("siam.studies.batchnorm", "Measure what BatchNorm's statistics change under noise.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
