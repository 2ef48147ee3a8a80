"""An evaluation gives the same record however often it is cut, and the committed records can be made again."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from siam import evaluation, models, runs, smoothing, training
from siam.data import images, pixels
from siam.folding import Folded
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    with seeded("evaluation"):
        model = models.classifier("CPNI-W", rank=2)
    models.save(model, folder / "a.safetensors", variant="CPNI-W", rank=2, sigma=0.0, label="CPNI-W", tier="smoke")
    return folder


def asked(checkpoints, **fields):
    fields = dict(attacks=["pgd"], sigmas=[0.2], seeds=[0], draws=4, split="sample-test", images=30, batch_size=10,
                  steps=[2]) | fields
    return evaluation.requested("a", checkpoints=checkpoints, **fields)


def run_it(run, checkpoints, results):
    return evaluation.evaluate(run, checkpoints=checkpoints, results=results, progress=False)


def test_same_run_same_record_and_a_finished_one_is_refused(checkpoints, tmp_path):
    (run,) = asked(checkpoints)
    one, two = (run_it(run, checkpoints, tmp_path / name) for name in "ab")
    assert one["result"] == two["result"] and one["id"] == two["id"] and one["tier"] == "smoke"
    assert runs.read(runs.record_path(run, tmp_path / "a")) == json.loads(json.dumps(one))
    with pytest.raises(FileExistsError, match=f"evaluation {run.id} is finished"):
        run_it(run, checkpoints, tmp_path / "a")


def test_cut_off_between_batches_it_ends_in_the_same_record(checkpoints, tmp_path, monkeypatch):
    (run,) = asked(checkpoints)
    whole, evaluate_batch, calls = run_it(run, checkpoints, tmp_path / "whole"), evaluation.evaluate_batch, []

    def cut(*args):
        calls.append(args[-1])
        if calls == [0, 1, 2]:
            raise KeyboardInterrupt
        return evaluate_batch(*args)

    monkeypatch.setattr(evaluation, "evaluate_batch", cut)
    with pytest.raises(KeyboardInterrupt):
        run_it(run, checkpoints, tmp_path)
    assert not runs.finished(run, tmp_path)
    again = run_it(run, checkpoints, tmp_path)
    assert (again["result"], again["right"]) == (whole["result"], whole["right"])
    assert calls == [0, 1, 2, 2] and not list((tmp_path / ".partial").iterdir())


@pytest.mark.parametrize("spoil, why", [
    (lambda text: text[: len(text) // 2], r"not the beginning of this evaluation \(.*\): remove it to begin again"),
    (lambda text: "[]", "not the beginning of this evaluation"),
    (lambda text: re.sub('"right": "[^"]*"', '"right": "AAAA"', text), "not the beginning of this evaluation"),
    (lambda text: text.replace('"device": "cpu', '"device": "cuda'), "begun on cuda, not on cpu: go on there, or remove it"),
], ids=["cut", "empty", "other bits", "other device"])
def test_what_was_not_begun_here_is_refused_and_stays(checkpoints, tmp_path, monkeypatch, spoil, why):
    (run,) = asked(checkpoints)
    whole = evaluation.evaluate_batch

    def cut(*args):
        if args[-1] == 2:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(evaluation, "evaluate_batch", cut)
    with pytest.raises(KeyboardInterrupt):
        run_it(run, checkpoints, tmp_path)
    path = tmp_path / ".partial" / f"{run.id}.json"
    spoiled = spoil(path.read_text())
    path.write_text(spoiled)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + why):
        run_it(run, checkpoints, tmp_path)
    assert path.read_text() == spoiled


def test_a_run_that_another_process_does_is_left_to_it_and_one_that_was_killed_holds_nothing(checkpoints, tmp_path):
    (run,) = asked(checkpoints)
    place = tmp_path / ".partial" / f"{run.id}.json"
    program = f"import sys, time; from siam.files import alone\nwith alone({str(place)!r}): print('here', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "here\n"
        with pytest.raises(ValueError, match=f"{place}: another process is working on it"):
            run_it(run, checkpoints, tmp_path)
        other.kill()
    assert run_it(run, checkpoints, tmp_path)["n"] == 30 and not list(place.parent.iterdir())


def test_a_run_that_another_process_finished_meanwhile_is_not_done_again(checkpoints, tmp_path, monkeypatch):
    (run,) = asked(checkpoints)
    record, alone = run_it(run, checkpoints, tmp_path / "there"), evaluation.alone

    def finished_first(path):
        runs.write(record, tmp_path)
        return alone(path)

    monkeypatch.setattr(evaluation, "alone", finished_first)
    monkeypatch.setattr(evaluation, "evaluate_batch", lambda *_: pytest.fail("it was done again"))
    with pytest.raises(FileExistsError, match=f"evaluation {run.id} is finished"):
        run_it(run, checkpoints, tmp_path)


def test_a_run_begun_with_other_code_says_so(checkpoints, tmp_path, monkeypatch):
    (run,) = asked(checkpoints)
    path, batch = tmp_path / ".partial" / f"{run.id}.json", evaluation.evaluate_batch
    monkeypatch.setattr(evaluation, "evaluate_batch", lambda *args: 1 / 0 if args[-1] else batch(*args))
    with pytest.raises(ZeroDivisionError):
        run_it(run, checkpoints, tmp_path)
    found = json.loads(path.read_text())
    found["provenance"]["commit"] = "0123456789ab"
    path.write_text(json.dumps(found))
    monkeypatch.undo()
    (first,) = run_it(run, checkpoints, tmp_path)["begun"]
    assert first == found["provenance"]


def test_a_run_keeps_where_each_of_its_parts_was_made_and_the_date_makes_no_part(tmp_path):
    one, two, three = ({"device": f"cpu: {n} threads", "commit": "a", "date": "2026-01-01"} for n in (1, 2, 3))
    assert runs.going_on("x", one, later := one | {"date": "2026-01-02"}) == later
    both = runs.going_on("x", one, two)
    assert both == two | {"begun": [one]} and runs.going_on("x", both, two) == both
    assert runs.going_on("x", both, three) == three | {"begun": [one, two]}
    assert runs.going_on("x", both, three | {"begun": [one, four := one | {"commit": "d"}]}) == three | {"begun": [one, two, four]}
    assert runs.going_on("x", both, one) == one | {"begun": [two]}  # back again: the part in the middle is not forgotten
    with pytest.raises(ValueError, match="x: begun on cpu, not on cuda: go on there, or remove it to begin again"):
        runs.going_on("x", both, {"device": "cuda: a card", "commit": "a", "date": "2026-01-01"})


def test_a_rule_that_records_do_not_know_is_refused_before_any_work(checkpoints, tmp_path, monkeypatch):
    (run,) = asked(checkpoints)
    monkeypatch.setattr(evaluation, "evaluate_batch", lambda *args: pytest.fail("it began"))
    message = "rule '{}' is in only one of siam.smoothing.RULES and siam.runs.RULES"
    with monkeypatch.context() as patch:
        patch.setitem(smoothing.RULES, "known here alone", smoothing.rank_weighted([2, 1]))
        with pytest.raises(ValueError, match=message.format("known here alone")):
            run_it(run, checkpoints, tmp_path)
    monkeypatch.setattr(runs, "RULES", (*runs.RULES, "mine"))
    with pytest.raises(ValueError, match=message.format("mine")):
        run_it(run, checkpoints, tmp_path)


def test_a_record_has_the_seconds_of_all_its_attacks_and_of_all_its_passes(checkpoints, tmp_path, monkeypatch):
    times = iter((0, 1, 3, 10, 14, 22))  # of each of two batches: before, between and after
    monkeypatch.setattr(evaluation, "clock", lambda device: next(times))
    (run,) = asked(checkpoints, images=8, batch_size=4)
    record = run_it(run, checkpoints, tmp_path)
    assert record["seconds"] == dict(attack=1 + 4, smoothing=2 + 8)


def test_rows_are_what_the_passes_say(checkpoints, tmp_path):
    (run,) = asked(checkpoints, attacks=["none"], images=20, seeds=[3])
    record = run_it(run, checkpoints, tmp_path)
    model = Folded(models.load(checkpoints / "a.safetensors", 0.2))
    x, y = images("sample-test", 20)
    votes = [smoothing.tally(model, pixels(part), 4, (3, batch)) for batch, part in enumerate(x.split(10))]
    for row, right in zip(record["result"], runs.right_of(record), strict=True):
        said = torch.cat([smoothing.vote(smoothing.RULES[row["rule"]](of.at(row["M"])))[0] for of in votes])
        assert (right == (said == y).numpy()).all() and row["correct"] == right.sum()
    assert [(row["rule"], row["M"]) for row in record["result"]] == [(r, M) for r in runs.RULES for M in (1, 2, 4)]


def test_attacks_are_those_of_the_seed(checkpoints, monkeypatch):
    model = Folded(models.load(checkpoints / "a.safetensors", 0.2))
    x, y = images("sample-test", 10)
    seen, attack = [], evaluation.attacked
    monkeypatch.setattr(evaluation, "attacked", lambda *given: seen.append(attack(*given)) or seen[-1])
    for seed in (0, 1, 0):
        (run,) = asked(checkpoints, seeds=[seed], images=10)
        evaluation.evaluate_batch(model, model, pixels(x), y, run, 0)
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("precision", runs.PRECISIONS)
def test_attack_and_votes_are_computed_in_the_precision_of_the_run(checkpoints, precision):
    (run,) = asked(checkpoints, precision=precision, images=10)
    model, kinds = Folded(models.load(checkpoints / "a.safetensors", 0.2)), []
    model.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    x, y = images("sample-test", 10)
    evaluation.votes_on(model, model, pixels(x), y, run, 0)
    assert kinds == [dict(fp32=torch.float32, bf16=torch.bfloat16)[precision]] * (run.steps + run.draws)


@pytest.mark.parametrize("tier, n, wanted", [
    ("cpu", 10_000, "cpu"), ("long", 10_000, "long"), ("fast", 10_000, "fast"), ("fast", 1000, "cpu"),
])
def test_a_record_has_the_tier_of_the_networks_training(tmp_path, monkeypatch, tier, n, wanted):
    """Whatever the device: nothing else keeps a short training from counting as a reproduction."""
    models.save(models.classifier("plain"), tmp_path / "a.safetensors", variant="plain", rank=0, sigma=0.0, label="plain", tier=tier)
    (run,) = evaluation.requested("a", ["none"], [0], [0], checkpoints=tmp_path, images=n, batch_size=n, draws=1)
    monkeypatch.setattr(evaluation, "images", lambda split, n, device: [torch.zeros(n, dtype=torch.uint8)] * 2)
    monkeypatch.setattr(evaluation, "pixels", lambda x: x)
    right = np.ones((len(smoothing.RULES), n), bool)
    monkeypatch.setattr(evaluation, "evaluate_batch", lambda *_: (right, dict(attack=0.0, smoothing=1.0)))
    assert run_it(run, tmp_path, tmp_path)["tier"] == wanted


def test_attacks_do_what_they_are_called():
    x, y, w = torch.full((3, 3, 4, 4), 0.5), torch.tensor([0, 1, 0]), torch.randn(2, 48)
    run = runs.EvaluationRun("a", "0" * 16, attack="none")
    model = lambda x: x.flatten(1) @ w.T  # noqa: E731
    assert evaluation.attacked(run, model, x, y) is x
    for attack in ("fgsm", "pgd", "epgd", "pgd-sum", "epgd-sum"):
        away = evaluation.attacked(replace(run, attack=attack, epsilon=4, step_size=2, steps=7, samples=2), model, x, y) - x
        torch.testing.assert_close(away.abs(), torch.full_like(away, 4 / 255))


@pytest.mark.parametrize("attack, samples, summed", [("pgd", 1, False), ("epgd", 4, False), ("pgd-sum", 1, True), ("epgd-sum", 4, True)])
def test_an_attack_averages_and_sums_as_its_name_says(monkeypatch, attack, samples, summed):
    how = {}
    monkeypatch.setattr(evaluation, "pgd", lambda objective, x, **given: how.update(given) or x)
    run = runs.EvaluationRun("a", "0" * 16, attack=attack, samples=4)
    evaluation.attacked(run, None, torch.zeros(1, 3, 4, 4), torch.zeros(1, dtype=torch.long))
    assert how == dict(epsilon=8 / 255, step_size=2 / 255, steps=7, samples=samples, summed=summed)


def test_a_transferred_attack_is_made_on_its_source(checkpoints, tmp_path, monkeypatch):
    with seeded("source"):
        model = models.classifier("plain")
    path = checkpoints / "source.safetensors"
    models.save(model, path, variant="plain", rank=0, sigma=0.0, label="plain", tier="smoke")
    (run,) = asked(checkpoints, sources=["source"], source_sigma=0.1, images=10)
    assert run.source == models.about(path)["digest"]
    seen, attack = [], evaluation.attacked
    monkeypatch.setattr(evaluation, "attacked", lambda run, model, x, y: seen.append(model) or attack(run, model, x, y))
    run_it(run, checkpoints, tmp_path)
    (source,) = seen
    assert source.input_noise.sigma == 0.1 and source.D is None  # the plain one: no weight noise
    path.unlink()


def test_a_checkpoint_that_changed_is_refused(checkpoints, tmp_path):
    (run,) = asked(checkpoints)
    with pytest.raises(ValueError, match="the run asks for 0000000000000000"):
        run_it(replace(run, digest="0" * 16), checkpoints, tmp_path)


def test_where_only_records_are_a_run_is_known_by_them(checkpoints, tmp_path):
    """What ships is less than what was trained, and a finished evaluation stays finished."""
    digest = "0123456789abcdef"
    trained = runs.TrainingRun("plain", "plain", dict(tier="cpu", epochs=1))
    runs.write(runs.record(trained, tier="cpu", checkpoints=[dict(name="left", digest=digest)], history=[]), tmp_path)
    assert evaluation.digest_of("left", checkpoints, tmp_path) == digest
    assert evaluation.digest_of("a", checkpoints, tmp_path) == models.about(checkpoints / "a.safetensors")["digest"]
    (run,) = evaluation.requested("left", ["none"], [0], [0], checkpoints=checkpoints, results=tmp_path)
    assert run.digest == digest
    with pytest.raises(FileNotFoundError, match="no checkpoint 'left'"):
        run_it(run, checkpoints, tmp_path)


@pytest.mark.parametrize("name", ["a.safetensors", "data/checkpoints/a", "./a.safetensors", "a/", 3])
def test_a_path_in_place_of_a_name_is_refused_with_the_names_there_are(checkpoints, name):
    train = dict(variant="CPNI-W", method="gauss", tier="smoke", rank=2, sigma=0.24, seeds=[0], changes={}, checkpoints=checkpoints)
    for attempt in (lambda: evaluation.requested(name, ["none"], [0], [0], checkpoints=checkpoints),
                    lambda: asked(checkpoints, sources=[name]), lambda: training.requested(start=name, **train)):
        with pytest.raises(ValueError, match=f"^checkpoint {name!r} is not allowed: give its name alone, .*; there are: a$"):
            attempt()


def test_a_network_that_is_on_record_alone_is_said_to_be(checkpoints, tmp_path):
    digest, trained = "0123456789abcdef", runs.TrainingRun("plain", "plain", dict(tier="cpu", epochs=1))
    runs.write(runs.record(trained, tier="cpu", checkpoints=[dict(name="left", digest=digest)], history=[]), tmp_path)
    (run,) = asked(checkpoints)
    said = "recorded, but not here, as not every network ships: train it again with notebooks/train.ipynb and another folder in SIAM_DATA$"
    for other, what in ((replace(run, checkpoint="left"), f"no checkpoint 'left' in the folder {checkpoints}: it is "),
                        (replace(run, source=digest, source_sigma=0.0), f"no checkpoint with digest {digest} in the folder .*: left is ")):
        with pytest.raises(FileNotFoundError, match=f"^{what}{said}"):
            evaluation.ready([other], checkpoints, tmp_path)
        with pytest.raises(FileNotFoundError, match=f"^{what}{said}"):
            run_it(other, checkpoints, tmp_path)
    with pytest.raises(FileNotFoundError, match="^no checkpoint 'cpni-w-cpu-0' in the folder .*; there are: a$"):  # it ships
        models.load(checkpoints / "cpni-w-cpu-0.safetensors")


def test_requested_makes_the_grid(checkpoints):
    grid = asked(checkpoints, attacks=["none", "pgd", "epgd"], sigmas=[0, 0.1], seeds=[0, 1], samples=[4, 8],
                 epsilons=[4, 8])
    assert len({run.id for run in grid}) == len(grid) == 2 * 2 * (1 + 2 + 2 * 2)
    assert {(run.attack, run.samples) for run in grid} == {("none", 0), ("pgd", 1), ("epgd", 4), ("epgd", 8)}
    assert {(run.epsilon, run.step_size) for run in grid} == {(0, 0), (4, 1), (8, 2)}


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(sigmas=[-1]), "sigma = -1"),
        (dict(draws=0), "draws = 0"),
        (dict(draws=3), "draws = 3"),
        (dict(attacks=["cw"]), "attack = 'cw' is not allowed: give one of none, fgsm, pgd, epgd"),
        (dict(split="train"), "split = 'train'"),
        (dict(images=501), "501"),
        (dict(images=0), "images = 0"),
        (dict(precision="int8"), "precision = 'int8'"),
        (dict(epsilons=["8"]), "epsilon = '8' is not allowed"),
        (dict(sigmas=0.24), r"sigmas = 0.24 is not allowed: .* values, on papermill's command line as -y 'sigmas: \[0.24\]'$"),
        (dict(attacks="pgd"), r"attacks = 'pgd' is not allowed: give a list .* as -y 'attacks: \[pgd\]'$"),
        (dict(epsilons="[4, 8]"), r"epsilons = '\[4, 8\]' is not allowed: give a list .* as -y 'epsilons: \[…\]'$"),
        (dict(seeds=[]), r"seeds = \[\] is not allowed: give a list .* as -y 'seeds: \[…\]'$"),
        (dict(device="abacus"), "device 'abacus' is not available here"),
    ],
)
def test_a_bad_parameter_of_the_notebook_is_named_in_one_line(checkpoints, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        asked(checkpoints, **change)
    assert "\n" not in str(caught.value)


def test_a_missing_checkpoint_is_named_with_those_there_are(checkpoints):
    with pytest.raises(FileNotFoundError, match="no checkpoint 'b' .*there are: a"):
        evaluation.requested("b", ["none"], [0], [0], checkpoints=checkpoints)


# ------------------------------------------------------------------------- the committed checkpoints and records


def committed():
    """The committed evaluations of the 500 test images that ship, of the networks that do."""
    records = [runs.read(path) for path in sorted((RESULTS / "evaluation").glob("*.json"))]
    return [record for record in records if record["run"]["split"] == "sample-test" and record["n"] == 500
            and (CHECKPOINTS / f"{record['run']['checkpoint']}.safetensors").exists()]


def test_there_are_records_to_reproduce():
    assert {"cpni-w-cpu-0", "gauss-long-0", "plain-cpu-0"} <= {record["run"]["checkpoint"] for record in committed()}


@pytest.mark.parametrize("record", committed(), ids=lambda r: f"{r['run']['checkpoint']}-{r['run']['attack']}")
def test_committed_records_reproduce(record, tmp_path):
    """Image by image. Another CPU adds in another order, which turns a few attacked images at the border over."""
    again = run_it(runs.EvaluationRun(**record["run"]), CHECKPOINTS, tmp_path)
    rows = {(row["rule"], row["M"]): right for row, right in zip(again["result"], runs.right_of(again))}
    same = [(rows[row["rule"], row["M"]] == right).mean() for row, right in zip(record["result"], runs.right_of(record))]
    assert min(same) > 0.995


# ------------------------------------------------------------------------- what is refused before any work


def test_a_checkpoint_that_is_not_the_recorded_one_is_refused_by_name(checkpoints, tmp_path):
    trained = runs.TrainingRun("plain", "plain", dict(tier="cpu", epochs=1))
    runs.write(runs.record(trained, tier="cpu", checkpoints=[dict(name="a", digest="0" * 16)], history=[]), tmp_path)
    with pytest.raises(ValueError, match="a.safetensors has the digest .*, but .* training has 0000000000000000: it is damaged"):
        evaluation.requested("a", ["none"], [0], [0], checkpoints=checkpoints, results=tmp_path)


def test_what_an_unfinished_run_lacks_is_said_before_the_first(checkpoints, tmp_path):
    (run,) = asked(checkpoints)
    evaluation.ready([run], checkpoints, tmp_path)
    for other, message in ((replace(run, source="0" * 16, source_sigma=0.0), "no checkpoint with digest 0000000000000000"),
                           (replace(run, checkpoint="gone"), "no checkpoint 'gone'")):
        with pytest.raises(FileNotFoundError, match=message):
            evaluation.ready([run, other], checkpoints, tmp_path)


def test_an_attack_that_nobody_wrote_is_not_made_as_another(checkpoints, monkeypatch):
    monkeypatch.setattr(runs, "ATTACKS", (*runs.ATTACKS, "cw"))
    (run,) = asked(checkpoints, attacks=["cw"])
    with pytest.raises(ValueError, match="attack 'cw' is not implemented"):
        evaluation.attacked(run, None, torch.zeros(1, 3, 2, 2), torch.zeros(1))


def test_a_beginning_with_more_batches_than_the_run_is_refused(tmp_path):
    path, provenance = tmp_path / "x.json", {"device": "cpu: 1 threads"}
    runs.write_json(path, dict(provenance=provenance, batches=[{}, {}]))
    with pytest.raises(ValueError, match="x.json: not the beginning of this evaluation .it has 2 batches, more than the evaluation's 1"):
        evaluation.begun(path, 1, [10], provenance)
    runs.write_json(path, dict(provenance={"device": None}, batches=[]))
    with pytest.raises(ValueError, match="x.json: not the beginning of this evaluation"):
        evaluation.begun(path, 1, [10], provenance)


def test_whoever_evaluates_computes_as_trainings_do():
    code = ("from siam import evaluation; import torch; cudnn = torch.backends.cudnn;"
            " assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)")
    subprocess.run([sys.executable, "-c", code], check=True)
