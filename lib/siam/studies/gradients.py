"""Do a network's gradients look like something? Large targeted attacks, judged by class means and by other networks.

    python -m siam.studies.gradients

Section 4.2 of the paper, after Kaur et al. (2019): if gradients are perceptually aligned, a strong attack towards a
class makes the image look like that class. "Looks like" is measured twice: by the cosine between what the attack added
and the way to the mean image of the class, and by how often a network that was not attacked names the class. What it
writes, `RECORD` and its pictures beside it, is read by `siam.pages.gradients`, which draws the page.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, one_hot
from tqdm import tqdm

from siam import models, runs
from siam.attacks import error_of, gradient, towards
from siam.cifar10 import CLASSES
from siam.data import images, pixels
from siam.devices import autocast, describe
from siam.files import command, read_npz, read_other, refuse_to_replace, write_npz
from siam.folding import Folded
from siam.paired import interval_of
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.smoothing import RULES, tally


class Arm(NamedTuple):
    """Who is attacked: name, checkpoint, σ in normalised units, noise draws per gradient."""

    name: str
    checkpoint: str
    sigma: float
    samples: int


RECORD = RESULTS / "gradients" / "record.json"
ARMS = {  # in the order of the page
    "plain": Arm("plain", "plain-cpu-0", 0.0, 1),
    "plain-noise-1": Arm("plain, σ = 0.24", "plain-cpu-0", 0.24, 1),
    "plain-noise-8": Arm("plain, σ = 0.24", "plain-cpu-0", 0.24, 8),
    "trained-1": Arm("trained on noise, σ = 1", "plain-sigma-1-cpu-0", 1.0, 1),
    "trained-8": Arm("trained on noise, σ = 1", "plain-sigma-1-cpu-0", 1.0, 8),
    "adversarial": Arm("plain adversarial", "plain-adversarial-long-0", 0.0, 1),
    "cpni-1": Arm("CPNI-W", "cpni-w-long-0", 0.0, 1),
    "cpni-8": Arm("CPNI-W", "cpni-w-long-0", 0.0, 8),
    "gauss-1": Arm("Gauss, σ = 0.24", "gauss-long-0", 0.24, 1),
    "gauss-8": Arm("Gauss, σ = 0.24", "gauss-long-0", 0.24, 8),
    # The control, not drawn: a plain network's perturbations stay shorter than they may be; would these be, in a robust one?
    "short": Arm("plain adversarial, radius 3", "plain-adversarial-long-0", 0.0, 1),
}
VARIANTS = ("targeted", "untargeted")
JUDGES = {"robust": "pni-w-long-0", "plain": "plain-cpu-0"}  # never attacked, but for the plain one, in its own columns
EPSILON = 6.0  # radius of the L2 ball in pixel units (pixels in [0, 1]): on average 28/255 per pixel and channel
SHORT = 3.0  # the radius of the control
STEPS, STEP = 16, 1 / 8  # the length of a step as a share of the radius
VOTES = 8  # passes of every noisy network that is asked for a class, soft smoothing
DRAWS = (1, 8, 32)  # over how many draws the input gradients are averaged; nested
BATCH = 100  # images that share a draw of the layers' noise; a multiple of 10, so that batches are balanced
SHOWN = (0, 2, 4, 6, 8)  # the grids show the first test image of every second class
SEED, PRECISION = 0, "bf16"
SETTINGS = dict(norm="L2", epsilon=EPSILON, short=SHORT, steps=STEPS, step=STEP, votes=VOTES, batch=BATCH, shown=list(SHOWN),
                draws=list(DRAWS), seed=SEED, precision=PRECISION)


def norm(d):
    """The L2 norm of each image of d [N, C, H, W], shaped [N, 1, 1, 1] to divide by."""
    return d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def unit(g):
    """Each image of g [N, C, H, W] scaled to L2 norm 1; all zeros stay zeros.

    Divided by its largest value first: the gradient of a network that is sure of itself is so small (1e-20 and less)
    that its square is no number in 32 bits.
    """
    g = g / g.abs().amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    return g / norm(g).clamp_min(1e-12)


def l2_pgd(objective, x, *, epsilon, step, steps, samples=1):
    """Steps of length `step` along the gradient from x [N, 3, H, W], each brought back to the L2 ball and to [0, 1].

    All lengths are L2 norms in pixel units. Unlike the sign in `siam.attacks.pgd`, the length of a step keeps large
    entries of the gradient large, so that a picture of the perturbation shows what the gradient points at.
    """
    adversarial = x
    for _ in range(steps):
        d = adversarial + step * unit(gradient(objective, adversarial, samples)) - x
        d = d * (epsilon / norm(d).clamp_min(1e-12)).clamp_max(1)
        adversarial = (x + d).clamp(0, 1)  # x lies in the cube, so the clamp takes no pixel further from it
    return adversarial


def wanted(y):
    """The target [N] of each image: its class y [N] plus 1, 2, … 9, 1, … in the order of the images of that class.

    Every class is aimed at from every other one, equally often where a class has a multiple of nine images.
    """
    classes = len(CLASSES)
    rank = (one_hot(y, classes).cumsum(0) - 1).gather(1, y[:, None])[:, 0]
    return (y + 1 + rank % (classes - 1)) % classes


def class_means(x, y, classes=len(CLASSES)):
    """The mean image of each class [classes, 3, H, W], pixels in [0, 1], of bytes x [N, 3, H, W] with labels y [N]."""
    return torch.stack([pixels(x[y == c]).mean(0) for c in range(classes)])


def alignment(d, x, means, towards, y):
    """How well d [N, 3, H, W] points from x to the mean image of class `towards` [N], and to others: two cosines [N].

    The second is the mean over the classes that are neither `towards` nor the image's own class y: what any blurred
    picture would get. means [classes, 3, H, W] and x are in pixel units, d in any.
    """
    ways = (means[None] - x[:, None]).flatten(2)
    cosines = cosine_similarity(d.flatten(1)[:, None], ways, dim=2)
    aimed, own = (one_hot(c, len(means)).bool() for c in (towards, y))
    others = ~(aimed | own)
    return cosines[aimed], (cosines * others).sum(1) / others.sum(1)


def scores(model, x, key):
    """The summed class probabilities [N, classes] of VOTES passes of `model` at x (pixels), noise seeded from `key`."""
    return RULES["soft"](tally(model, x, VOTES, key))[-1]


def network(name, sigma=0.0, checkpoints=CHECKPOINTS):
    """The fast form of a checkpoint with input noise σ (normalised units)."""
    return Folded(models.load(models.place(name, checkpoints), sigma))


def attack(arm, variant, x, y, target, means, batch, judges, victim):
    """Attack the images x [N, 3, 32, 32] (pixels) of one batch; {name: values [N]}, and the attacked images.

    aim: the class whose looks are asked about: the target, or, untargeted, the wrong class that the attacked network
    itself now finds most likely. own, robust, plain: the class each network names.
    """
    samples, epsilon = ARMS[arm].samples, SHORT if arm == "short" else EPSILON
    objective = towards(victim, target) if variant == "targeted" else error_of(victim, y)
    with autocast("cpu", PRECISION):
        with seeded(SEED, batch, variant, "attack"):
            attacked = l2_pgd(objective, x, epsilon=epsilon, step=STEP * epsilon, steps=STEPS, samples=samples)
        said = scores(victim, attacked, (SEED, batch, "own"))
        judged = {name: scores(judge, attacked, (SEED, batch, name)).argmax(1) for name, judge in judges.items()}
    aim = target if variant == "targeted" else said.masked_fill(one_hot(y, said.shape[1]).bool(), -1).argmax(1)
    cosine, others = alignment(attacked - x, x, means, aim, y)
    values = dict(aim=aim, own=said.argmax(1), **judged, cosine=cosine, others=others, length=norm(attacked - x).flatten())
    return values, attacked


def slopes(arm, x, y, target, means, batch, victim):
    """The input gradient of the targeted objective at x, averaged over 1, 8, 32 draws: {draws: (values, gradient)}."""
    kept, total = {}, 0
    for i in range(max(DRAWS) if noisy(arm) else 1):
        with autocast("cpu", PRECISION), seeded(SEED, batch, "gradient", i):
            total = total + gradient(towards(victim, target), x)
        if i + 1 in DRAWS:
            cosine, others = alignment(total, x, means, target, y)
            kept[i + 1] = dict(cosine=cosine, others=others), total / (i + 1)
    return kept


def noisy(arm):
    """Whether a network draws noise at all."""
    return ARMS[arm].sigma > 0 or not ARMS[arm].checkpoint.startswith("plain")


def as_bytes(x):
    """Pixels [N, 3, H, W] in [0, 1] as uint8 [N, H, W, 3]."""
    return (255 * x).round().byte().permute(0, 2, 3, 1).numpy()


def signed_bytes(g):
    """Gradients [N, 3, H, W] as uint8 [N, H, W, 3]: 128 is zero; the 99th percentile of |g| of an image is 127 away."""
    scale = g.abs().flatten(1).quantile(0.99, dim=1).view(-1, 1, 1, 1).clamp_min(torch.finfo(g.dtype).tiny)
    return (128 + 127 * (g / scale).clamp(-1, 1)).round().byte().permute(0, 2, 3, 1).numpy()


def job(arm, batch, x, y, target, means, judges, checkpoints=CHECKPOINTS):
    """All there is to measure of one arm on one batch, as {name: array}: what a partial result holds."""
    of = ARMS[arm]
    victim = network(of.checkpoint, of.sigma, checkpoints)
    rows = [int((y == c).nonzero()[0]) for c in SHOWN]
    out = {}
    for variant in VARIANTS:
        values, attacked = attack(arm, variant, x, y, target, means, batch, judges, victim)
        out |= {f"{variant}/{key}": value.numpy() for key, value in values.items()}
        out[f"{variant}/shown"] = as_bytes(attacked[rows])
    if of.samples == 1 and arm != "short":  # those are the same networks as other arms
        for draws, (values, g) in slopes(arm, x, y, target, means, batch, victim).items():
            out |= {f"gradient-{draws}/{key}": value.numpy() for key, value in values.items()}
            if draws in (1, max(DRAWS)):  # the pictures in between show nothing more
                out[f"gradient-{draws}/shown"] = signed_bytes(g[rows])
    return out


# ------------------------------------------------------------------------------------------------ the record


def share(hits):
    """How many of hits [N] (booleans) are true, and the exact 95 % interval of their share."""
    count, n = int(hits.sum()), len(hits)
    low, high = runs.clopper_pearson(count, n)
    return {"count": count, "share": round(count / n, 4), "low": round(low, 4), "high": round(high, 4)}


def average(values):
    """The mean of values [N] and its 95 % interval over batches, whose images share the draws of the layers' noise."""
    return {name: round(value, 4) for name, value in zip(("mean", "low", "high"), interval_of(values, BATCH))}


