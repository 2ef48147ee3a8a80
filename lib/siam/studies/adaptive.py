"""Attackers who know that the network is random: noise off, more steps and draws, at the vote, at the border; and a blind one.

    python -m siam.studies.adaptive

A defence is as good as the best attack that was made on it, and an attack that a defence was published with need not be that
(Tramèr et al., 2020). Nearly every attacker here is PGD in the ball of ε = 8/255 from a random start, white-box. What may differ is
whether it takes its gradients with all noise off, how many draws of it a step averages, how many steps of what length there are, and
what it maximises, the mean over its draws of

- the cross-entropy of a pass: the paper's EPGD;
- 1 - p_y of a pass: its mean is what soft smoothing, eq. (9), lacks of the right class, and its gradient points where that of the
  smoothed classifier's cross-entropy does, the objective of Salman et al. (2019);
- the lead of the best wrong class's logit over the right one's;
- the lead of one wrong class, for each of several in turn, of which the best image is kept (Gowal et al., 2019).

One attacker adapts its steps: AutoAttack as it is for random networks, and as it is for those without noise (Croce and Hein, 2020).
One is blind: it sees no gradient, only what the passes say, and searches at random (`siam.attacks.square`). Where such a one takes more
than those that follow gradients, the gradients are of no use (Athalye et al., 2018).

A network's votes, prediction smoothing, draw the same noise under every attack, and attacks that take PGD's steps once start from the
same random places, so that two attackers are compared image by image. A network without any noise cannot tell some attackers from
others: those start from other places, so that it faces as many. What this writes, `RECORD`, is read by `siam.pages.adaptive`, which
draws the page.
"""

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from siam import bits, models, runs
from siam.attacks import apgd, error_of, pgd, refuse_training, square, strongest
from siam.data import images, pixels
from siam.devices import autocast, describe
from siam.files import added_to, command, read_npz, write_npz
from siam.folding import Folded, without_noise
from siam.models import digest_of
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.smoothing import RULES, powers_of_two, tally, vote, voted


def miss_of(model, y):
    """The objective 1 - p_y of a pass, [N]."""
    refuse_training(model)
    return lambda x: 1 - model(x).float().softmax(1).gather(1, y[:, None])[:, 0]


def lead_of(model, y):
    """The objective of the lead that the best wrong class has in logits, [N]."""
    refuse_training(model)

    def lead(x):
        logits = model(x).float()
        own = logits.gather(1, y[:, None])
        return (logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True) - own)[:, 0]

    return lead


def ahead_of(model, y, target):
    """The objective of the lead that the class `target` [N] has in logits, [N]."""
    refuse_training(model)

    def ahead(x):
        logits = model(x).float()
        return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]

    return ahead


def dlr_of(model, y):
    """The objective of the difference of logits ratio (Croce and Hein, 2020), [N]: the lead of the best wrong class over the lead of the
    first class over the third, which no scale of the logits changes."""
    refuse_training(model)

    def ratio(x):
        logits = model(x).float()
        own = logits.gather(1, y[:, None])[:, 0]
        first, second, third = logits.topk(3).values.T
        return (torch.where(own == first, second, first) - own) / (first - third + 1e-12)

    return ratio


def dlr_towards(model, y, target):
    """The objective of the targeted ratio (Croce and Hein, 2020), [N]: the lead of the class `target` [N] over the right one, over the
    lead of the first class over the mean of the third and the fourth."""
    refuse_training(model)

    def ratio(x):
        logits = model(x).float()
        first, _, third, fourth = logits.topk(4).values.T
        ahead = logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])
        return ahead[:, 0] / (first - (third + fourth) / 2 + 1e-12)

    return ratio


