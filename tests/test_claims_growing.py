"""The claims on synthetic records of a campaign that grows: nothing fails on the way, and what is done is not called lacking."""

import functools
import re

import numpy as np

from siam import bits, campaign, claims, evaluation, runs
from siam.pages.style import NOT_YET
from test_growing import digest, train

N, BATCH = 1000, 100
KEPT = dict(sigmas=(0, 0.12, 0.18, 0.24), seeds=(0, 1, 2), epsilons=(8,))  # of lists of more than three
COUNTED = [("prediction", M) for M in (1, 4, 8, 16, 64, 256, 512, 1024)] + [("soft", 8), ("soft", 64), ("weighted", 8)]
STOPS = ("table3-epgd-diverged-fast", "table3-epgd-converged-paper", "m1024-epgd-diverged-paper", "grid-epgd-converged-fast")


def campaigned():
    """The steps of the campaign, and of them in their order those that are done here: first the base models at a tier below, then the
    GPU's; after group c the better tier would only repeat the other."""
    steps = [step for step in campaign.read() if not re.search("(?<!-1)-[3-9]$", step.name)]  # three trainings are enough
    long = [step for step in steps if step.tier == "long" and re.match("train|table3|heldout|exact-epgd-d", step.name)]
    return steps, long + [step for step in steps if step.tier == "fast" or step.tier == "paper" and step.group in "abc"]


def parameters(step):
    given = campaign.defaults(step.notebook) | step.parameters
    return given | {name: [value for value in given[name] if value in kept] for name, kept in KEPT.items() if len(given.get(name, ())) > 3}


def evaluate(step, folder, draw):
    """Networks that differ a little; attacks cost accuracy, votes add some, and the images of a batch share their luck."""
    for run in evaluation.requested(**parameters(step) | dict(device="cpu", images=N, batch_size=BATCH, results=folder)):
        if runs.finished(run, folder):  # two steps may share one
            continue
        worth = -0.4 * (run.attack != "none") - 0.2 * (run.attack == "epgd") + 0.02 * int(run.digest[0], 16) - abs(run.sigma - 0.24)
        image = np.random.default_rng(0).normal(size=N) + worth + 0.2 * np.repeat(draw.normal(size=N // BATCH), BATCH)
        counted = [(rule, M) for rule, M in COUNTED if M <= run.draws]
        right = [image + 0.04 * np.log2(M) + 0.1 * draw.normal(size=N) > 0 for _, M in counted]
        rows = [runs.row(*of, each.sum(), N) for of, each in zip(counted, right)]
        seconds = dict(attack=round(0.03 * run.samples * (1 + 0.1 * draw.random()), 4), smoothing=0.1)
        runs.write(runs.record(run, tier=step.tier, n=N, result=rows, right=bits.pack(right), seconds=seconds), folder)


def lacking_though_done(evidence, steps, done):
    """Whether at one of the GPU's tiers all the steps are done that an evidence says are lacking. `…` stands for all there are."""
    said = evidence.partition("Lacking: ")[2].replace("-fast or -paper", "-…")
    words = [re.escape(word).replace("…", ".*") for word in re.findall(r"\w+-[\w…-]+", said)]
    words = [word for word in words if any(re.fullmatch(word, step.name) for step in steps)]  # and not the name of a network
    named = {tier: [[step.name for step in steps if step.tier == tier and re.fullmatch(word, step.name)] for word in words]
             for tier in runs.REPRODUCTIONS}
    return any(of and all(names and done.issuperset(names) for names in of) for of in named.values())


def test_what_is_done_is_found_where_it_is_called_lacking():
    (steps, _), done = campaigned(), {"table3-epgd-diverged-fast"}
    assert lacking_though_done("Lacking: the step table3-epgd-diverged-fast or -paper.", steps, done)
    assert not lacking_though_done("Lacking: the steps table3-… and heldout-… of the campaign.", steps, done)
    assert not lacking_though_done("Lacking: siam.studies.svm.", steps, done)


def test_nothing_that_is_done_is_called_lacking(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "digest_of", lambda name, *_: digest(name))
    monkeypatch.setattr(runs, "read", functools.cache(runs.read))  # no record changes
    draw, (steps, taken), done, stops = np.random.default_rng(0), campaigned(), set(), []
    for step in taken:
        if step.notebook == "train":
            train(tmp_path, **{name: value for name, value in parameters(step).items() if name not in ("changes", "device")})
        else:
            evaluate(step, tmp_path, draw)
        done.add(step.name)
        if step.name in STOPS:
            stops.append(step.name)
            rows = claims.verdicts(tmp_path)
            lacking = rows[rows["verdict"] == NOT_YET]["evidence"]
            assert not [said for said in lacking if lacking_though_done(said, steps, done)], step.name
    assert len(stops) == len(STOPS) and "paper" in set(rows["tier"]) and len(lacking) < 12
