"""Runs and records: same run, same id; nothing corrupt is accepted and nothing finished overwritten."""

import json
import os
import subprocess
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from siam import bits, runs

DIGEST = "0123456789abcdef"
EVALUATION = runs.EvaluationRun("cpni-w-cpu-0", DIGEST, "epgd", samples=8, sigma=0.24)
SCHEDULE = {"tier": "cpu", "epochs": 12, "batch_size": 128, "lr": 0.1}
TRAINING = runs.TrainingRun("CPNI-W", "adversarial", SCHEDULE)


def record(run=EVALUATION):
    if run.kind == "training":
        return runs.record(run, tier="cpu", checkpoints=[], history=[{"loss": 1.5}])
    return runs.record(run, tier="cpu", n=1000, result=[runs.row("prediction", 1, 441, 1000)])


# --- identity

def test_ids_never_change():
    """These ids name files that are published: if this fails, every record made so far would be orphaned."""
    assert EVALUATION.id == "dd46ba0e754eac0a"
    assert TRAINING.id == "52c140ecc9ffbc45"


def test_one_run_has_one_id_however_it_is_spelt():
    spelt = replace(EVALUATION, sigma=np.float32(0.24), epsilon=8, images=np.int64(1000), draws=64.0)
    assert spelt == EVALUATION and spelt.id == EVALUATION.id and hash(spelt) == hash(EVALUATION)
    schedule = {"lr": np.float32(0.1), "batch_size": np.int64(128), "epochs": 12.0, "tier": "cpu"}
    assert replace(TRAINING, schedule=schedule).id == TRAINING.id
    assert runs.EvaluationRun(**json.loads(json.dumps(asdict(EVALUATION)))) == EVALUATION


def test_what_an_attack_does_not_use_is_not_part_of_the_run():
    clean = runs.EvaluationRun("a", DIGEST, "none", epsilon=8, steps=7, samples=8)
    assert (clean.epsilon, clean.step_size, clean.steps, clean.samples) == (0, 0, 0, 0)
    assert clean == runs.EvaluationRun("a", DIGEST, "none", epsilon=4, step_size=1, steps=3)
    assert runs.EvaluationRun("a", DIGEST, "pgd", samples=8).samples == 1
    fgsm = runs.EvaluationRun("a", DIGEST, "fgsm", epsilon=4, steps=9, samples=8)
    assert (fgsm.step_size, fgsm.steps, fgsm.samples) == (4, 1, 1)
    assert runs.EvaluationRun("a", DIGEST, images=100, batch_size=250).batch_size == 100
    itself = replace(EVALUATION, source=DIGEST, source_sigma=EVALUATION.sigma)
    assert itself == EVALUATION and itself.id == EVALUATION.id
    assert replace(EVALUATION, source=DIGEST).source == DIGEST  # at another σ it is another network
    assert replace(TRAINING, variant="PNI-W", rank=5) == replace(TRAINING, variant="PNI-W", rank=3)


def test_an_attack_of_ones_own_keeps_its_samples(monkeypatch):
    monkeypatch.setattr(runs, "ATTACKS", (*runs.ATTACKS, "lead"))
    assert runs.EvaluationRun("a", DIGEST, "lead", samples=8).samples == 8


OTHER = {
    "checkpoint": st.text("abz09.-_+", max_size=9).map("c".__add__),
    "digest": st.integers(0, 2**64 - 1).map("{:016x}".format),
    "attack": st.sampled_from(runs.ATTACKS),
    "epsilon": st.integers(5, 2550).map(lambda k: k / 10),
    "step_size": st.integers(1, 99).map(lambda k: k / 10),
    "steps": st.integers(1, 99),
    "samples": st.integers(2, 64),
    "sigma": st.integers(0, 100).map(lambda k: k / 100),
    "draws": st.integers(0, 9).map(lambda k: 2**k),
    "split": st.sampled_from(["test", "heldout"]),
    "images": st.integers(250, 10_000),
    "batch_size": st.integers(1, 1000),
    "seed": st.integers(0, 2**31),
    "precision": st.sampled_from(runs.PRECISIONS),
    "source": st.integers(0, 2**64 - 1).map("{:016x}".format),
    "source_sigma": st.none(),
}