def rows(arm, found, y, clean):
    """The rows of the record of one arm. found: {name: array [N]}; clean: {judge: class it names before the attack}."""
    out = []
    for variant in VARIANTS:
        of = {key.removeprefix(f"{variant}/"): value for key, value in found.items() if key.startswith(f"{variant}/")}
        hit = of["own"] == of["aim"]
        row = dict(arm=arm, attack=variant, n=len(y), fooled=share(hit), length=average(of["length"]))
        for judge in JUDGES:
            row[judge] = share(of[judge] == of["aim"])
            row[f"{judge}_before"] = share(clean[judge] == of["aim"])
        excess = of["cosine"] - of["others"]
        out.append(row | dict(cosine=average(of["cosine"]), others=average(of["others"]), excess=average(excess)))
    for draws in DRAWS:
        if f"gradient-{draws}/cosine" in found:
            cosine, others = (found[f"gradient-{draws}/{key}"] for key in ("cosine", "others"))
            row = dict(arm=arm, attack="gradient", n=len(y), draws=draws, cosine=average(cosine), others=average(others))
            out.append(row | dict(excess=average(cosine - others)))
    return out


def differences(found):
    """What averaging changes, image by image. found: {arm: {name: array [N]}}; an arm "…-8" averages, "…-1" does not."""
    out = []
    for arm in (arm.removesuffix("-1") for arm in found if arm.endswith("-1")):
        one, eight = found[f"{arm}-1"], found[f"{arm}-8"]
        pairs = [("gradient", draws, one, one, "gradient-1", f"gradient-{draws}") for draws in DRAWS[1:]]
        pairs += [(variant, 8, one, eight, variant, variant) for variant in VARIANTS]
        for what, draws, before, after, old, new in pairs:
            cosine, others = (after[f"{new}/{key}"] - before[f"{old}/{key}"] for key in ("cosine", "others"))
            out.append(dict(arm=f"{arm}-1", what=what, draws=draws, cosine=average(cosine), excess=average(cosine - others)))
    return out


