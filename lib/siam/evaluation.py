"""Evaluation: a run -> attack, M noisy passes, every rule at every M -> its record. Cut off, it goes on where it was."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from siam import bits, models, runs
from siam.attacks import error_of, fgsm, pgd
from siam.data import images, pixels
from siam.devices import autocast, available, clock, describe
from siam.files import alone
from siam.folding import Folded
from siam.models import digest_of
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.smoothing import RULES, powers_of_two, tally, vote


def requested(checkpoint, attacks, sigmas, seeds, device="cpu", checkpoints=CHECKPOINTS, results=RESULTS, *,
              epsilons=(8.0,), steps=(7,), samples=(8,), sources=(None,), **fields):
    """The `runs.EvaluationRun`s of a notebook's parameters, all checked: each attack at each σ and ε with each seed.

    samples: of EPGD and of attacks of your own; one gradient is a step of the others. sources: names of the checkpoints that a
    transferred attack is made on, None for `checkpoint` itself. `fields` are the run's other fields.
    """
    several = dict(attacks=attacks, sigmas=sigmas, seeds=seeds, epsilons=epsilons, steps=steps, samples=samples, sources=sources)
    for name, values in several.items():
        runs.several(name, values)
    available(device)
    digest, *origins = (name and digest_of(name, checkpoints, results) for name in (checkpoint, *sources))
    asked = [
        runs.EvaluationRun(checkpoint, digest, attack=attack, sigma=sigma, seed=seed, epsilon=epsilon, steps=gradients,
                           samples=draws, source=source, **fields)
        for source, seed, sigma, epsilon, gradients, draws, attack in
        product(origins, seeds, sigmas, epsilons, steps, samples, attacks)
    ]
    return list({run.id: run for run in asked}.values())  # clean images have no ε, PGD no samples: once is enough


def ready(asked, checkpoints=CHECKPOINTS, results=RESULTS):
    """Raise FileNotFoundError, one line, if the unfinished runs `asked` need a checkpoint that is recorded but not here."""
    for run in asked:
        if not runs.finished(run, results):
            models.about(models.place(run.checkpoint, checkpoints), results)
            if run.source is not None:
                models.find(run.source, checkpoints, results)


def attacked(run, model, x, y):
    """The images x [N, 3, 32, 32] (pixels) after the run's attack on `model` at labels y [N]."""
    if run.attack == "none":
        return x
    if run.attack not in ("fgsm", "pgd", "epgd", "pgd-sum", "epgd-sum"):  # one that `runs` may know some day
        raise ValueError(f"attack {run.attack!r} is not implemented: add it to siam.evaluation.attacked")
    error, epsilon = error_of(model, y), run.epsilon / 255
    if run.attack == "fgsm":
        return fgsm(error, x, epsilon=epsilon)
    return pgd(error, x, epsilon=epsilon, step_size=run.step_size / 255, steps=run.steps, samples=run.samples,
               summed=run.attack.endswith("-sum"))


def votes_on(model, source, x, y, run, batch):
    """The tally of run.draws passes over one batch of pixels after the run's attack, and the seconds of attack and votes.

    The attack is made on `source`, which is `model` itself unless it is transferred.

    The noise of the votes follows from the run's seed and the batch's number, not from the attack, nor from σ while it is above 0: at 0
    no input noise is drawn, and the layers get other numbers.
    """
    began = clock(x.device)
    with autocast(x.device, run.precision):
        with seeded(run.seed, batch, "attack"):
            x = attacked(run, source, x, y)
        between = clock(x.device)
        votes = tally(model, x, run.draws, (run.seed, batch))
    return votes, dict(attack=between - began, smoothing=clock(x.device) - between)


def evaluate_batch(model, source, x, y, run, batch):
    """Which images [rows, N] of one batch are right, a row for each rule and in it for each M = 1, 2, 4, … run.draws; and the
    seconds, both of `votes_on`."""
    votes, seconds = votes_on(model, source, x, y, run, batch)
    return torch.cat([vote(scores(votes)) == y for scores in RULES.values()]).cpu().numpy(), seconds