def test_every_field_is_varied_below():
    assert set(OTHER) == {field.name for field in fields(runs.EvaluationRun)}


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(sorted(OTHER)).flatmap(lambda name: st.tuples(st.just(name), OTHER[name])))
def test_a_changed_field_changes_the_id_and_only_then(change):
    name, value = change
    other = replace(EVALUATION, **{name: value})
    assert (other.id == EVALUATION.id) == (other == EVALUATION)
    assert (other == EVALUATION) == (value == getattr(EVALUATION, name))


@pytest.mark.parametrize("change", [{"variant": "PNI-W"}, {"rank": 4}, {"method": "epgd", "start": DIGEST},
                                    {"sigma": 0.1}, {"seed": 1}, {"schedule": {**SCHEDULE, "lr": 0.05}}])
def test_a_changed_training_has_another_id(change):
    assert replace(TRAINING, **change).id != TRAINING.id


@pytest.mark.parametrize("run, name, value, allowed", [
    (EVALUATION, "sigma", -1, "0 or more"), (EVALUATION, "sigma", float("nan"), "finite"),
    (EVALUATION, "sigma", "0.2", "finite number"), (EVALUATION, "draws", 0, "1 or more"),
    (EVALUATION, "draws", 3, "power of two"), (EVALUATION, "attack", "cw", "none, fgsm, pgd, epgd"),
    (EVALUATION, "split", "train", "test, heldout, sample-test"), (EVALUATION, "images", 0, "1 or more"),
    (EVALUATION, "images", 10_001, "the split test has 10000"),
    (EVALUATION, "images", 1.5, "whole number"), (EVALUATION, "steps", 0, "1 or more"),
    (EVALUATION, "samples", 1, "2 or more"), (replace(EVALUATION, attack="pgd"), "samples", 0, "1 or more"),
    (EVALUATION, "step_size", 2 / 255, "its unit is 1/255: give 2 for 2/255"), (EVALUATION, "step_size", 300, "at most 255"),
    (EVALUATION, "step_size", 0, "goes nowhere"), (EVALUATION, "epsilon", 256, "at most 255"),
    (EVALUATION, "epsilon", 8 / 255, "its unit is 1/255"),
    (EVALUATION, "precision", "fp8", "fp32, bf16"), (EVALUATION, "checkpoint", "../x", "letters"),
    (EVALUATION, "digest", "abc", "16 hexadecimal"), (EVALUATION, "seed", -1, "0 or more"),
    (EVALUATION, "seed", True, "whole number"),
    (TRAINING, "variant", "PNI-X", "plain, PNI-W"), (TRAINING, "method", "trades", "plain, adversarial"),
    (TRAINING, "rank", -1, "0 or more"), (replace(TRAINING, method="epgd", start=DIGEST), "start", "last", "16 hexadecimal"),
    (TRAINING, "start", DIGEST, "start afresh"), (TRAINING, "method", "epgd", "fine-tune"),
    (TRAINING, "schedule", {"epochs": 1}, "smoke, cpu, long, fast, paper"), (TRAINING, "schedule", 12, "dict"),
    (TRAINING, "schedule", {"tier": "cpu", "epochs": 0}, "1 or more"),
    (replace(TRAINING, method="epgd", start=DIGEST), "method", "gauss", "above 0"),
])
def test_a_bad_value_stops_with_one_line_that_names_it(run, name, value, allowed):
    with pytest.raises(ValueError) as error:
        replace(run, **{name: value})
    message = str(error.value)
    assert "\n" not in message and allowed in message and " is not allowed: " in message


# --- files

@pytest.mark.parametrize("run", [EVALUATION, TRAINING], ids=["evaluation", "training"])
def test_a_record_is_written_once_and_read_back(tmp_path, run):
    assert not runs.finished(run, tmp_path)
    path = runs.write(record(run), tmp_path)
    assert path == runs.record_path(run, tmp_path) == tmp_path / run.kind / f"{run.id}.json"
    assert runs.finished(run, tmp_path) and runs.read(path) == record(run)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=f"{run.id}.* finished") as error:
        runs.write({**record(run), "tier": "paper"}, tmp_path)
    assert "\n" not in str(error.value) and path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, broken):
    path = runs.write_json(tmp_path / "x.json", {"old": 1})

    def crash(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, broken, crash)
    with pytest.raises(KeyboardInterrupt):
        runs.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_between_writing_and_renaming_leaves_no_record(tmp_path, monkeypatch):
    """What a killed process leaves behind, a temporary file, is not taken for a record."""
    monkeypatch.setattr(os, "replace", lambda *args: os._exit(9))
    child = os.fork()
    if child == 0:
        runs.write(record(), tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list((tmp_path / "evaluation").iterdir())) == 1
    assert not runs.finished(EVALUATION, tmp_path) and not list((tmp_path / "evaluation").glob("*.json"))