def measure(path=RECORD, n=1000, checkpoints=CHECKPOINTS, results=RESULTS, means=None, progress=True):
    """Carry out all jobs of the first n test images that are not done yet, write the record and its pictures, and return the record.

    Cut off, it goes on after its last finished job, kept in `results` until the record is written. Raises ValueError for an n that
    is no multiple of BATCH, two of which an interval needs, and for a file at `path` that is no record, FileNotFoundError where the
    training images are missing, whose class means it needs, and FileExistsError where the record is there.
    """
    runs.in_batches(n, BATCH)
    read_other(path, "gradients", ("rows",))
    refuse_to_replace(path)
    names = sorted({arm.checkpoint for arm in ARMS.values()} | set(JUDGES.values()))
    digests = {name: models.about(models.place(name, checkpoints))["digest"] for name in names}
    partial = Path(results) / ".partial" / "gradients"
    x, y = images("sample-test" if n <= 500 else "test", n)  # the sample is the first 500, and needs no download
    x, target = pixels(x), wanted(y)
    means = class_means(*images("train")) if means is None else means
    judges = {judge: network(checkpoint, 0.0, checkpoints) for judge, checkpoint in JUDGES.items()}
    with runs.in_parts(partial, [digests, SETTINGS, ARMS, JUDGES], runs.provenance(describe("cpu"))) as (here, file_of):
        jobs = [(batch, arm) for batch in range(n // BATCH) for arm in ARMS]
        for batch, arm in tqdm(jobs, desc="gradients", mininterval=5, disable=not progress):
            done = file_of(batch, arm)
            if not done.exists():
                part = slice(batch * BATCH, (batch + 1) * BATCH)
                result = job(arm, batch, x[part], y[part], target[part], means, judges, checkpoints)
                write_npz(done, result)
        clean = {judge: [] for judge in JUDGES}
        with autocast("cpu", PRECISION):
            for batch, part in enumerate(x.split(BATCH)):
                for judge, net in judges.items():
                    clean[judge].append(scores(net, part, (SEED, batch, judge)).argmax(1).numpy())
        clean = {judge: np.concatenate(classes) for judge, classes in clean.items()}
        lines, pictures, values = [], {}, {}
        for arm in ARMS:
            parts = [read_npz(file_of(batch, arm), runs.PART) for batch in range(n // BATCH)]
            if arm == "short":
                parts = [{key: part[key] for key in part if not key.endswith("/shown")} for part in parts]
            pictures |= {f"{arm}/{key.removesuffix('/shown')}": parts[0][key] for key in parts[0] if key.endswith("/shown")}
            values[arm] = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if not key.endswith("/shown")}
            lines += rows(arm, values[arm], y.numpy(), clean)
        first = [int((y == c).nonzero()[0]) for c in SHOWN]
        pictures["source"] = as_bytes(x[first])
        shown = [{"class": CLASSES[y[i]], "target": CLASSES[target[i]], "position": i} for i in first]
        arms = [dict(arm=arm, **of._asdict(), noisy=noisy(arm)) for arm, of in ARMS.items()]
        record = dict(kind="gradients", tier=runs.tier("cpu", "test", n), split="test", n=n, settings=SETTINGS, arms=arms, judges=JUDGES,
                      checkpoints=digests, shown=shown, rows=lines, means="train", differences=differences(values),
                      judged_right={judge: share(classes == y.numpy()) for judge, classes in clean.items()}, **here)
        write_npz(Path(path).with_suffix(".npz"), pictures)
        runs.write_json(path, record)
    return record


def main(arguments=None):
    command("siam.studies.gradients", "Measure what large attacks make images look like.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
