"""Section 3.4, carried out: noise and attack on a linear SVM, and what noise does to the gradient of a real network.

    python -m siam.studies.svm

fits the SVM, takes the gradients, and writes one record, `RECORD`, which `siam.pages.svm` reads. The formulas, with their
letters and units, are in `siam.hinge`.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from siam import models, runs
from siam.attacks import error_of, gradient
from siam.data import images, pixels
from siam.devices import describe
from siam.files import command, read_npz, read_other, refuse_to_replace, write_npz
from siam.folding import Folded, without_noise
from siam.hinge import PIXEL_SIGMA, hinge
from siam.paired import interval_of
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded

RECORD = RESULTS / "svm" / "argument.json"
CLASSES = (0, 6)  # airplane and frog, of all pairs we tried one that a linear SVM tells apart well
COST = 1e-3  # C of the SVM
EPSILON = 8 / 255  # pixel units


# --------------------------------------------------------------------------------------------------- the SVM itself


def fit(x, y, cost=COST, rounds=20):
    """(w [d], b, relative duality gap) of the SVM min ‖(w, b)‖²/2 + cost Σ hinge, by dual coordinate ascent.

    x [n, d], y [n] = ±1. The pixels' mean is taken off first and put into b; b is regularised as w is.
    """
    mean = x.mean(0)
    x = np.hstack([x - mean, np.ones((len(x), 1), x.dtype)])
    squares, w, dual = (x * x).sum(1), np.zeros(x.shape[1], x.dtype), np.zeros(len(x), x.dtype)
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for i in rng.permutation(len(x)):
            new = np.clip(dual[i] - (y[i] * (x[i] @ w) - 1) / squares[i], 0, cost)
            w += (new - dual[i]) * y[i] * x[i]
            dual[i] = new
    primal = w @ w / 2 + cost * hinge(y * (x @ w)).sum()
    return w[:-1], float(w[-1] - mean @ w[:-1]), float((primal - (dual.sum() - w @ w / 2)) / primal)


def measure_svm(draws=20_000):
    """Fit on the training images of two classes and measure on their test images: the record's part "svm"."""
    def two(split):
        x, y = images(split)
        mine = (y == CLASSES[0]) | (y == CLASSES[1])
        return pixels(x[mine]).flatten(1).double().numpy(), np.where(y[mine].numpy() == CLASSES[0], 1, -1)

    x, y = two("train")
    w, b, gap = fit(x, y)
    test, labels = two("test")
    margins = labels * (test @ w + b)
    # The noise is drawn in all 3,072 pixels, and the attack is the image it makes: nothing of the closed form is used.
    rng, chosen, losses = np.random.default_rng(0), np.argsort(margins)[50 :: len(margins) // 12], []
    sigmas = (PIXEL_SIGMA, 4 * PIXEL_SIGMA, 16 * PIXEL_SIGMA)
    for _ in range(draws // 1000):
        eta = rng.standard_normal((1000, len(w)))
        attacked = test[chosen] - labels[chosen, None] * EPSILON * np.sign(w)
        losses.append([hinge(labels[chosen] * ((attacked @ w)[None] + (s * eta @ w)[:, None] + b)) for s in sigmas])
    losses = np.concatenate(losses, 1)  # [σ, draws, images]
    monte_carlo = [
        dict(sigma=s, margin=float(margins[image]), mean=float(of.mean()), error=float(of.std(ddof=1) / draws**0.5))
        for s, per_image in zip(sigmas, losses)
        for image, of in zip(chosen, per_image.T)
    ]
    return dict(
        classes=list(CLASSES), cost=COST, gap=gap, trained=len(y), right=int((margins > 0).sum()), n=len(margins),
        l1=float(np.abs(w).sum()), l2=float(np.sqrt(w @ w)), dimension=len(w), epsilon=EPSILON, draws=draws,
        monte_carlo=monte_carlo, margins=np.round(margins, 4).tolist(),
    )


# -------------------------------------------------------------------------------------- a real network's gradients

# (network, its layers' noise on, σ of the input noise in normalised units)
SETTINGS = [("cpni-w-long-0", True, sigma) for sigma in (0.0, 0.24, 0.48)]
SETTINGS += [("plain-adversarial-long-0", False, sigma) for sigma in (0.24, 0.48)]
EDGES = np.linspace(-1, 1, 81)
AVERAGED = (1, 2, 4, 8, 16, 32)  # m
STEPS = ("none", "random", "still", "single", "expected")  # where an image goes by one step of ε
BATCH = 5  # images that share the draws of the layers' noise: few, as the batches are the sample of all intervals


def cosine(a, b):
    """The cosine of the angle between images [N, …] and [N, …], per image; 0 where one of them is 0."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-300)


def gradients(model, x, y, sigma, draws, key):
    """Yield (gradient, η), both [N, 3, H, W] in pixel units, of `draws` single passes over pixels x at labels y.

    model: a `Folded` without input noise; η is added here, where it can be looked at: Gaussian, σ in normalised units.
    """

    for k in range(draws):
        with seeded(*key, k):
            eta = sigma * model.std * torch.randn_like(x)
            yield gradient(error_of(model, y), x + eta), eta


def directions(noiseless, model, x, y, sigma, draws, passes, batch=0):
    """How far single noisy gradients stray from the expected direction v: a dict of arrays, one row per image.

    batch: a number that fixes all draws, which the images share. v: the sign of the mean of `draws` gradients; what is compared with
    it comes from `draws` others. along [N, draws]: cosine of the one-pass attack sign(g) and v. noise [N, draws]: cosine of what of
    the attack is off v and what of η is. averaged [N, len(AVERAGED)]: as along, for the sign of the mean of m gradients. still [N]: for
    the gradient with all noise off. losses [N, len(STEPS)]: expected cross-entropy after one step of ε, over `passes` fresh noisy passes.
    """

    v = sum(g for g, _ in gradients(model, x, y, sigma, draws, ("reference", batch))).sign()
    across = lambda t: t - v * (t * v).mean((1, 2, 3), keepdim=True)  # noqa: E731  v has entries of ±1
    along, noise, averaged, single, total = [], [], [], [], 0
    for k, (g, eta) in enumerate(gradients(model, x, y, sigma, draws, ("drawn", batch))):
        attack, total = g.sign(), total + g
        along.append(cosine(attack, v))
        noise.append(cosine(across(attack), across(eta)))
        if k + 1 in AVERAGED:
            averaged.append(cosine(total.sign(), v))
        if k < 4:
            single.append(attack)
    still = gradient(error_of(noiseless, y), x).sign()
    with seeded("random sign", batch):
        random = torch.randn_like(x).sign()

    def loss(step):
        moved, found = (x + EPSILON * step).clamp(0, 1), 0
        for k in range(passes):
            with torch.no_grad(), seeded("loss", batch, k):
                found = found + error_of(model, y)(moved + sigma * model.std * torch.randn_like(x)).double()
        return found / passes

    losses = [loss(0 * x), loss(random), loss(still), sum(map(loss, single)) / len(single), loss(v)]
    stacked = {"along": along, "noise": noise, "averaged": averaged, "losses": losses}
    return {name: torch.stack(rows, 1).numpy() for name, rows in stacked.items()} | dict(still=cosine(still, v).numpy())


def summary(found):
    """What the record keeps of `directions` of all images: histograms, means and their 95 % intervals over batches."""
    interval = partial(interval_of, batch=BATCH)
    losses = dict(zip(STEPS, found["losses"].T))
    gains = {name: interval(losses[name] - losses["none"]) for name in losses if name != "none"}
    # Paired, image by image: what one noisy gradient lacks of v, and of the gradient with all noise off.
    gains |= {name: interval(losses[of] - losses["single"]) for name, of in (("lost", "expected"), ("off", "still"))}
    return dict(
        along=np.histogram(found["along"], EDGES)[0].tolist(), mean=interval(found["along"].mean(1)),
        quantiles=np.quantile(found["along"], [0.05, 0.5, 0.95]).tolist(), still=interval(found["still"]),
        averaged=[interval(column) for column in found["averaged"].T],
        noise=interval(found["noise"].mean(1)), noise_spread=float(found["noise"].std()),
        none=interval(losses["none"]), gains=gains,
    )


def measure(path=RECORD, n=500, draws=32, passes=8, checkpoints=CHECKPOINTS, results=RESULTS):
    """Measure all of it, the gradients at the first n images of the shipped test sample, write the record and return its path.

    Cut off, it goes on after its last finished batch, kept in `results` until the record is written. Raises FileExistsError where there
    is a record, and ValueError for a file that is none and for an n that is no multiple of BATCH, two of which an interval needs.
    """
    runs.in_batches(n, BATCH)
    read_other(path, "svm", ("svm", "directions"))
    refuse_to_replace(path)
    of_svm = measure_svm()
    x, y = images("sample-test", n)
    batches = list(zip(pixels(x).split(BATCH), y.split(BATCH)))
    digests = {name: models.about(models.place(name, checkpoints))["digest"] for name, *_ in SETTINGS}
    asked = dict(draws=draws, passes=passes, batch=BATCH, precision="fp32")
    parts = Path(results) / ".partial" / "svm"
    with runs.in_parts(parts, [digests, SETTINGS, asked], runs.provenance(describe("cpu"))) as (here, file_of):
        rows = []
        for checkpoint, layers, sigma in SETTINGS:
            noiseless, model = (form(models.load(models.place(checkpoint, checkpoints), 0.0)) for form in (without_noise, Folded))
            found = []
            for batch, (seen, labels) in enumerate(tqdm(batches, desc=f"{checkpoint} σ = {sigma:g}", mininterval=5)):
                file = file_of(checkpoint, sigma, batch)
                if not file.exists():
                    write_npz(file, directions(noiseless, model, seen, labels, sigma, draws, passes, batch))
                found.append(read_npz(file, runs.PART))
            of_all = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
            rows.append(dict(checkpoint=checkpoint, digest=digests[checkpoint], layers=layers, sigma=sigma, **summary(of_all)))
        of_directions = dict(split="sample-test", n=n, edges=EDGES.tolist(), settings=rows, **asked)
        return runs.write_json(path, dict(kind="svm", tier="cpu", svm=of_svm, directions=of_directions, **here))


def main(arguments=None):
    command("siam.studies.svm", "Measure what section 3.4 argues.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