def test_json_is_sorted_indented_and_has_null_for_what_is_not_finite(tmp_path):
    numbers = {"b": np.float64("nan"), "a": (np.int64(3), float("inf"))}
    path = runs.write_json(tmp_path / "deep" / "x.json", numbers)
    assert path.read_text() == '{\n "a": [\n  3,\n  null\n ],\n "b": null\n}\n'
    os.umask(mask := os.umask(0))
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("spoil, why", [
    (lambda r: r.pop("kind"), "its kind"),
    (lambda r: r.update(kind="song"), "its kind"),
    (lambda r: r.update(kind=["evaluation"]), "its kind"),
    (lambda r: r.pop("run"), "the fields"),
    (lambda r: r["run"].pop("sigma"), "the fields"),
    (lambda r: r["run"].update(colour=1), "the fields"),
    (lambda r: r["run"].update(sigma=0.3), "has the id"),
    (lambda r: r["run"].update(sigma=-1), "sigma = -1"),
    (lambda r: r.update(id="f" * 16), "has the id"),
    (lambda r: r.pop("result"), "no 'result'"),
    (lambda r: r.pop("n"), "no 'n'"),
    (lambda r: r.update(tier="best"), "its tier"),
    (lambda r: r["result"][0].update(correct=440), "row"),
    (lambda r: r["result"][0].update(M=128), "row"),
    (lambda r: r["result"][0].update(M=3), "row"),
    (lambda r: r["result"][0].update(low=0.0), "row"),
    (lambda r: r["result"][0].update(high=1.0), "row"),
    (lambda r: r["result"].append(dict(r["result"][0])), "a rule and M twice"),
    (lambda r: r.update(result=[]), "its result must be a list of rows"),
    (lambda r: r.update(n=r["n"] - 1), "was asked for 1000 images, its n is 999"),
    (lambda r: r["result"][0].update(rule="coin"),
     "its rule .coin. is not one of .*: a rule of your own must be in RULES of lib/siam"),
    (lambda r: r["result"][0].pop("correct"), "row"),
    (lambda r: r.update(right="AAAA"), "right is not the bits"),
    (lambda r: r.update(right=bits.pack([[i < r["result"][0]["correct"] - 1 for i in range(r["n"])]])), "right does not fit the counts"),
])
def test_a_foreign_or_inconsistent_record_is_refused_by_name(tmp_path, spoil, why):
    path = runs.write(record(), tmp_path)
    spoilt = json.loads(path.read_text())
    spoil(spoilt)
    path.write_text(json.dumps(spoilt))
    with pytest.raises(ValueError, match=why) as error:
        runs.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ValueError, match=why):
        runs.write(spoilt, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("change, why", [
    (dict(checkpoints=None), "its checkpoints must be a list, it says None"),
    (dict(checkpoints={"name": "a", "digest": DIGEST}), "its checkpoints must be a list, it says {'digest'"),
    (dict(checkpoints=["a"]), "a checkpoint of it must be a dict with its name and digest, it says 'a'"),
    (dict(checkpoints=[{"digest": DIGEST}]), "a checkpoint of it must be a dict with its name and digest"),
    (dict(checkpoints=[{"name": "a"}]), "digest of a = None is not allowed: give a digest of 16 hexadecimal digits"),
    (dict(checkpoints=[{"name": "a", "digest": "abc"}]), "digest of a = 'abc' is not allowed"),
    (dict(history=None), "its history must be a list, it says None"),
])
def test_a_training_that_does_not_say_what_it_left_is_refused_by_name(tmp_path, change, why):
    path = runs.record_path(TRAINING, tmp_path)
    runs.write_json(path, record(TRAINING) | change)
    for attempt in (lambda: runs.read(path), lambda: runs.trained_as("a", tmp_path), lambda: runs.finished(TRAINING, tmp_path)):
        with pytest.raises(ValueError, match=f"{path}: not a record: {why}") as error:
            attempt()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00\xff", '{"kind": "evaluation"'])
def test_a_corrupt_file_is_refused_by_name_and_kept(tmp_path, text):
    path = runs.write(record(), tmp_path)
    path.write_text(text, encoding="latin-1")
    for attempt in (lambda: runs.read(path), lambda: runs.finished(EVALUATION, tmp_path)):
        with pytest.raises(ValueError, match=path.name):
            attempt()
    assert path.read_text(encoding="latin-1") == text


def test_a_record_under_another_name_is_refused(tmp_path):
    path = runs.write(record(), tmp_path)
    moved = path.rename(path.with_name("0" * 16 + ".json"))
    with pytest.raises(ValueError, match=f"id {EVALUATION.id}, its name says 0000"):
        runs.read(moved)


# --- intervals, tiers, provenance

@settings(deadline=None)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
       st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_the_exact_one(counts, level):
    correct, n = counts
    exact = binomtest(correct, n).proportion_ci(level, method="exact")
    assert runs.clopper_pearson(correct, n, level) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.97])