def begun(path, rows, sizes, provenance):
    """What was written at `path` before a run was cut off: {"provenance", "batches"}; none yet where there is no file.

    sizes: images of each batch. provenance: of what comes now; the one returned is that of both (`runs.going_on`).
    Raises ValueError, one line that names the file, for what is no beginning of the run, or one on another kind of device.
    """
    if not path.exists():
        return dict(provenance=provenance, batches=[])
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if len(found["batches"]) > len(sizes):
            raise ValueError(f"it has {len(found['batches'])} batches, more than the evaluation's {len(sizes)}")
        for batch, size in zip(found["batches"], sizes):
            bits.unpack(batch["right"], rows, size)
            sum(batch["seconds"][name] for name in ("attack", "smoothing"))
        if not isinstance(found["provenance"]["device"], str):
            raise ValueError("it does not say on what device")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the beginning of this evaluation ({error}): remove it to begin again") from None
    return found | {"provenance": runs.going_on(path, found["provenance"], provenance)}


def evaluate(run, device="cpu", checkpoints=CHECKPOINTS, results=RESULTS, progress=True):
    """Carry out a `runs.EvaluationRun` and return its record, which is written to `results`.

    A finished run is refused (FileExistsError); one that was cut off goes on after its last finished batch and gives
    what it would have given, on the same kind of machine with as many threads; its record says where that was another.
    Raises ValueError if the checkpoint is not the one the run names, where another process does the run, for a device that is not to
    be had, and for a voting rule that records do not know; FileNotFoundError where its checkpoint or its source is not here
    (`models.about`, `models.find`), or CIFAR-10 has not been fetched.
    """
    available(device)
    if unlike := sorted(set(RULES) ^ set(runs.RULES)):
        raise ValueError(f"rule {unlike[0]!r} is in only one of siam.smoothing.RULES and siam.runs.RULES: it must be in both")
    partial = Path(results) / ".partial" / f"{run.id}.json"
    with alone(partial):
        if runs.finished(run, results):  # asked here, as another process may have finished it a moment ago
            raise FileExistsError(f"evaluation {run.id} is finished: {runs.record_path(run, results)}")
        return _evaluate(run, partial, device, checkpoints, results, progress)


def _evaluate(run, partial, device, checkpoints, results, progress):
    path, provenance = models.place(run.checkpoint, checkpoints), runs.provenance(describe(device))
    said = models.about(path, results)
    if said["digest"] != run.digest:
        raise ValueError(f"checkpoint {run.checkpoint} has the digest {said['digest']}, but the run asks for {run.digest}")
    tier = runs.tier(said["tier"], run.split, run.images)
    model = source = Folded(models.load(path, run.sigma, device))
    if run.source is not None:
        source = Folded(models.load(models.find(run.source, checkpoints, results), run.source_sigma, device))
    x, y = (part.split(run.batch_size) for part in images(run.split, run.images, device))
    rows = list(product(RULES, powers_of_two(run.draws)))
    found = begun(partial, len(rows), [len(part) for part in y], provenance)
    done = found["batches"]
    if y[0].is_cuda and len(done) < len(x):  # one pass for nothing: the time a GPU takes to start up is that of no batch
        votes_on(model, source, pixels(x[len(done)]), y[len(done)], replace(run, draws=1, steps=1), 0)
    title = f"{run.checkpoint} {run.attack} σ={run.sigma:g}"
    for batch in tqdm(range(len(done), len(x)), initial=len(done), total=len(x), desc=title, mininterval=5, disable=not progress):
        right, seconds = evaluate_batch(model, source, pixels(x[batch]), y[batch], run, batch)
        done.append(dict(right=bits.pack(right), seconds=seconds))
        runs.write_json(partial, found)
    right = np.hstack([bits.unpack(batch["right"], len(rows), len(part)) for batch, part in zip(done, y)])
    result = [runs.row(rule, M, correct, run.images) for (rule, M), correct in zip(rows, right.sum(1))]
    seconds = {name: round(sum(batch["seconds"][name] for batch in done), 4) for name in ("attack", "smoothing")}
    record = runs.record(run, tier=tier, n=run.images, result=result, right=bits.pack(right), seconds=seconds, **found["provenance"])
    runs.write(record, results)
    partial.unlink(missing_ok=True)
    return record
