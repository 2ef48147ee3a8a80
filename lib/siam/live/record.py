"""What was measured of the images of the live page, and the rule that picks those it shows. No torch.

The record, data/results/live/images.json, is made by `siam.live.choose`. It compares two networks that share their
weights: one with all its noise, answering by M votes, and one without any, answering once. Each faces PGD made against
itself.
"""

import json
from pathlib import Path

import numpy as np

from siam import report
from siam.files import read_other, write_text
from siam.paths import RESULTS
from siam.runs import clopper_pearson

# The base model CPNI-W of the best tier there is; σ is that of its highest accuracy under PGD on held-out training images, M as many
# votes as leave few ties.
CHECKPOINT = "cpni-w-fast-0"
SETTING = {"sigma": 0.36, "draws": 64, "epsilon": 8, "step_size": 2, "steps": 7, "samples": 1, "attacks": 4, "seed": 0}
SHOWN = 20
FIELDS = ("checkpoint", "digest", "label", "tier", "n", "setting", "images")

# The groups of images, in the order of the page: key -> what it is called.
GROUPS = {
    "rescued": "Smoothing rescues",
    "harmed": "Smoothing harms",
    "lost": "Smoothing does not help",
    "safe": "Right either way",
}


def group(image):
    """The group of one image of the record, or None.

    All are images that the network without noise gets right while nothing is done to them. If the vote is wrong about
    the untouched image, smoothing harms. Else what counts are the answers after the attacks: without noise right (R)
    or wrong (W), and so the vote: W R is rescued, R W harmed, W W lost, R R safe. None where that depends on the
    attack's random start.
    """
    label = image["label"]
    if image["plain"] != label:
        return None
    if image["winner"] != label:
        return "harmed"
    plain, smoothed = ({answer == label for answer in image[name]} for name in ("plain_attacked", "winner_attacked"))
    if len(plain) > 1 or len(smoothed) > 1:
        return None
    return {(False, True): "rescued", (True, False): "harmed", (False, False): "lost", (True, True): "safe"}[
        plain.pop(), smoothed.pop()]


def choose(images, shown=SHOWN):
    """The numbers of the `shown` images of the page, group by group.

    In turn each group gives one image, while it has any: of its images not yet taken the one whose class has been
    taken least often so far, and of several the first in the sample's order.
    """
    left = {key: [i for i, image in enumerate(images) if group(image) == key] for key in GROUPS}
    taken, classes = {key: [] for key in GROUPS}, [0] * 10
    while sum(map(len, taken.values())) < shown and any(left.values()):
        for key in (key for key in GROUPS if left[key]):
            i = min(left[key], key=lambda i: (classes[images[i]["label"]], i))
            left[key].remove(i)
            if sum(map(len, taken.values())) < shown:
                taken[key].append(i)
                classes[images[i]["label"]] += 1
    return {key: sorted(numbers) for key, numbers in taken.items()}


def right(record, name, n=None):
    """How many of the first n images, all by default, the answers called `name` get right; of several attacks the first."""
    answers = ((np.ravel(image[name])[0], image["label"]) for image in record["images"][:n])
    return sum(bool(answer == label) for answer, label in answers)


def accuracy(record):
    """What the vote costs and wins over all images of the record, in words."""
    n = record["n"]

    def share(name):
        correct = right(record, name)
        return "{:.1f} % ({:.1f}–{:.1f})".format(*(100 * part for part in (correct / n, *clopper_pearson(correct, n))))

    return (f"Of {n} test images, the network without noise gets {share('plain')} right, and {share('plain_attacked')} once"
            f" PGD has attacked them; the vote of {record['setting']['draws']} noisy passes gets {share('winner')} right and, when attacked"
            f" itself, {share('winner_attacked')}. In brackets: exact 95 % intervals.")


def others(record):
    """Where the images are that belong to no group, in words."""
    rest = [image for image in record["images"] if group(image) is None]
    wrong = sum(image["plain"] != image["label"] for image in rest)
    return (f"The kinds shown make up {record['n'] - len(rest)} of the {record['n']} images. Of the other {len(rest)}, {wrong} are"
            f" wrong without noise even before an attack; for {len(rest) - wrong} the kind depends on the attack's random start.")


def robust(record, n, results=RESULTS):
    """How often the vote is right after an attack: on the first n images, all of the record, and most test images evaluated.

    A list of {n, correct, tier, record}; the last is left out where this network was not evaluated in this setting.
    """
    counts = [{"n": k, "correct": right(record, "winner_attacked", k), "tier": record["tier"], "record": "live/images.json"}
              for k in (n, record["n"])]
    setting = record["setting"]
    same = {name: setting[name] for name in ("sigma", "epsilon", "step_size", "steps", "samples")}
    tested = report.select(report.evaluations(results), digest=record["digest"], attack="pgd", split="test", rule="prediction",
                           M=setting["draws"], **same).sort_values(["n", "seed"], ascending=[False, True])
    return counts + [{"n": of.n, "correct": of.correct, "tier": of.tier, "record": f"evaluation/{of.id}.json"}
                     for of in tested.head(1).itertuples()]


def path(results=RESULTS):
    return Path(results) / "live" / "images.json"


def read(results=RESULTS):
    """The record, a dict, or None where nothing was measured. Raises ValueError, one line, for a file that is none."""
    return read_other(path(results), "live", FIELDS)


def write(record, path):
    """Write the record at `path`, whole or not at all, one line for each image."""
    head = json.dumps(record | {"images": []}, indent=1, ensure_ascii=False)
    lines = ",\n".join("  " + json.dumps(image) for image in record["images"])
    write_text(path, head.replace('"images": []', f'"images": [\n{lines}\n ]') + "\n")
