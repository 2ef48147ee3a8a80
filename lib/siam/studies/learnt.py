"""Section 4.3: the strength of the input noise, learnt by gradient descent instead of chosen from a grid.

    python -m siam.studies.learnt

The network stays as it is; log σ alone is learnt, on training images that the network has not seen, so as to minimise

    (1 - w) L(clean images) + w L(images attacked by PGD at the present σ),

where L is the cross-entropy of the smoothed classifier of eq. (9): of the mean of M passes' softmax. One weight w of the
attack makes one point of the trade-off between clean and adversarial accuracy. The σ found, rounded to the paper's grid, is
then evaluated on test images like any other, with a record of its own. What this writes, `RECORD`, is read by
`siam.pages.learnt`, which draws the page.
"""

import time
from dataclasses import replace
from itertools import product
from math import log

import torch
from torch.nn.functional import nll_loss
from tqdm import tqdm

from siam import models, runs
from siam.attacks import error_of, pgd
from siam.data import images, pixels
from siam.devices import autocast, describe
from siam.evaluation import evaluate
from siam.files import added_to, command
from siam.folding import Folded
from siam.models import digest_of
from siam.noise import GaussianInput
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded

RECORD = RESULTS / "learnt" / "record.json"
NETWORKS = ("cpni-w-cpu-0", "gauss-cpu-0", "epgd-diverged-cpu-0", "epgd-converged-cpu-0")
WEIGHTS = (0.25, 0.5, 0.75, 1.0)  # w
CELLS = (*product(NETWORKS, (8,), WEIGHTS), *product(NETWORKS[:1], (1,), WEIGHTS))  # checkpoint, M, w
START, LEAST = 0.12, 0.004  # σ to begin with; σ below which it is none on the paper's grid, and learning ends there
DESCENT = ("sigmas", "clean", "adversarial")  # what `learn` returns
STEPS, BATCH, RATE, TAIL = 30, 100, 0.15, 10  # the rate of log σ falls to zero along a cosine; σ: mean of the TAIL last steps
EPSILON, ATTACK_STEPS = 8 / 255, 7
SEED, PRECISION, DRAWS = 0, "bf16", 64
SETTINGS = dict(start=START, steps=STEPS, batch=BATCH, rate=RATE, tail=TAIL, epsilon=255 * EPSILON, attack_steps=ATTACK_STEPS,
                split="heldout", seed=SEED, precision=PRECISION)


def smoothed_loss(model, x, y, M):
    """Mean over images of −log of the mean over M passes of the probability of y [N], at pixels x [N, 3, H, W]."""
    said = torch.stack([model(x).float().log_softmax(1) for _ in range(M)])
    return nll_loss(said.logsumexp(0) - log(M), y)


def slopes(model, x, y, M):
    """(loss, its derivative with respect to log σ) of `smoothed_loss`, one backward pass to σ alone."""
    loss = smoothed_loss(model, x, y, M)
    (slope,) = torch.autograd.grad(loss, model.input_noise.log_sigma)
    return float(loss.detach()), float(slope)


def learn(checkpoint, M, weight, checkpoints=CHECKPOINTS, steps=STEPS, batch=BATCH):
    """σ after each step (normalised units) and both losses before it, by Adam on log σ: three lists of `steps`."""
    network = models.load(models.place(checkpoint, checkpoints)).requires_grad_(False)
    network.input_noise = noise = GaussianInput(START, learnt=True)
    model = Folded(network)
    adam = torch.optim.Adam([noise.log_sigma], lr=RATE, betas=(0.8, 0.95))
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    x, y = images("heldout")
    sigmas, clean, adversarial = [], [], []
    for step in tqdm(range(steps), desc=checkpoint, mininterval=5, leave=False):
        # Common random numbers for all networks, M and w: what differs is what they make of them.
        with seeded(SEED, "learnt", step), autocast("cpu", PRECISION):
            pick = torch.randperm(len(y))[:batch]
            seen, labels = pixels(x[pick]), y[pick]
            attacked = pgd(error_of(model, labels), seen, epsilon=EPSILON, step_size=EPSILON / 4, steps=ATTACK_STEPS)
            losses, slope = zip(*(slopes(model, of, labels, M) for of in (seen, attacked)))
        noise.log_sigma.grad = torch.tensor((1 - weight) * slope[0] + weight * slope[1])
        adam.step()
        falling.step()
        with torch.no_grad():
            noise.log_sigma.clamp_(min=log(LEAST))
        sigmas.append(round(float(noise.sigma.detach()), 6))
        clean.append(round(losses[0], 5))
        adversarial.append(round(losses[1], 5))
    return sigmas, clean, adversarial


def found(sigmas):
    """The σ that a descent found, on the paper's grid of hundredths: the mean of its last steps."""
    last = sigmas[-TAIL:]
    return round(sum(last) / len(last), 2)


def named(cell):
    """What tells a cell of the record from the others, as CELLS has it."""
    return cell["checkpoint"], cell["M"], cell["weight"]


def measure(path=RECORD, cells=CELLS, checkpoints=CHECKPOINTS, results=RESULTS, n=1000, steps=STEPS, batch=BATCH):
    """Learn σ in every cell, evaluate what was found, and write the record after each. A descent that is there of this very network is
    kept, and evaluated where that is lacking.

    Raises ValueError, one line, for a record made with other settings.
    """
    settings = SETTINGS | dict(steps=steps, batch=batch)
    record = added_to(path, "learnt", "cells", settings)
    ranks = {cell: rank for rank, cell in enumerate(cells)}
    for checkpoint, M, weight in cells:
        others = [cell for cell in record["cells"] if named(cell) != (checkpoint, M, weight)]
        began, file = time.perf_counter(), models.place(checkpoint, checkpoints)
        digest = digest_of(checkpoint, checkpoints, results)
        kept = next((cell for cell in record["cells"] if cell not in others and cell["digest"] == digest), None)
        if kept and not file.exists():
            continue  # nothing can be evaluated anew
        if kept:
            descent = {name: kept[name] for name in DESCENT}
        else:
            descent = dict(zip(DESCENT, learn(checkpoint, M, weight, checkpoints, steps, batch)))
        asked = runs.EvaluationRun(checkpoint, digest, attack="pgd", sigma=found(descent["sigmas"]), draws=DRAWS, images=n,
                                   batch_size=max(1, n // 10), precision=PRECISION, seed=SEED)
        asked = [asked, replace(asked, attack="none")]
        left = [run for run in asked if not runs.finished(run, results)]
        if kept and not left and kept["evaluations"] == [run.id for run in asked]:
            continue
        for run in left:
            evaluate(run, checkpoints=checkpoints, results=results)
        said = models.about(file)
        shared = runs.provenance(describe("cpu"))
        this = dict(
            checkpoint=checkpoint, digest=digest, label=said["label"], tier=said["tier"], M=M, weight=weight,
            sigma=asked[0].sigma, **descent, evaluations=[run.id for run in asked],
            **{name: kept[name] for name in ("seconds", "commit")} if kept else dict(
                seconds=round(time.perf_counter() - began, 1), commit=shared["commit"]),
        )
        record["cells"] = sorted([*others, this], key=lambda cell: ranks.get(named(cell), -1))
        runs.write_json(path, record | settings | runs.grown(record, path, shared))
        print(f"{checkpoint}, M = {M}, w = {weight:g}: sigma = {asked[0].sigma:g}", flush=True)
    return path


def main(arguments=None):
    command("siam.studies.learnt", "Learn the strength of the input noise.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