class Attacker(NamedTuple):
    """PGD with `steps` of ε / `parts` on the mean of `samples` draws of an objective; still: all noise is off meanwhile."""

    objective: object
    steps: int
    samples: int
    parts: int
    still: bool = False

    def __call__(self, model, still, x, y):
        of = self.objective(still if self.still else model, y)
        return pgd(of, x, epsilon=EPSILON, step_size=EPSILON / self.parts, steps=self.steps, samples=self.samples)

    def without_noise(self):
        same = error_of if self.objective is miss_of else self.objective
        return self._replace(objective=same, samples=1, still=False)


class Summed(NamedTuple):
    """PGD with `steps` of ε / 4 on the mean of `samples` draws of the cross-entropy, along the sum of all its gradients so far, as the
    authors' published code has it."""

    steps: int
    samples: int

    def __call__(self, model, still, x, y):
        size = dict(epsilon=EPSILON, step_size=EPSILON / 4)
        return pgd(error_of(model, y), x, steps=self.steps, samples=self.samples, summed=True, **size)

    def without_noise(self):
        return self._replace(samples=1)


@torch.no_grad()
def nearest_wrong(model, x, y, classes, samples=1):
    """The `classes` wrong classes of the largest mean logits over `samples` passes, nearest first: [classes, N]."""
    logits = sum(model(x).float() for _ in range(samples))
    return logits.scatter(1, y[:, None], -torch.inf).topk(classes).indices.T


class EachClass(NamedTuple):
    """Such PGD towards each of the `classes` nearest wrong classes, by the mean logits of `samples` passes over the image as it is; kept is
    the image of the largest lead, the mean of `judged` draws."""

    classes: int
    steps: int
    samples: int
    parts: int
    judged: int

    def __call__(self, model, still, x, y):
        nearest = nearest_wrong(model, x, y, self.classes, self.samples)
        each = [Attacker(partial(ahead_of, target=target), self.steps, self.samples, self.parts) for target in nearest]
        found = [attacker(model, still, x, y) for attacker in each]
        return strongest(lead_of(model, y), found, self.judged)

    def without_noise(self):
        return self._replace(samples=1, judged=1)


def autoattack(objectives, model, x, y, steps, samples=1, judged=1):
    """Auto-PGD on the mean of `samples` draws of the first objective, then on each of the next for the images that are still right by the
    votes of `judged` passes; kept is the image of the largest lead, the mean of as many draws. An objective of `objectives` is a function
    of which images [N] are still right."""
    found = x
    for objective in objectives:
        draws = int(torch.randint(2**62, ()))
        right = voted(tally(model, found, judged, ("judged", draws)), judged) == y
        if right.any():
            attacked = apgd(objective(right), x[right], epsilon=EPSILON, steps=steps, samples=samples)
            found = found.clone()
            found[right] = strongest(lead_of(model, y[right]), [found[right], attacked], judged)
    return found


class AutoAttack(NamedTuple):
    """AutoAttack as it is for random networks: `autoattack` on each of `objectives`."""

    objectives: tuple
    steps: int
    samples: int
    judged: int

    def __call__(self, model, still, x, y):
        each = [lambda right, of=of: of(model, y[right]) for of in self.objectives]
        return autoattack(each, model, x, y, self.steps, self.samples, self.judged)

    def without_noise(self):
        return AutoAttackStill(error_of, dlr_towards, 9, self.steps)


class AutoAttackStill(NamedTuple):
    """The Auto-PGD of AutoAttack as it is for networks without noise, whose FAB and Square Attack are left out: `autoattack` on the
    objective `first`, `then` on the one towards each of the `classes` nearest wrong classes."""

    first: object
    then: object
    classes: int
    steps: int

    def __call__(self, model, still, x, y):
        each = [lambda right: self.first(model, y[right])]
        for target in nearest_wrong(model, x, y, self.classes):
            each.append(lambda right, target=target: self.then(model, y[right], target[right]))
        return autoattack(each, model, x, y, self.steps)


class Blind(NamedTuple):
    """The Square Attack on the lead of the best wrong class, each of `queries` trials judged by `samples` draws."""

    queries: int
    samples: int

    def __call__(self, model, still, x, y):
        return square(lead_of(model, y), x, epsilon=EPSILON, queries=self.queries, samples=self.samples)

    def without_noise(self):
        return self._replace(samples=1)