def test_interval_covers_at_least_its_level(p):
    """Exact coverage: the probability of all counts whose interval holds the true accuracy."""
    n = 200
    holds = [low <= p <= high for low, high in (runs.clopper_pearson(k, n) for k in range(n + 1))]
    coverage = binom.pmf(np.arange(n + 1), n, p)[holds].sum()
    assert 0.95 <= coverage < 0.995


@pytest.mark.parametrize("correct, n, level", [(-1, 10, 0.95), (11, 10, 0.95), (0, 0, 0.95), (1, 10, 1.0)])
def test_interval_refuses_impossible_counts(correct, n, level):
    with pytest.raises(ValueError, match="is not allowed"):
        runs.clopper_pearson(correct, n, level)


@pytest.mark.parametrize("training, split, images, tier", [
    ("paper", "test", 10_000, "paper"), ("fast", "test", 10_000, "fast"), ("paper", "test", 9_999, "cpu"), ("long", "test", 10_000, "long"),
    ("long", "test", 1000, "cpu"), ("cpu", "test", 10_000, "cpu"), ("paper", "heldout", 10_000, "cpu"), ("smoke", "test", 10_000, "smoke"),
    ("smoke", "test", 1000, "smoke"), ("paper", "sample-test", 300, "smoke"),
])
def test_tier_of_an_evaluation(training, split, images, tier):
    assert runs.tier(training, split, images) == tier


def test_provenance_says_versions_commit_and_date(monkeypatch, tmp_path):
    about = runs.provenance("cpu")
    assert about["device"] == "cpu" and {"python", "numpy", "torch"} <= set(about["versions"])
    assert len(about["date"]) == 10 and about["commit"]


def test_the_commit_is_that_of_the_code_that_the_process_read(monkeypatch, tmp_path):
    def git(*command):
        return subprocess.run(["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x", *command], check=True,
                              capture_output=True, text=True).stdout

    before = runs.provenance("cpu")["commit"]
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    assert runs._commit() == "unknown"  # no git checkout
    monkeypatch.setenv("SIAM_COMMIT", "0123456789ab")
    assert runs._commit() == "0123456789ab"
    git("init", "-q")
    (tmp_path / "lib").mkdir()
    git("commit", "-q", "-m", "none", "--allow-empty")
    none = git("rev-parse", "--short=12", "HEAD").strip()
    assert runs._commit() == none
    (tmp_path / "lib" / "new.py").write_text("some code")
    assert runs._commit() == f"{none}+changes"
    git("add", ".")
    git("commit", "-q", "-m", "some")
    assert runs._commit() == git("rev-parse", "--short=12", "HEAD").strip() != none
    assert runs.provenance("cpu")["commit"] == before
    monkeypatch.setenv("PATH", "")  # no git
    assert runs._commit() == "0123456789ab"


@pytest.mark.parametrize("change, message", [
    (dict(result=5), "its result must be a list of rows"),
    (dict(result=[runs.row("prediction", 1, 441, 1000) | dict(low=0.9)]), "does not fit n = 1000"),
    (dict(result=[runs.row("prediction", 1, 441, 1000) | dict(high="x")]), "does not fit n = 1000"),
])
def test_rows_that_are_none_are_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        runs.write(record() | change, tmp_path)


def test_the_shipped_sample_makes_no_better_tier_than_smoke(tmp_path):
    with pytest.raises(ValueError, match="the shipped sample is of tier smoke, it says 'cpu'"):
        runs.write(record(replace(EVALUATION, split="sample-test", images=500)), tmp_path)
