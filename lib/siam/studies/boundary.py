"""What the vote does to decision boundaries: along lines (section 1), to competing classes (3.2), and its certified radius (5).

    python -m siam.studies.boundary

Two base models behind the input noise that the paper gives them, and a network that was never attacked, on test images:

- lines: from an image x along d, x + t d within the range of pixels; d is what PGD-7 adds to x, or a random sign of ε in every
  pixel. Which class do the classifiers see along it: the network without noise, one draw of its noise, the vote of 2, 4, … M?
- competing: the mean softmax of the strongest wrong class over M passes, before an attack that fails and after it.
- certified: R = σ Φ⁻¹(p), the L2 radius in normalised units within which the vote cannot change (Cohen et al., 2019). p is the
  lower Clopper–Pearson limit at 99.9 % of the share of passes that name the class; other passes have chosen the class.

Along a line, and over a slice, all passes share their random numbers: pass i is one fixed network, so what changes
is due to the place alone. What this writes, `RECORD`, is read by `siam.pages.boundary`, which draws the page.
"""

import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import beta, norm
from tqdm import tqdm

from siam import models, runs
from siam.attacks import error_of, pgd
from siam.data import images, pixels
from siam.devices import autocast, describe
from siam.files import added_to, command, read_npz, write_npz
from siam.folding import Folded, without_noise
from siam.noise import GaussianInput
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.smoothing import tally, voted

RECORD = RESULTS / "boundary" / "record.json"
NETWORKS = {"cpni-w-long-0": 0.24, "gauss-long-0": 0.37, "plain-cpu-0": 0.24}  # σ
EPSILON, STEPS = 8 / 255, 7
PLACES = np.linspace(0, 4, 17)  # t along a line
DRAWS = dict(lines=32, competing=64, chosen=64, certified=512, slices=32)  # M; `chosen` are the first of `certified`
SIDE, REACH = 33, 3.0  # a slice: SIDE × SIDE places, up to REACH times the attack either way
SHOWN = 4  # slices: the first test images
ALPHA = 0.001
SEED, PRECISION, BATCH = 0, "bf16", 100
SETTINGS = dict(epsilon=255 * EPSILON, steps=STEPS, places=PLACES.tolist(), draws=DRAWS, side=SIDE, reach=REACH, alpha=ALPHA, seed=SEED,
                precision=PRECISION, batch=BATCH)


class OneImage(GaussianInput):
    """Input noise of which all images of a batch get the same draw: they are places of one image."""

    def forward(self, x):
        _, c, h, w = x.shape
        return x + self.sigma * torch.randn(h, w, c, device=x.device).permute(2, 0, 1)


def attacked(model, x, y):
    return pgd(error_of(model, y), x, epsilon=EPSILON, step_size=EPSILON / 4, steps=STEPS)


def classes_along(still, model, x, d, key):
    """{M: the class at each place x + t d, int [places, N]}, M = 0 without noise; every place sees the same draws."""
    said = {}
    for t in PLACES:
        at = (x + float(t) * d).clamp(0, 1)
        votes = tally(model, at, DRAWS["lines"], key)
        with torch.no_grad():
            said.setdefault(0, []).append(still(at).argmax(1))
        for M in votes.draws:
            said.setdefault(M, []).append(voted(votes, M))
    return {M: torch.stack(of).numpy() for M, of in said.items()}


def lines(still, model, x, y, key):
    """Of a batch {(direction, M): (mean changes of class along the line, and at each place the share of images whose class is
    not that of x)}."""
    with seeded(*key, "lines"):
        directions = dict(attack=attacked(model, x, y) - x, random=EPSILON * torch.randn_like(x).sign())
    found = {}
    for direction, d in directions.items():
        for M, said in classes_along(still, model, x, d, (*key, "line")).items():
            found[direction, M] = float((said[1:] != said[:-1]).sum(0).mean()), (said != said[0]).mean(1)
    return found


def competing(model, x, y, key):
    """The strongest wrong class's mean softmax [2, K] before and after PGD, of the K images on which the vote is right twice."""
    with seeded(*key, "competing"):
        seen = x, attacked(model, x, y)
    M, strongest, right = DRAWS["competing"], [], []
    for at in seen:
        votes = tally(model, at, M, (*key, "vote"))
        share = votes.at(M).softmax[0] / M
        strongest.append(share.scatter(1, y[:, None], -1.0).max(1).values)
        right.append(voted(votes, M) == y)
    return torch.stack(strongest)[:, right[0] & right[1]].numpy()


def certified(model, x, y, key):
    """R / σ [N]: 0 where nothing is certified, negative where a wrong class is."""
    M, first = DRAWS["certified"], DRAWS["chosen"]
    votes = tally(model, x, M, (*key, "certify"))
    chosen = voted(votes, first)
    named = (votes.at(M).ranks - votes.at(first).ranks)[0, :, :, 0].gather(1, chosen[:, None])[:, 0].numpy()
    p = beta.ppf(ALPHA, named, M - first - named + 1)
    return np.where((chosen == y).numpy(), 1, -1) * norm.ppf(np.fmax(np.nan_to_num(p), 0.5)) + 0.0