ATTACKERS = {  # in the order of the page
    "no gradients": Blind(500, 2),
    "PGD": Attacker(error_of, 7, 1, 4),
    "EPGD": Attacker(error_of, 7, 8, 4),
    "PGD, summed": Summed(7, 1),
    "EPGD, summed": Summed(7, 8),
    "noise off": Attacker(error_of, 7, 1, 4, still=True),
    "noise off, 20 steps": Attacker(error_of, 20, 1, 8, still=True),
    "noise off, aimed at the border": Attacker(lead_of, 20, 1, 8, still=True),
    "EPGD, 20 steps": Attacker(error_of, 20, 8, 8),
    "aimed at the soft vote": Attacker(miss_of, 20, 8, 8),
    "aimed at the border": Attacker(lead_of, 20, 8, 8),
    "aimed at the border, 32 draws": Attacker(lead_of, 20, 32, 8),
    "aimed at three classes in turn": EachClass(3, 20, 8, 8, judged=32),
    "PGD, 20 steps": Attacker(error_of, 20, 1, 8),
    "PGD, 160 steps": Attacker(error_of, 160, 1, 16),
    "aimed at the border, 160 steps": Attacker(lead_of, 160, 1, 16),
    "AutoAttack": AutoAttack((error_of, dlr_of), 100, 20, judged=32),
}
RECORD = RESULTS / "adaptive" / "record.json"
# checkpoint: σ, the paper's for this network, and the largest M
NETWORKS = {"plain-adversarial-long-0": (0.0, 1), "cpni-w-long-0": (0.24, 64), "gauss-long-0": (0.37, 64),
            "epgd-diverged-long-0": (0.18, 64), "epgd-converged-long-0": (0.22, 64)}
EPSILON = 8 / 255
SEED, PRECISION, BATCH = 0, "bf16", 100
SETTINGS = dict(epsilon=255 * EPSILON, seed=SEED, precision=PRECISION, batch=BATCH)


def one_batch(attacker, model, still, x, y, M, batch, again):
    """`measure_one` of one batch, whose number seeds its draws."""
    x = pixels(x)
    with autocast("cpu", PRECISION):
        if attacker is not None:
            with seeded(SEED, batch, "attack", *again):
                x = attacker(model, still, x, y)
        return (vote(RULES["prediction"](tally(model, x, M, (SEED, batch)))) == y).numpy()


def measure_one(attacker, model, still, x, y, M, again=(), kept=None):
    """Which images are right [K, N] by the votes of 1, 2, 4, … M passes (prediction smoothing), attacked or, where `attacker` is
    None, clean; and the seconds that it took. x: bytes [N, 3, 32, 32], labels y [N]; again: what tells the attack's start from that
    of others, a tuple. kept: a function of a batch's number, the file of its result, which is written, or read where it is there."""
    right, seconds = [], 0.0
    batches = list(zip(x.split(BATCH), y.split(BATCH)))
    for batch, (seen, labels) in enumerate(tqdm(batches, desc="batches", mininterval=5, leave=False)):
        file = kept and kept(batch)
        if file and file.exists():
            found = read_npz(file, runs.PART)
        else:
            began = time.perf_counter()
            found = dict(right=one_batch(attacker, model, still, seen, labels, M, batch, again), seconds=time.perf_counter() - began)
            if file:
                write_npz(file, found)
        right.append(found["right"])
        seconds += float(found["seconds"])
    return np.hstack(right), seconds


def met(attackers, noisy):
    """{name: (attacker as a network meets it, `again` of `measure_one`)}: without noise there is nothing to average or switch off,
    1 - p_y of the one pass points where its cross-entropy does, and of attackers that are then one and the same each has a start of
    its own."""
    found = {}
    for name, attacker in attackers.items():
        if not noisy:
            attacker = attacker.without_noise()
        before = sum(attacker == other for other, _ in found.values())
        found[name] = attacker, (before,) if before else ()
    return found


