"""Measure what two forms of one network say about the images of the live page; `siam.live.record` says which forms, and picks the images.

    python -m siam.live.choose        # needs torch; writes data/results/live/images.json

Each image is attacked several times from different random starts, so that what is said of it does not hang on one.
"""

import time

import torch
from tqdm import tqdm

from siam import models, runs
from siam.attacks import error_of, pgd
from siam.data import images, pixels
from siam.devices import describe
from siam.files import command, refuse_to_replace
from siam.folding import Folded, without_noise
from siam.live import record
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.smoothing import tally

BATCH = 125  # images that share one draw of the weights' noise


def answers(plain, smoothed, x, y, setting, batch):
    """What both networks say of pixels x [N, 3, 32, 32] with labels y: {name: [N] or [N, attacks]}.

    plain, plain_attacked: the class named without noise; winner, winner_attacked: the class with most votes;
    votes, votes_attacked: the votes for the image's own class.
    """
    how = dict(epsilon=setting["epsilon"] / 255, step_size=setting["step_size"] / 255, steps=setting["steps"])

    def voted(x, *key):
        counts = tally(smoothed, x, setting["draws"], (setting["seed"], batch, *key)).ranks[-1, :, :, 0]
        return counts.argmax(1), counts.gather(1, y.unsqueeze(1))[:, 0]

    def attacked(network, *key):
        with seeded(setting["seed"], batch, *key):
            return pgd(error_of(network, y), x, **how)

    with torch.no_grad():
        clean = plain(x).argmax(1)
    winner, votes = voted(x, "clean")
    several = []
    for k in range(setting["attacks"]):
        of_plain, of_smoothed = attacked(plain, "plain", k), attacked(smoothed, "smoothed", k)
        with torch.no_grad():
            several.append((plain(of_plain).argmax(1), *voted(of_smoothed, "attacked", k)))
    names = ("plain_attacked", "winner_attacked", "votes_attacked")
    return dict(plain=clean, winner=winner, votes=votes) | {
        name: torch.stack(columns, 1) for name, columns in zip(names, zip(*several))}


def measure(n=None, checkpoints=CHECKPOINTS, setting=record.SETTING):
    """The record of the first n images of the sample, all by default."""
    path = models.place(record.CHECKPOINT, checkpoints)
    said = models.about(path)
    plain, smoothed = without_noise(models.load(path, 0.0)), Folded(models.load(path, setting["sigma"]))
    x, y = images("sample-test", n)
    began, rows = time.perf_counter(), []
    for batch, (part, labels) in enumerate(tqdm(list(zip(x.split(BATCH), y.split(BATCH))))):
        found = dict(label=labels) | answers(plain, smoothed, pixels(part), labels, setting, batch)
        rows += [dict(zip(found, row)) for row in zip(*(column.tolist() for column in found.values()))]
    return {"kind": "live", "checkpoint": record.CHECKPOINT, "digest": said["digest"], "label": said["label"],
            "tier": runs.tier(said["tier"], "sample-test", len(y)), "split": "sample-test", "n": len(y),
            "setting": setting | {"batch_size": BATCH}, "seconds": round(time.perf_counter() - began, 1),
            **runs.provenance(describe("cpu")), "images": rows}


def written(path):
    """`measure`, into a record at `path`, where none may be yet (FileExistsError)."""
    refuse_to_replace(path)
    record.write(measure(), path)


def main(arguments=None):
    command("siam.live.choose", __doc__.split("\n")[0], record.path(RESULTS), written, arguments)


if __name__ == "__main__":
    main()