def sliced(still, model, x, y, key):
    """The class on a plane through one image x [1, 3, 32, 32], int [3, SIDE, SIDE]: without noise, with one draw of it, by the
    vote. To the right along what PGD adds, upwards along random signs of ε, made orthogonal to it and as long."""
    with seeded(*key, "slice"):
        u = attacked(model, x, y) - x
        v = EPSILON * torch.randn_like(x).sign()
    v = v - (v * u).sum() / (u * u).sum() * u
    v = v * u.norm() / v.norm()
    steps = torch.linspace(-REACH, REACH, SIDE)
    b, a = (part.reshape(-1, 1, 1, 1) for part in torch.meshgrid(-steps, steps, indexing="ij"))
    places, noise = (x + a * u + b * v).clamp(0, 1), model.input_noise
    model.input_noise = OneImage(noise.sigma)
    votes = tally(model, places, DRAWS["slices"], (*key, "places"))
    model.input_noise = noise
    with torch.no_grad():
        said = torch.stack([still(places).argmax(1), voted(votes, 1), voted(votes, DRAWS["slices"])])
    return said.reshape(3, SIDE, SIDE).numpy()


def one_batch(still, model, x, y, key):
    """All measures of a batch but slices, {name: array}: of `lines` the changes and then the shares, of `competing`, and of `certified`."""
    with autocast("cpu", PRECISION):
        along = {f"{direction}/{M}": np.array([changes, *changed])
                 for (direction, M), (changes, changed) in lines(still, model, x, y, key).items()}
        return along | dict(competing=competing(model, x, y, key), certified=certified(model, x, y, key))


def of_network(path, sigma, x, y, file_of):
    """All of a checkpoint's measures over images x (bytes) and labels y: a dict for the record; interval means are of batches.

    file_of: a function of a batch's number, the file of its measures, which is written, or read where it is there.
    """
    still, model = without_noise(models.load(path, 0.0)), Folded(models.load(path, sigma))
    along, before, rose, ratios, seconds = {}, [], [], [], 0.0
    batches = list(zip(x.split(BATCH), y.split(BATCH)))
    for batch, (seen, labels) in enumerate(tqdm(batches, desc=path.stem, mininterval=5)):
        if not file_of(batch).exists():
            began = time.perf_counter()
            found = one_batch(still, model, pixels(seen), labels, (SEED, "boundary", batch))
            write_npz(file_of(batch), found | dict(seconds=time.perf_counter() - began))
        found = read_npz(file_of(batch), runs.PART)
        seconds += float(found.pop("seconds"))
        strongest = found.pop("competing")
        ratios += found.pop("certified").round(4).tolist()
        for name, (changes, *changed) in found.items():
            direction, M = name.split("/")
            along.setdefault((direction, int(M)), []).append((float(changes), changed))
        before.append(strongest)
        rose.append(strongest[1] - strongest[0])
    began = time.perf_counter()
    with autocast("cpu", PRECISION):
        slices = [sliced(still, model, pixels(x[k : k + 1]), y[k : k + 1], (SEED, "boundary", k)) for k in range(min(SHOWN, len(x)))]
    lines_of = [dict(direction=direction, M=M, changes=[round(changes, 4) for changes, _ in of],
                     changed=np.mean([changed for _, changed in of], 0).round(4).tolist()) for (direction, M), of in along.items()]
    all_before = np.concatenate(before, 1)
    return dict(
        lines=lines_of,
        competing=dict(n=all_before.shape[1], before=all_before[0].round(4).tolist(), after=all_before[1].round(4).tolist(),
                       rose=[round(float(of.mean()), 5) for of in rose if len(of)]),
        certified=ratios, labels=y[:SHOWN].tolist(), slices=[["".join(map(str, row)) for row in said.reshape(-1, SIDE)] for said in slices],
        seconds=round(seconds + time.perf_counter() - began, 1),
    )


def measure(path=RECORD, networks=NETWORKS, checkpoints=CHECKPOINTS, results=RESULTS, split="test", n=1000):
    """Measure each network and write the record after it; what is there and fits is kept. Cut off, it goes on after its last finished
    batch, kept in `results` until the record has it.

    Raises ValueError, one line, for a file at `path` that is no record or was made with other settings, and for an n that is no multiple
    of BATCH, two of which an interval needs; FileNotFoundError for a network or images that are not here.
    """
    runs.in_batches(n, BATCH)
    fixed = SETTINGS | dict(split=split)
    record = added_to(path, "boundary", "networks", fixed)
    x, y = images(split, n)
    for name, sigma in networks.items():
        file = models.place(name, checkpoints)
        said = models.about(file)
        if (said["digest"], sigma, n) in {(one["digest"], one["sigma"], one["n"]) for one in record["networks"]}:
            continue
        about = dict(checkpoint=name, digest=said["digest"], label=said["label"], sigma=sigma, n=n,
                     tier=runs.tier(said["tier"], split, n))
        with runs.in_parts(Path(results) / ".partial" / "boundary", about | fixed, runs.provenance(describe("cpu"))) as (shared, file_of):
            found = of_network(file, sigma, x, y, file_of)
            others = [one for one in record["networks"] if one["checkpoint"] != name]  # one that it was before counts no more
            record["networks"] = [*others, about | found]
            record |= fixed | runs.grown(record, path, shared)
            runs.write_json(path, record)
    return path


def main(arguments=None):
    command("siam.studies.boundary", "Measure what the vote does to decision boundaries.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