def said_of(attacker):
    """The settings of an attacker as a record has them, {name: value}: of functions their names, by which, with the numbers, it is known.

    Raises ValueError, one line, for what is no NamedTuple of numbers, texts and functions that have a name.
    """
    def named(value):
        if isinstance(value, tuple):
            return [named(each) for each in value]
        if isinstance(value, (int, float, str)):
            return value
        if getattr(value, "__name__", "<lambda>") == "<lambda>":
            raise ValueError(f"{value!r} of the attacker {attacker!r} is not allowed: give numbers, texts and functions that have a name")
        return value.__name__

    if not hasattr(attacker, "_asdict"):
        raise ValueError(f"attacker {attacker!r} is not allowed: give a NamedTuple, as those of siam.studies.adaptive are")
    return {key: named(value) for key, value in attacker._asdict().items()}


def measure(path=RECORD, networks=NETWORKS, attackers=ATTACKERS, checkpoints=CHECKPOINTS, results=RESULTS, split="test", n=1000):
    """Measure every network, clean and under every attacker, and write the record after each; what is there of this very network
    and attacker is kept, what there is of other attackers dropped. Cut off, it goes on after its last finished batch, kept in `results`
    until the record has it. Returns the record's path.

    Raises ValueError, one line, for a file at `path` that is no record or was made with other settings, for an n that is no multiple of
    BATCH, two of which an interval needs, and for attackers as `said_of` does; FileNotFoundError for a network that is not here.
    """
    runs.in_batches(n, BATCH)
    for attacker in attackers.values():
        said_of(attacker)  # what is wrong with one is said before the first
    fixed = SETTINGS | dict(split=split, n=n)
    record = added_to(path, "adaptive", "cells", fixed)
    x, y = images(split, n)
    names, parts = ["", *attackers], Path(results) / ".partial" / "adaptive"
    cells = {(cell["checkpoint"], cell["attacker"]): cell for cell in record["cells"]}
    for checkpoint, (sigma, M) in networks.items():
        file = models.place(checkpoint, checkpoints)
        digest, about = digest_of(checkpoint, checkpoints, results), models.about(file)
        noisy = sigma > 0 or about["variant"] != "plain"
        of_network = dict(checkpoint=checkpoint, digest=digest, sigma=sigma, noisy=noisy, draws=list(powers_of_two(M)))
        for name, (attacker, again) in ({"": (None, ())} | met(attackers, noisy)).items():
            identity = of_network | dict(attacker=name, again=list(again)) | (said_of(attacker) if attacker else {})
            if identity.items() <= cells.get((checkpoint, name), {}).items():
                continue
            with runs.in_parts(parts, identity | fixed, runs.provenance(describe("cpu"))) as (shared, file_of):
                model, still = Folded(models.load(file, sigma)), without_noise(models.load(file, 0.0))
                right, seconds = measure_one(attacker, model, still, x, y, M, again, file_of)
                cells[checkpoint, name] = identity | dict(
                    label=about["label"], trained=about["tier"], tier=runs.tier(about["tier"], split, n), right=bits.pack(right),
                    seconds=round(seconds, 1), commit=shared["commit"])
                # In the order in which networks came: of several that have one label, the first has it for a name on the page.
                there = [(of, one) for of in dict.fromkeys(of for of, _ in cells)
                         for one in (names if of in networks else [one for other, one in cells if other == of])]
                record["cells"] = [cells[key] for key in there if key in cells]
                record |= fixed | runs.grown(record, path, shared)
                runs.write_json(path, record)
            print(f"{checkpoint}, {name or 'clean'}: {100 * right[-1].mean():.1f} %", flush=True)
    return path


def main(arguments=None):
    command("siam.studies.adaptive", "Attack the networks in ways that the paper did not try.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
