"""A training and a sweep of evaluations, killed from outside and started again, end where undisturbed ones end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from siam import runs

# As the notebooks do it: what is finished is passed over. Many small steps, so that there is a middle to be killed in.
WORK = """
from dataclasses import asdict
from siam import evaluation, models, runs, training
from siam.paths import CHECKPOINTS

plan = training.schedule("smoke", "adversarial", epochs=2, images=60, batch_size=5)
run = runs.TrainingRun("CPNI-W", "adversarial", asdict(plan), rank=1)
if not runs.finished(run):
    training.train(run, save_after=0, progress=False)
name = training.checkpoints_of(run)["best"][0]
digest = models.about(CHECKPOINTS / f"{name}.safetensors")["digest"]
sample = dict(split="sample-test", images=60, batch_size=5, draws=2, steps=1, samples=2)
for attack in ("none", "pgd", "epgd"):
    run = runs.EvaluationRun(name, digest, attack, sigma=0.2, **sample)
    if not runs.finished(run):
        evaluation.evaluate(run, progress=False)
"""
UPDATES, BATCHES = 12, 12  # of an epoch, of an evaluation


def start(data):
    # One thread: the number of threads decides the order of sums, and with it the last bit.
    return subprocess.Popen([sys.executable, "-c", WORK], env=os.environ | {"SIAM_DATA": str(data), "OMP_NUM_THREADS": "1"})


def kill_when(data, there):
    """Start the work, kill it with SIGKILL as soon as `there` says so, and return what it says afterwards."""
    process = start(data)
    try:
        while process.poll() is None and not there(data):
            time.sleep(0.005)
    finally:
        process.kill()  # SIGKILL
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    return there(data)


def in_an_epoch(data):
    """How many updates of the second epoch are behind, where it is neither at its beginning nor at its end."""
    for path in (data / "checkpoints" / ".partial").glob("*.safetensors"):
        with open(path, "rb") as file:  # safe_open opens a file twice, and the second time another may have its name
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        at = json.loads(header["__metadata__"]["position"])
        return at["step"] if at["epoch"] == 1 and 2 <= at["step"] < UPDATES else 0


def in_a_sweep(data):
    """How many batches of an evaluation are behind, where another evaluation is finished and this one is not."""
    done = list((data / "results" / "evaluation").glob("*.json"))
    for path in (data / "results" / ".partial").glob("*.json"):
        try:
            batches = len(json.loads(path.read_text())["batches"])
        except FileNotFoundError:  # finished since it was listed
            continue
        return batches if done and 2 <= batches < BATCHES else 0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What the work leaves, undisturbed, and killed twice: in an epoch, and in a sweep."""
    whole, killed = (tmp_path_factory.mktemp(name) for name in ("whole", "killed"))
    undisturbed = start(whole)
    updates = kill_when(killed, in_an_epoch)
    assert updates, "it was not in the middle of the epoch when it died"
    assert not list(killed.glob("checkpoints/*.safetensors")) and not list(killed.glob("results/*/*.json"))
    batches = kill_when(killed, in_a_sweep)
    assert batches, "it was not in the middle of the sweep when it died"
    assert 0 < len(list(killed.glob("results/evaluation/*.json"))) < 3
    assert start(killed).wait() == 0 and undisturbed.wait() == 0
    return [outcome(data) for data in (whole, killed)]


def outcome(data):
    training, *evaluations = (runs.read(path) for path in sorted((data / "results").glob("*/*.json"), reverse=True))
    (checkpoint,) = (data / "checkpoints").glob("*.safetensors")
    return dict(training=training, rows={record["run"]["attack"]: record["result"] for record in evaluations},
                weights=load_file(checkpoint), digest=runs.digest(checkpoint), left=list(data.glob("*/.partial/*")))


def test_a_killed_training_ends_in_the_same_weights(outcomes):
    whole, killed = outcomes
    same = [torch.equal(whole["weights"][name], killed["weights"][name]) for name in whole["weights"]]
    assert all(same) and whole["weights"].keys() == killed["weights"].keys()
    assert whole["training"]["id"] == killed["training"]["id"]
    unhurried = lambda record: [epoch | {"seconds": None} for epoch in record["history"]]  # noqa: E731
    assert unhurried(whole["training"]) == unhurried(killed["training"])
    assert not whole["left"] and not killed["left"]


def test_a_killed_training_ends_in_the_same_file(outcomes):
    whole, killed = outcomes
    assert killed["digest"] == whole["digest"]


def test_a_killed_sweep_ends_in_the_same_rows(outcomes):
    whole, killed = outcomes
    assert whole["rows"].keys() == {"none", "pgd", "epgd"} and killed["rows"] == whole["rows"]
