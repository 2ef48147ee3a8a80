"""Attackers who know that the network is random: with its noise off, with more steps, through the vote, towards the border.

    python -m siam.studies.adaptive

A defence is as good as the best attack that was made on it, and an attack that a defence was published with need not be that
(Tramèr et al., 2020). Every attacker here is PGD in the ball of ε = 8/255 from a random start, white-box, and differs from the
paper's two in three things alone: whether it takes its gradients with all noise off, how many steps of what length, and what it
maximises, the mean over its draws of

- the cross-entropy of a pass: the paper's EPGD;
- 1 - p_y of a pass: its mean is what soft smoothing, eq. (9), lacks of the right class, and its gradient points where that of the
  smoothed classifier's cross-entropy does (Salman et al., 2019);
- the lead of the best wrong class's logit over the right one's.

All are made on the same images with the same random numbers, and all votes draw the same noise, so that two attackers
are compared image by image. What this writes, `RECORD`, is read by `siam.pages.adaptive`, which draws the page.
"""

import time
from pathlib import Path
from typing import NamedTuple

import torch

from siam import bits, models, runs
from siam.attacks import error_of, pgd
from siam.data import images, pixels
from siam.devices import autocast, describe
from siam.evaluation import digest_of
from siam.files import command, read_other, refuse_unlike
from siam.folding import Folded, without_noise
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.smoothing import RULES, powers_of_two, tally, vote


def miss_of(model, y):
    """The objective 1 - p_y of a pass, [N]."""
    return lambda x: 1 - model(x).float().softmax(1).gather(1, y[:, None])[:, 0]


def lead_of(model, y):
    """The objective of the lead that the best wrong class has in logits, [N]."""
    def lead(x):
        logits = model(x).float()
        own = logits.gather(1, y[:, None])
        return (logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True) - own)[:, 0]

    return lead


class Attacker(NamedTuple):
    """PGD with `steps` of ε / `parts` on the mean of `samples` draws of an objective; still: all noise is off meanwhile."""

    objective: object
    steps: int
    samples: int
    parts: int
    still: bool = False


ATTACKERS = {  # in the order of the page
    "PGD": Attacker(error_of, 7, 1, 4),
    "EPGD": Attacker(error_of, 7, 8, 4),
    "noise off": Attacker(error_of, 7, 1, 4, still=True),
    "noise off, 20 steps": Attacker(error_of, 20, 1, 8, still=True),
    "EPGD, 20 steps": Attacker(error_of, 20, 8, 8),
    "through the vote, 20 steps": Attacker(miss_of, 20, 8, 8),
    "towards the border, 20 steps": Attacker(lead_of, 20, 8, 8),
}
RECORD = RESULTS / "adaptive" / "record.json"
# checkpoint: σ, the paper's for this network, and the largest M
NETWORKS = {"plain-adversarial-long-0": (0.0, 1), "cpni-w-long-0": (0.24, 64), "gauss-long-0": (0.37, 64),
            "epgd-diverged-long-0": (0.18, 64), "epgd-converged-long-0": (0.22, 64)}
EPSILON = 8 / 255
SEED, PRECISION, BATCH = 0, "bf16", 100
SETTINGS = dict(epsilon=255 * EPSILON, seed=SEED, precision=PRECISION, batch=BATCH)


def attacked(attacker, model, still, x, y):
    """Pixels x [N, 3, H, W] with labels y after an attack on `model`, or on `still`, the same network without noise."""
    of = attacker.objective(still if attacker.still else model, y)
    return pgd(of, x, epsilon=EPSILON, step_size=EPSILON / attacker.parts, steps=attacker.steps, samples=attacker.samples)


def measure_one(attacker, model, still, x, y, M):
    """Which images are right [K, N] by the votes of 1, 2, 4, … M passes (prediction smoothing), attacked or, where `attacker` is
    None, clean. x: bytes [N, 3, 32, 32], labels y [N]."""
    right = []
    for batch, (seen, labels) in enumerate(zip(x.split(BATCH), y.split(BATCH))):
        seen = pixels(seen)
        with autocast("cpu", PRECISION):
            if attacker is not None:
                with seeded(SEED, batch, "attack"):
                    seen = attacked(attacker, model, still, seen, labels)
            right.append(vote(RULES["prediction"](tally(model, seen, M, (SEED, batch)))) == labels)
    return torch.cat(right, 1).numpy()


def measure(path=RECORD, networks=NETWORKS, attackers=ATTACKERS, checkpoints=CHECKPOINTS, results=RESULTS, split="test", n=1000):
    """Measure every network, clean and under every attacker, and write the record after each; what is there of this very network
    is kept.

    Raises ValueError, one line, for a record made with other settings.
    """
    record = read_other(path, "adaptive", ("cells",)) if Path(path).exists() else dict(kind="adaptive", cells=[])
    fixed = SETTINGS | dict(split=split, n=n)
    if record["cells"]:
        refuse_unlike(path, record, fixed)
    x, y = images(split, n)
    for checkpoint, (sigma, M) in networks.items():
        file, found = Path(checkpoints) / f"{checkpoint}.safetensors", {}
        digest, about = digest_of(checkpoint, checkpoints, results), models.about(file)
        for name, attacker in ({"": None} | attackers).items():
            if attacker is not None and M == 1:  # the network draws no noise: to average is to do the same again
                attacker = attacker._replace(samples=1, still=False)
            said = dict(zip(("steps", "samples", "parts", "still"), attacker[1:])) if attacker else {}
            identity = dict(checkpoint=checkpoint, sigma=sigma, draws=list(powers_of_two(M)), attacker=name, digest=digest) | said
            if any(identity.items() <= cell.items() for cell in record["cells"]):
                continue
            began = time.perf_counter()
            if attacker not in found:
                model, still = Folded(models.load(file, sigma)), without_noise(models.load(file, 0.0))
                found[attacker] = measure_one(attacker, model, still, x, y, M)
            shared = runs.provenance(describe("cpu"))
            others = [cell for cell in record["cells"] if (cell["checkpoint"], cell["attacker"]) != (checkpoint, name)]
            record["cells"] = [*others, identity | dict(
                label=about["label"], tier=runs.tier(about["tier"], split, n, "cpu"), right=bits.pack(found[attacker]),
                seconds=round(time.perf_counter() - began, 1), commit=shared["commit"])]
            runs.write_json(path, record | fixed | shared)
            print(f"{checkpoint}, {name or 'clean'}: {100 * found[attacker][-1].mean():.1f} %", flush=True)
    return path


def main(arguments=None):
    command("siam.studies.adaptive", "Attack the networks in ways that the paper did not try.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
