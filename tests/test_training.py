"""Training learns, says what it did, and a killed one ends where an unbroken one ends."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from siam import devices, export, models, runs, training
from siam.data import images
from siam.graphs import without_graphs
from siam.noise import ColouredNoise, WhiteNoise, soften
from siam.seeding import seed, seeded

TINY = dict(epochs=4, images=60, batch_size=20)


def tiny(method="adversarial", variant="CPNI-W", seed=0, rank=2, start=None, **changes):
    plan = training.schedule("smoke", method, **(TINY | changes))
    return runs.TrainingRun(variant, method, asdict(plan), rank=rank, start=start, seed=seed)


def weights(folder, record):
    path = folder / f"{record['checkpoints'][0]['name']}.safetensors"
    return models.load(path).state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    return folder, training.train(tiny(), checkpoints=folder, results=folder, progress=False)


def test_record_and_checkpoint_name_each_other(done):
    folder, record = done
    kept = record["checkpoints"][0]
    said = models.about(folder / f"{kept['name']}.safetensors")
    assert runs.read(runs.record_path(tiny(), folder)) == json.loads(json.dumps(record))
    assert said["run"] == record["id"] and said["digest"] == kept["digest"] and kept["label"] == "CPNI-W r=2"
    assert record["tier"] == "smoke" and [epoch["epoch"] for epoch in record["history"]] == [1, 2, 3, 4]
    best = max(record["history"], key=lambda epoch: epoch["heldout"]["clean"])
    assert kept["epoch"] == best["epoch"] and kept["heldout"] == best["heldout"]
    tensors = {name: value.numpy() for name, value in load_file(folder / f"{kept['name']}.safetensors").items()}
    assert np.allclose(kept["noise"], export.noise(tensors), atol=1e-4) and len(kept["noise"]) == 21
    assert record["seconds"] == pytest.approx(sum(epoch["seconds"] for epoch in record["history"]), abs=0.06)
    assert not list((folder / ".partial").glob("*"))


def test_a_finished_run_is_refused(done):
    folder, _ = done
    with pytest.raises(FileExistsError, match=f"training {tiny().id} is finished"):
        training.train(tiny(), checkpoints=folder, results=folder, progress=False)


def test_what_another_process_did_meanwhile_is_not_done_again_nor_overwritten(done, tmp_path, monkeypatch):
    folder, record = done
    alone = training.alone
    monkeypatch.setattr(training, "_train", lambda *_: pytest.fail("it was trained again"))
    monkeypatch.setattr(training, "alone", lambda path: runs.write(record, tmp_path) and alone(path))
    with pytest.raises(FileExistsError, match=f"training {tiny().id} is finished"):
        training.train(tiny(), checkpoints=tmp_path, results=tmp_path, progress=False)
    name = f"{record['checkpoints'][0]['name']}.safetensors"
    monkeypatch.setattr(training, "alone", lambda path: (tmp_path / name).write_bytes((folder / name).read_bytes()) and alone(path))
    with pytest.raises(FileExistsError, match=f"{name} was made by another run"):
        training.train(tiny(lr=0.2), checkpoints=tmp_path, results=tmp_path, progress=False)


# `fatal` is the step, of three an epoch, in which the process dies: in the first epoch, before anything is chosen. Later ones
# are those of test_killed.
KILLED = """
import json, sys, signal, os
from pathlib import Path
from siam import runs, training
asked, folder, fatal = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
batches, calls = training.batches, 0

def counted(*args):
    global calls
    calls += 1
    if calls == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return batches(*args)

training.batches = counted
training.train(runs.TrainingRun(**asked), checkpoints=folder, results=folder, save_after=0, progress=False)
"""


def test_killed_and_resumed_is_bit_equal_to_never_stopped(done, tmp_path):
    folder, record = done
    command = [sys.executable, "-c", KILLED, json.dumps(asdict(tiny())), str(tmp_path)]
    killed = subprocess.run([*command, "3"], env=os.environ | threads())
    assert killed.returncode == -signal.SIGKILL and not list(tmp_path.glob("*.safetensors"))
    subprocess.run([*command, "-1"], env=os.environ | threads(), check=True)
    resumed = runs.read(runs.record_path(tiny(), tmp_path))
    assert "begun" not in resumed and same(weights(tmp_path, resumed), weights(folder, record))
    plain = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in resumed["history"]]
    assert plain == [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]


def threads():
    """The number of threads decides the order of sums, and with it the last bit."""
    return {"OMP_NUM_THREADS": str(torch.get_num_threads())}


def test_a_training_that_went_on_with_other_threads_says_with_how_many_it_was_begun(tmp_path):
    begun = runs.provenance("cpu: 7 threads, another card")
    state_at(tmp_path / ".partial" / f"{tiny(epochs=1).id}.safetensors", begun, rank=2).save()
    record = training.train(tiny(epochs=1), checkpoints=tmp_path, results=tmp_path, progress=False)
    assert record["begun"] == [begun] and set(begun) == {"device", "versions", "commit", "date"}
    assert record["device"].startswith(f"cpu: {torch.get_num_threads()} threads")
    assert runs.read(runs.record_path(tiny(epochs=1), tmp_path))["begun"] == [begun]


def test_a_training_is_not_finished_on_another_kind_of_device(tmp_path):
    path = tmp_path / ".partial" / f"{tiny().id}.safetensors"
    state_at(path, runs.provenance("cuda: a card"), rank=2).save()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{path}: begun on cuda, not on cpu: go on there, or remove it to begin again"):
        training.train(tiny(), checkpoints=tmp_path, results=tmp_path, progress=False)
    assert path.read_bytes() == before


def test_a_training_that_diverges_ends_in_one_line_and_leaves_only_what_was_sound(tmp_path):
    """The first step has the learning rate 0: a state is saved, and stays from before the numbers were lost."""
    run = tiny(lr=1e9, epochs=1, batch_size=10)
    for _ in range(2):  # the second time from that state
        with pytest.raises(ValueError, match="in epoch 1, at lr = .*, its loss or weights are no longer finite: give a lower lr") as caught:
            training.train(run, checkpoints=tmp_path, results=tmp_path, save_after=0, progress=False)
        assert "\n" not in str(caught.value) and run.id in str(caught.value)
        (left,) = (path for path in tmp_path.rglob("*") if path.is_file())
        assert left.parent.name == ".partial" and all(value.isfinite().all() for value in load_file(left).values())


def test_an_epoch_that_diverges_between_two_saves_is_noticed_at_its_end(tmp_path):
    with pytest.raises(ValueError, match="in epoch 1, at lr = .*, its loss or weights are no longer finite"):
        training.train(tiny(lr=1e9, batch_size=10), checkpoints=tmp_path, results=tmp_path, save_after=1e9, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_another_runs_checkpoint_is_never_overwritten(done):
    folder, record = done
    path = folder / f"{record['checkpoints'][0]['name']}.safetensors"
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=f"{path.name} was made by another run"):
        training.train(tiny(lr=0.2), checkpoints=folder, results=folder, progress=False)
    assert path.read_bytes() == before


def test_a_network_that_is_on_record_alone_is_not_replaced_by_another_run(done, tmp_path):
    """Few networks ship: a record stands for those that do not, and the runs that were made with them hang on its digest."""
    folder, record = done
    recorded = runs.write(record, tmp_path)
    for attempt in (lambda: training.ready([tiny(lr=0.2)], tmp_path, tmp_path),
                    lambda: training.train(tiny(lr=0.2), checkpoints=tmp_path, results=tmp_path, progress=False)):
        with pytest.raises(FileExistsError, match=f"^cpni-w-r-2-smoke-0.safetensors was made by another run, {record['id']}: to train "
                                                  f"{tiny(lr=0.2).id} give another seed, or name another folder in SIAM_DATA") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    training.ready([tiny(seed=1)], tmp_path, tmp_path)
    recorded.unlink()  # as one does to train the same again, whether its network is here or not
    training.ready([tiny()], tmp_path, tmp_path)
    training.ready([tiny()], folder, tmp_path)


def test_checkpoints_are_named_after_what_they_are():
    names = {
        training.checkpoints_of(run)["best"][0]
        for run in (tiny(), tiny(rank=5), tiny("plain"), tiny("plain", "plain"), tiny("adversarial", "plain"),
                    tiny(variant="CPNI-W+A-a"), tiny(seed=1), tiny("epgd", start="0" * 16),
                    tiny("epgd", start="0" * 16, rank=5), tiny(rank=0))
    }
    assert names == {
        "cpni-w-r-2-smoke-0", "cpni-w-r-0-smoke-0", "cpni-w-smoke-0", "cpni-w-r-2-plain-smoke-0",
        "plain-smoke-0", "plain-adversarial-smoke-0",
        "cpni-w-a-a-r-2-smoke-0", "cpni-w-r-2-smoke-1", "epgd-converged-of-cpni-w-r-2-smoke-0", "epgd-converged-smoke-0",
    }


def test_a_field_of_the_schedule_that_there_is_not_is_refused(tmp_path):
    run = replace(tiny(), schedule=tiny().schedule | {"epoch": 3})
    with pytest.raises(ValueError, match="^schedule field 'epoch' is not one of tier, epochs, "):
        training.train(run, checkpoints=tmp_path, results=tmp_path, progress=False)


@pytest.mark.parametrize("precision", ["fp8", "FP32", None])
def test_no_other_precision_passes_as_fp32(precision):
    with pytest.raises(ValueError, match=f"^precision = {precision!r} is not allowed: give one of fp32, bf16$"):
        devices.autocast("cpu", precision)


def test_a_device_is_a_text_or_torchs_own():
    for device in ("cpu", torch.device("cpu")):
        devices.available(device)
    with pytest.raises(ValueError, match=r"device device\(type='meta'\) is not available here; there is: cpu"):
        devices.available(torch.device("meta"))


def test_a_foreign_state_is_refused_by_name_and_kept(tmp_path):
    state = tmp_path / ".partial" / f"{tiny().id}.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"somebody else's")
    with pytest.raises(ValueError, match=rf"{state}: not a training state, or one of an older version \(.+\): remove it to begin again"):
        training.train(tiny(), checkpoints=tmp_path, results=tmp_path, progress=False)
    assert state.read_bytes() == b"somebody else's"


def state_at(path, provenance=None, variant="CPNI-W", rank=5):
    model = models.classifier(variant, rank)
    optimiser = training.sgd(training.schedule("cpu", "adversarial"), model)
    return training.State(model, optimiser, path, provenance or runs.provenance(devices.describe("cpu")))


def test_a_state_whose_epoch_does_not_fit_its_history_is_refused(tmp_path):
    state = state_at(tmp_path / "x.safetensors")
    state.save()
    state.restore(8, 10)
    state.position |= dict(epoch=1)
    state.save()
    with pytest.raises(ValueError, match="x.safetensors: not a training state"):
        state.restore(8, 10)


@pytest.mark.parametrize("spoil, why", [
    (lambda state: state.kept.pop("best"), "its best and worst epoch do not fit its history"),
    (lambda state: state.position.pop("worst"), "its best and worst epoch do not fit its history"),
    (lambda state: state.position.update(best=2), "its best and worst epoch do not fit its history"),
    (lambda state: state.kept["best"].pop("network.linear.bias"), r"best: network.linear.bias must be \[10\] and is absent"),
    (lambda state: state.position.update(step=3), "its history or sums do not fit its position"),
    (lambda state: (state.position.update(step=11), state.sums.fill_(1)), "epoch 1 and step 11, is beyond 8 epochs of 10 steps"),
    (lambda state: state.position.update(epoch=9, history=9 * state.position["history"]), "epoch 9 and step 0, is beyond 8 epochs"),
    (lambda state: state.position.update(epoch="1"), "epoch = '1' is not allowed: give a whole number"),
])
def test_a_state_from_which_a_training_could_not_end_is_refused(tmp_path, spoil, why):
    state = state_at(tmp_path / "x.safetensors", variant="plain")
    state.position.update(epoch=1, history=[dict(heldout=dict(clean=3), seconds=1.0)])
    for name in ("best", "worst"):
        state.keep(name, lambda now, kept: False)
    state.save()
    state.restore(8, 10)
    spoil(state)
    state.save()
    with pytest.raises(ValueError, match=rf"^{state.path}: not a training state, or one of an older version \(.*{why}") as caught:
        state_at(state.path, variant="plain").restore(8, 10)
    assert "\n" not in str(caught.value)


def test_a_state_that_does_not_say_where_it_was_begun_is_refused(tmp_path):
    state = state_at(tmp_path / "x.safetensors")
    state.save()
    with safe_open(state.path, "pt") as file:
        said = file.metadata()
    assert said.pop("provenance")
    save_file(load_file(state.path), state.path, said)
    with pytest.raises(ValueError, match="x.safetensors: not a training state, or one of an older version"):
        state.restore(8, 10)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), PermissionError("not yours")])
def test_what_says_nothing_about_a_state_does_not_ask_to_remove_it(tmp_path, monkeypatch, error):
    state = state_at(tmp_path / "x.safetensors")
    state.save()

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(training, "safe_open", fail)
    with pytest.raises(type(error), match=str(error)):
        state.restore(8, 10)


def test_a_network_learns(tmp_path):
    run = tiny("plain", "plain", epochs=6, images=150, batch_size=25, lr=0.1)
    history = training.train(run, checkpoints=tmp_path, results=tmp_path, progress=False)["history"]
    assert history[-1]["loss"] < 0.8 * history[0]["loss"] and history[-1]["clean"] > 0.2
    assert "adversarial" not in history[-1]  # not trained on, so no accuracy is claimed


def test_both_losses_of_every_image_are_counted(tmp_path):
    """As on the fast and paper tiers, with fewer steps of the attack."""
    run = tiny(mix="both", steps=2, step_size=2.0, epochs=1)
    (epoch,) = training.train(run, checkpoints=tmp_path, results=tmp_path, progress=False)["history"]
    assert epoch["loss"] > 0 and {"clean", "adversarial"} <= set(epoch)
    right = [60 * epoch[name] for name in ("clean", "adversarial")]
    assert right == pytest.approx([round(count) for count in right], abs=1e-3)  # each of the 60 images once


def test_epgd_fine_tuning_starts_from_its_checkpoint_and_leaves_its_best_and_worst_epoch(done, tmp_path):
    folder, record = done
    start = record["checkpoints"][0]["digest"]
    for path in folder.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    plan = training.schedule("smoke", "epgd", images=40, batch_size=20, epochs=2, samples=2, lr=0.2)
    run = runs.TrainingRun("CPNI-W", "epgd", asdict(plan), rank=2, start=start)
    tuned = training.train(run, checkpoints=tmp_path, results=tmp_path, progress=False)
    assert {kept["label"] for kept in tuned["checkpoints"]} == {"EPGD-converged of CPNI-W r=2", "EPGD-diverged of CPNI-W r=2"}
    with pytest.raises(FileNotFoundError, match=start):
        training.train(run, checkpoints=tmp_path / "empty", results=tmp_path / "empty", progress=False)


@pytest.fixture
def watched(monkeypatch):
    """Trainings without their arithmetic: the weights and σ that one begins with, then of each update the indices and learning rates.
    An update adds 1 to a bias, and after it 3, 1, 3, 1 of 5 clean held-out images are right."""
    seen, right = [], iter((3, 1, 3, 1))

    def update_of(plan, model, optimiser, x, y, sums):
        seen.append(({name: value.clone() for name, value in model.state_dict().items()}, float(model.input_noise.sigma)))

        def update(indices):
            seen.append((indices.tolist(), [float(group["lr"]) for group in optimiser.param_groups]))
            sums[1] += len(indices)
            with torch.no_grad():
                model.network.linear.bias += 1

        return update

    monkeypatch.setattr(training, "update_of", update_of)
    monkeypatch.setattr(training, "heldout_counts", lambda *_: dict(n=5, clean=next(right), adversarial=0))
    return seen


def test_a_training_from_scratch_starts_softly_and_goes_through_all_images_in_a_new_order_each_epoch(tmp_path, watched):
    run = tiny(seed=1, epochs=3, images=40)
    training.train(run, checkpoints=tmp_path, results=tmp_path, progress=False)
    (began, sigma), *updates = watched
    with seeded(1, "initial"):
        wanted = models.classifier("CPNI-W", 2)
    with seeded(1, "soften"):
        soften(wanted, run.schedule["noise_start"])
    assert same(began, wanted.state_dict()) and sigma == 0
    orders = [tuple(updates[2 * epoch][0] + updates[2 * epoch + 1][0]) for epoch in range(3)]
    assert all(sorted(order) == list(range(40)) for order in orders) and len(set(orders)) == 3
    plan = training.Schedule(**run.schedule)
    for step, (_, (lr, of_noise)) in enumerate(updates):
        assert lr == pytest.approx(training.learning_rate(plan, step / 2), rel=1e-5) and of_noise == pytest.approx(0.01 * lr, rel=1e-5)


@pytest.mark.parametrize("method, sigma", [("gauss", 0.24), ("epgd", 0.0)])
def test_a_fine_tuning_starts_from_its_checkpoint_with_its_noise_and_keeps_the_first_best_and_worst_epoch(tmp_path, watched, method, sigma):
    about = dict(variant="CPNI-W", rank=2, sigma=0.0, label="CPNI-W", tier="smoke")
    with seeded("base"):
        models.save(models.classifier("CPNI-W", 2), tmp_path / "base.safetensors", **about)
    base = models.load(tmp_path / "base.safetensors").state_dict()
    changes = dict(epochs=4, images=40, batch_size=40)
    (run,) = training.requested("CPNI-W", method, "smoke", 2, "base", sigma, [0], changes, checkpoints=tmp_path)
    record = training.train(run, checkpoints=tmp_path, results=tmp_path, progress=False)
    assert same(watched[0][0], base) and watched[0][1] == sigma
    assert [kept["epoch"] for kept in record["checkpoints"]] == {"gauss": [1], "epgd": [1, 2]}[method]
    for kept in record["checkpoints"]:
        bias = models.load(tmp_path / f"{kept['name']}.safetensors").state_dict()["network.linear.bias"]
        torch.testing.assert_close(bias, base["network.linear.bias"] + kept["epoch"])


@pytest.mark.parametrize("method, samples", [("adversarial", 1), ("epgd", 8)])
def test_a_schedules_attack_is_the_papers(monkeypatch, method, samples):
    asked = {}
    monkeypatch.setattr(training, "pgd", lambda loss, x, **how: asked.update(how) or x)
    attack = training.attack_of(training.schedule("paper", method), SimpleNamespace(refresh=lambda: asked.update(refreshed=True)))
    attack(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long))
    assert asked == dict(samples=samples, steps=7, epsilon=8 / 255, step_size=2 / 255, summed=True, refreshed=True)


def test_a_schedule_without_clip_and_sums_is_that_of_runs_from_before_there_were_such():
    plan = training.schedule("fast", "adversarial")
    assert not {"clip", "summed"} & set(training.fields_of(plan)) and training.Schedule(**training.fields_of(plan)) == plan
    plan = training.schedule("paper", "adversarial")
    assert training.fields_of(plan).items() >= {"clip": 0.05, "summed": True}.items()
    assert training.Schedule(**{**training.fields_of(plan), "milestones": tuple(plan.milestones)}) == plan


def test_clip_shortens_the_gradient_of_all_parameters_together():
    steps = {}
    for clip in (0.0, 0.05, 1e6):
        plan = training.schedule("smoke", "adversarial", weight_decay=0.0, steps=1, images=20, batch_size=20, clip=clip, lr=0.1, mix="both")
        with seeded("clip"):
            model = models.classifier("CPNI-W", 2).train()
        before, (x, y) = [p.detach().clone() for p in model.parameters()], images("sample-train", 20)
        update = training.update_of(plan, model, training.sgd(plan, model), x, y, torch.zeros(len(training.SUMS), dtype=torch.float64))
        with seeded("update"):
            update(torch.arange(20))
        # The first step of Nesterov's momentum is 1.9 gradients.
        steps[clip] = [(old - p.detach()) / (0.1 * 1.9) for old, p in zip(before, model.parameters())]
    norms = {clip: float(torch.cat([part.flatten() for part in of]).norm()) for clip, of in steps.items()}
    assert norms[0.0] > 0.5 and norms[1e6] == norms[0.0] and norms[0.05] == pytest.approx(0.05, rel=1e-2)
    for short, whole in zip(steps[0.05], steps[0.0]):  # the same direction, noise and weights alike
        torch.testing.assert_close(short, whole * (norms[0.05] / norms[0.0]), rtol=1e-2, atol=1e-5)


def test_epochs_are_chosen_on_images_that_are_not_trained_on(monkeypatch):
    plan, shipped = training.schedule("smoke", "adversarial"), images("sample-train")
    for part, whole in zip(training.heldout_images(plan, "cpu"), shipped):
        assert torch.equal(part, whole[training.SAMPLE_TRAINING:]) and len(part) == 50
    asked = []
    monkeypatch.setattr(training, "images", lambda split, *n, device: asked.append((split, n)))
    training.heldout_images(training.schedule("cpu", "adversarial"), "cpu")
    assert asked == [("heldout", ())]


def test_held_out_counts_are_of_clean_and_of_attacked_images(monkeypatch):
    """A network that is right where pixels are as they came, and an attack that moves them off that."""
    def names(x):
        return torch.nn.functional.one_hot((x == 0.25).flatten(1).all(1).long(), 2).float()

    asked = []
    monkeypatch.setattr(training, "attack_of", lambda plan, folded: asked.append(plan) or (lambda x, y: x + 0.01))
    monkeypatch.setattr(training, "pixels", lambda x: x)
    heldout = torch.full((7, 3, 2, 2), 0.25), torch.ones(7, dtype=torch.long)
    summed = replace(training.schedule("cpu", "epgd", epsilon=4.0), summed=True)
    counts = training.heldout_counts(names, summed, heldout, 0, 0)
    assert counts == dict(n=7, clean=7, adversarial=0)
    assert [(plan.epsilon, plan.steps, plan.step_size, plan.samples, plan.summed) for plan in asked] == [(8.0, 7, 2.0, 1, False)]


def test_a_fine_tuned_network_says_what_it_is_and_another_kind_of_start_is_refused(tmp_path):
    models.save(models.classifier("CPNI-W"), tmp_path / "base.safetensors", variant="CPNI-W", rank=5, sigma=0.0,
                label="CPNI-W", tier="smoke")
    changes = dict(images=20, batch_size=20)
    (run,) = training.requested("CPNI-W", "gauss", "smoke", 5, "base", 0.24, [0], changes, checkpoints=tmp_path)
    record = training.train(run, checkpoints=tmp_path, results=tmp_path, progress=False)
    path = tmp_path / f"{record['checkpoints'][0]['name']}.safetensors"
    assert models.load(path).input_noise.sigma == 0.24 and models.about(path)["label"] == "Gauss"
    assert run.start == models.about(tmp_path / "base.safetensors")["digest"]
    with pytest.raises(ValueError, match="start 'base' is a CPNI-W of rank 5, not PNI-W of rank 5"):
        training.requested("PNI-W", "gauss", "smoke", 5, "base", 0.24, [0], changes, checkpoints=tmp_path)
    models.save(models.classifier("PNI-W"), tmp_path / "white.safetensors", variant="PNI-W", rank=5, sigma=0.0,
                label="PNI-W", tier="smoke")  # white noise has no rank, whatever its file says
    assert training.requested("PNI-W", "gauss", "smoke", 5, "white", 0.24, [0], changes, checkpoints=tmp_path)


def test_a_fine_tuning_is_known_by_the_record_of_its_start(tmp_path):
    """What ships is less than what was trained, and a finished fine-tuning stays finished."""
    models.save(models.classifier("CPNI-W"), tmp_path / "base.safetensors", variant="CPNI-W", rank=5, sigma=0.0,
                label="CPNI-W", tier="smoke")
    plan = asdict(training.schedule("smoke", "adversarial"))
    digest = models.about(tmp_path / "base.safetensors")["digest"]
    kept = [dict(name="base", digest=digest)]
    runs.write(runs.record(runs.TrainingRun("CPNI-W", "adversarial", plan), tier="smoke", checkpoints=kept, history=[]), tmp_path)
    folders = dict(checkpoints=tmp_path, results=tmp_path)
    asked = training.requested("CPNI-W", "gauss", "smoke", 5, "base", 0.24, [0], {}, **folders)
    training.ready(asked, **folders)
    base = (tmp_path / "base.safetensors").read_bytes()
    models.save(models.classifier("CPNI-W"), tmp_path / "base.safetensors", variant="CPNI-W", rank=5, sigma=0.0,
                label="CPNI-W", tier="smoke")
    with pytest.raises(ValueError, match=f"base.safetensors has the digest .*, but the record of its training has {digest}: it is damaged"):
        training.requested("CPNI-W", "gauss", "smoke", 5, "base", 0.24, [0], {}, **folders)
    (tmp_path / "base.safetensors").write_bytes(base)
    assert training.requested("CPNI-W", "gauss", "smoke", 5, "base", 0.24, [0], {}, **folders) == asked
    (tmp_path / "base.safetensors").unlink()
    assert training.requested("CPNI-W", "gauss", "smoke", 5, "base", 0.24, [0], {}, **folders) == asked
    with pytest.raises(ValueError, match="start 'base' is a CPNI-W of rank 5, not CPNI-W of rank 2"):
        training.requested("CPNI-W", "gauss", "smoke", 2, "base", 0.24, [0], {}, **folders)
    with pytest.raises(ValueError, match="start 'base' is of tier smoke"):
        training.requested("CPNI-W", "gauss", "cpu", 5, "base", 0.24, [0], {}, **folders)
    with pytest.raises(FileNotFoundError, match=f"no checkpoint with digest {digest}"):
        training.ready(asked, **folders)  # before any work begins
    with pytest.raises(FileNotFoundError, match="no checkpoint 'other'"):
        training.requested("CPNI-W", "gauss", "smoke", 5, "other", 0.24, [0], {}, **folders)
    runs.write(runs.record(asked[0], tier="smoke", checkpoints=[], history=[]), tmp_path)
    training.ready(asked, **folders)  # finished: there is nothing to train


def test_the_paper_tier_is_the_authors_schedule():
    plan = training.schedule("paper", "adversarial")
    rates = [training.learning_rate(plan, epoch) for epoch in (0, 199.9, 200, 299.9, 300, 399.9)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert (plan.epochs, plan.batch_size, plan.momentum, plan.weight_decay) == (400, 256, 0.9, 1e-4)
    assert (plan.weight, plan.mix, plan.steps, plan.samples) == (0.5, "both", 7, 1)
    assert (plan.epsilon, plan.step_size, plan.noise_start, plan.noise_lr) == (8.0, 2.0, 1.0, 1.0)
    assert training.schedule("paper", "epgd").samples == 8 and plan.precision == "bf16"
    for method in ("gauss", "epgd"):
        tuned = training.schedule("paper", method)
        assert (tuned.epochs, tuned.lr, tuned.milestones) == (200, 0.1, ())
    plain = training.schedule("paper", "plain", "plain")  # which the authors' code trains by another function
    assert (plain.clip, plain.summed, plan.clip, plan.summed) == (0.0, False, 0.05, True)


def test_white_noise_starts_as_its_authors_start_it_where_accuracies_are_held_against_theirs():
    starts = {(tier, variant): training.requested(variant, "adversarial", tier, 5, None, 0.0, [0], {})[0].schedule["noise_start"]
              for tier in ("cpu", "long", "fast", "paper") for variant in ("PNI-W", "CPNI-W")}
    softened = {("cpu", "PNI-W"), ("long", "PNI-W"), ("cpu", "CPNI-W"), ("long", "CPNI-W"), ("fast", "CPNI-W")}
    assert starts == {of: 0.3 if of in softened else 1.0 for of in starts}


def test_triangle_rises_and_falls():
    plan = training.Schedule(shape="triangle", lr=0.4, epochs=8)
    assert [training.learning_rate(plan, e) for e in (0, 1, 2, 5, 8)] == pytest.approx([0, 0.2, 0.4, 0.2, 0])


def half(x, y):
    """An attack that leaves a mark."""
    return x * 0 + 0.5


def test_both_weighs_a_clean_and_an_attacked_pass():
    plan, x, y = training.Schedule(weight=0.3), torch.rand(6, 3, 4, 4), torch.zeros(6)
    (clean, seen, attacked), (adversarial, hit, marked) = training.batches(plan, x, y, half)
    assert (clean, adversarial) == (0.7, 0.3)
    assert torch.equal(seen, x) and not attacked.any() and (hit == 0.5).all() and marked.all()


def test_either_attacks_each_image_with_probability_w():
    plan, x, y = training.Schedule(weight=0.3, mix="either"), torch.rand(4000, 1, 1, 1), torch.zeros(4000)
    with seeded("either"):
        ((weight, seen, attacked),) = training.batches(plan, x, y, half)
    assert weight == 1 and torch.equal(attacked[:, None, None, None], seen == 0.5)
    assert torch.equal(seen[~attacked], x[~attacked])
    assert abs(float(attacked.float().mean()) - 0.3) < 6 * (0.21 / 4000) ** 0.5


def test_an_update_follows_the_weighted_gradient_of_cropped_and_of_attacked_images(monkeypatch):
    """Eq. (6) on a linear network: what the optimiser is handed is what autograd gives, batch by batch, of either size."""
    model, x, y = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)), torch.rand(7, 3, 2, 2), torch.arange(7) % 4
    x = (256 * x).byte()
    shifted = lambda x, y: x + 0.9 * torch.nn.functional.one_hot(y, 4).view(-1, 1, 2, 2)  # noqa: E731
    monkeypatch.setattr(training, "Folded", lambda model: model)
    monkeypatch.setattr(training, "attack_of", lambda plan, folded: shifted)
    monkeypatch.setattr(training, "crop_and_flip", lambda x: x // 2)
    handed, sums = [], torch.zeros(len(training.SUMS), dtype=torch.float64)
    optimiser = SimpleNamespace(zero_grad=model.zero_grad, step=lambda: handed.append([p.grad.clone() for p in model.parameters()]))
    update, wanted = training.update_of(training.Schedule(weight=0.3), model, optimiser, x, y, sums), 0
    for indices in (torch.tensor([5, 0, 3, 2, 6]), torch.tensor([1, 4])):
        update(indices)
        n, labels, clean = len(indices), y[indices], (x[indices] // 2) / 255
        said = [model(seen) for seen in (clean, shifted(clean, labels))]
        right = [int((logits.argmax(1) == labels).sum()) for logits in said]
        loss = sum(w * torch.nn.functional.cross_entropy(logits, labels) for w, logits in zip((0.7, 0.3), said))
        torch.testing.assert_close(handed[-1], list(torch.autograd.grad(loss, list(model.parameters()))))
        wanted += torch.tensor([n * float(loss.detach()), n, right[0], n, right[1], n], dtype=torch.float64)
    torch.testing.assert_close(sums, wanted, rtol=1e-6, atol=0)
    assert wanted[2] != wanted[4]


def on_no_device(monkeypatch, method="adversarial", **changes):
    """An update on tensors that have a shape and no numbers: reading one, as `.item()` does, raises."""
    monkeypatch.setattr(training, "autocast", lambda device, precision: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    plan = replace(training.schedule("paper", method), steps=2, **changes)  # a step is like the next
    model = models.classifier("CPNI-W+A-a").to("meta").train()
    optimiser = SimpleNamespace(zero_grad=model.zero_grad, step=lambda: None)  # the fused one knows no such device
    x, y = torch.zeros(32, 3, 32, 32, dtype=torch.uint8, device="meta"), torch.zeros(32, dtype=torch.int64, device="meta")
    sums = torch.zeros(len(training.SUMS), dtype=torch.float64, device="meta")
    training.update_of(plan, model, optimiser, x, y, sums)(torch.arange(16, device="meta"))
    return model


def test_an_update_waits_for_nothing_so_that_a_graph_can_hold_it(monkeypatch):
    for method in ("plain", "adversarial", "epgd"):
        model = on_no_device(monkeypatch, method)
        assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="meta tensors"):  # which images "either" attacks has to be read
        on_no_device(monkeypatch, mix="either")


def steps_of(plan, variant, device, update=training.update_of):
    """Weights and running sums after some steps, the last batch of every three a smaller one, as at the end of an epoch; on a GPU
    enough of them for a graph of either size to be captured, and replayed in turn with the other."""
    with seeded("steps"):
        model = models.classifier(variant, 2, 0.24).to(device).train()
    n = 112 if device == "cuda" else 16
    x, y = (part.to(device) for part in images("sample-train", n))
    optimiser, sums = training.sgd(plan, model), torch.zeros(len(training.SUMS), dtype=torch.float64, device=device)
    step = update(plan, model, optimiser, x, y, sums)
    for k in range(18 if device == "cuda" else 3):
        seed("step", k)
        step(torch.arange(n, device=device)[:: 1 + (k % 3 == 2)])
    return model.state_dict() | {"sums": sums}


def plainly(*args):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "captured", lambda function: function)
        return training.update_of(*args)


@pytest.mark.parametrize("device, precision, variant, changes", [
    ("cpu", "fp32", "CPNI-W", dict(summed=True, clip=0.05)),
    *(pytest.param("cuda", *of, marks=pytest.mark.skipif(not torch.cuda.is_available() or without_graphs(), reason="no GPU, or no graphs"))
      for of in [*(("bf16", variant, {}) for variant in runs.VARIANTS), ("bf16", "CPNI-W", dict(samples=8)), ("fp32", "CPNI-W", {}),
                 ("bf16", "CPNI-W", dict(summed=True, clip=0.05))]),
])
def test_a_captured_step_trains_as_the_plain_one(device, precision, variant, changes):
    """On the CPU nothing is captured and the two are the same by construction: there the test itself is tried."""
    plan = training.Schedule(**changes, steps=2, precision=precision, lr=0.01)
    captured, plain, again = (steps_of(plan, variant, device, update) for update in (training.update_of, plainly, plainly))
    assert not same(captured, steps_of(plan, variant, device, lambda *args: lambda indices: None))
    # The attack's signs make any rounding large within a few steps: nothing between equal and unlike can be asked.
    assert same(plain, again), "the plain step itself differs from call to call: this says nothing of the graph"
    assert same(captured, plain)


def test_learning_rates_and_momentum_are_tensors_that_a_graph_can_read():
    model = models.classifier("CPNI-W", rank=1)
    optimiser = training.sgd(training.schedule("cpu", "adversarial"), model)
    quiet = {name for name, p in model.named_parameters() if p in set(optimiser.param_groups[1]["params"])}
    assert quiet == {name for name, _ in model.named_parameters() if "noise." in name} != set()
    assert [group["factor"] for group in optimiser.param_groups] == [1.0, 0.01]
    assert all(torch.is_tensor(group["lr"]) for group in optimiser.param_groups)
    assert len(optimiser.state) == len(list(model.parameters()))


def test_the_optimiser_is_sgd_with_nesterov_momentum():
    """Against its equations: v ← m v + g, w ← w − lr (g + m v), g with weight decay."""
    plan = training.Schedule(lr=0.3, momentum=0.9, weight_decay=0.01)
    model = torch.nn.Linear(3, 2, bias=False)
    w, v, optimiser = model.weight.detach().clone(), 0, training.sgd(plan, model)
    for _ in range(4):
        model.weight.grad = torch.randn(2, 3)
        g = model.weight.grad + 0.01 * w
        v = 0.9 * v + g
        w = w - 0.3 * (g + 0.9 * v)
        optimiser.step()
    torch.testing.assert_close(model.weight.detach(), w)


@pytest.mark.parametrize("precision", runs.PRECISIONS)
def test_attack_and_passes_of_an_update_are_in_the_precision_of_the_schedule(monkeypatch, precision):
    kinds, pgd, of = [], training.pgd, dict(fp32=torch.float32, bf16=torch.bfloat16)
    monkeypatch.setattr(training, "pgd", lambda *given, **how: kinds.append(
        of["bf16" if torch.is_autocast_enabled("cpu") else "fp32"]) or pgd(*given, **how))
    plan = training.schedule("smoke", "adversarial", precision=precision, steps=1, images=20, batch_size=20, mix="both")
    model, (x, y) = models.classifier("CPNI-W", 2).train(), images("sample-train", 20)
    model.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    training.update_of(plan, model, training.sgd(plan, model), x, y, torch.zeros(6, dtype=torch.float64))(torch.arange(20))
    assert kinds == [of[precision]] * 3


@pytest.mark.parametrize("seed, wanted", [
    (0, [(1105666164520498061, [0, 11, 10, 3]), (1565021756273358597, [8, 6, 27, 37]), (0, 0)]),
    (1, [(2983979070526785063, [5, 32, 30, 31]), (4408189945064803426, [33, 3, 26, 9]), (1, 0)]),
])
def test_the_order_and_the_draws_of_a_training_never_change(tmp_path, monkeypatch, seed, wanted):
    """If this fails, no training made so far could be made again, and one that was cut off would go on as another."""
    seen = []

    def update_of(plan, model, optimiser, x, y, sums):
        def update(indices):
            seen.append((torch.initial_seed(), indices[:4].tolist()))
            sums[1] += len(indices)
        return update

    monkeypatch.setattr(training, "update_of", update_of)
    monkeypatch.setattr(training, "heldout_counts", lambda _, plan, heldout, *key: dict(n=5, clean=seen.append(key) or 1, adversarial=0))
    training.train(tiny(seed=seed, epochs=1, images=40), checkpoints=tmp_path, results=tmp_path, progress=False)
    assert seen == wanted


def test_held_out_images_are_attacked_with_draws_of_their_training_and_epoch(monkeypatch):
    drawn = []
    monkeypatch.setattr(training, "attack_of", lambda plan, folded: lambda x, y: drawn.append(torch.initial_seed()) or x)
    plan, heldout = training.schedule("smoke", "adversarial"), images("sample-train", 5)
    for key in ((0, 0), (0, 1), (1, 0)):
        training.heldout_counts(lambda x: torch.zeros(len(x), 10), plan, heldout, *key)
    assert len(set(drawn)) == 3


def test_the_device_in_words(monkeypatch):
    words = f"cpu: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    for amx, bf16, more in ((False, False, ""), (False, True, " with bf16"), (True, True, " with AMX")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda there=amx: there, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda there=bf16: there, raising=False)
        assert devices.describe("cpu") == words + more
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")  # a torch that cannot say
    assert devices.describe("cpu") == f"{words} with bf16"


def test_softened_white_noise_has_its_standard_deviation_scaled():
    noise, W = WhiteNoise((4, 3, 2, 2)), torch.randn(4, 3, 2, 2)
    D = noise.factors(W)[0].detach().clone()
    soften(noise, 0.3)
    torch.testing.assert_close(noise.factors(W)[0].detach(), 0.3 * D)


def test_softened_noise_has_its_standard_deviation_scaled_and_no_common_shift():
    noise, W = ColouredNoise((4, 3, 2, 2), 2), torch.randn(4, 3, 2, 2)
    D, F = (factor.detach().clone() for factor in noise.factors(W))
    with seeded("signs"):
        signs = torch.randn_like(noise.F).sign()
    with seeded("signs"):
        soften(noise, 0.3)
    assert torch.equal(noise.F.sign(), signs)  # of other draws no training made so far could be made again
    softer, signed = (factor.detach() for factor in noise.factors(W))
    torch.testing.assert_close(softer, 0.3 * D)
    torch.testing.assert_close(signed.abs(), 0.3 * F)
    assert (signed > 0).any() and (signed < 0).any()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(tier="huge"), "tier 'huge' has no schedule; there are paper, fast, long, cpu, smoke"),
        (dict(tier=["cpu"]), "tier \\['cpu'\\] has no schedule"),
        (dict(changes={2: 2}), "changes = {2: 2} is not allowed: give fields of the schedule"),
        (dict(device=0), "device 0 is not available here; there is: cpu"),
        (dict(tier="paper", changes={"epochs": 3}), "takes no changes; given: epochs"),
        (dict(tier="fast", changes={"weight": 0.0}), "takes no changes; given: weight"),
        (dict(tier="cpu", changes={"split": "sample-train"}),
         "split = 'sample-train' is not allowed at tier 'cpu': to train on the shipped sample give tier smoke"),
        (dict(tier="long", changes={"images": 128, "epochs": 1}), "images = 128 is not allowed at tier 'long', .*: give tier smoke"),
        (dict(tier="cpu", changes={"images": 48_999}), "images = 48999 is not allowed at tier 'cpu', .*: give tier smoke"),
        (dict(tier="long", changes={"epochs": 39}), "epochs = 39 is not allowed at tier 'long': give 40 or more, or tier cpu or smoke"),
        (dict(tier="long", method="gauss", changes={"epochs": 4}), "epochs = 4 is not allowed at tier 'long': give 5 or more"),
        (dict(changes={"images": 300}), "images = 300 is not allowed: give at most 250 of the split sample-train"),
        (dict(changes={"images": None}), "images = None is not allowed"),
        (dict(changes={"images": "all"}), "images = 'all' is not allowed: give a whole number"),
        (dict(changes={"lr": "1e-1"}), "lr = '1e-1' is not allowed: give a finite number, 0 or more"),
        (dict(changes={"lr": -1}), "lr = -1 is not allowed"),
        (dict(changes={"momentum": 0}), "momentum = 0 is not allowed: give a number above 0 and below 1"),
        (dict(changes={"milestones": 5}), "milestones = 5 is not allowed: give a list of epochs"),
        (dict(changes={"epsilon": 300}), "epsilon = 300 is not allowed: its unit is 1/255: give 8 for 8/255, at most 255"),
        (dict(changes="epochs=3"), "changes = 'epochs=3' is not allowed: give fields of the schedule"),
        (dict(device="meta"), "device 'meta' is not available here"),
        (dict(changes={"epoch": 3}), "schedule field 'epoch' is not one of epochs"),
        (dict(changes={"shape": "cosine"}), "shape 'cosine' is not one of steps, triangle"),
        (dict(changes={"mix": "some"}), "mix 'some' is not one of both, either"),
        (dict(changes={"precision": "fp8"}), "precision 'fp8' is not one of fp32, bf16"),
        (dict(changes={"tier": "paper"}), "schedule field 'tier' is not one of"),
        (dict(changes={"split": "test"}), "split 'test' is not one of train, sample-train"),
        (dict(changes={"batch_size": 0}), "batch_size = 0 is not allowed: give a whole number, 1 or more"),
        (dict(changes={"steps": 1.5}), "steps = 1.5"),
        (dict(changes={"epsilon": -8.0}), "epsilon = -8.0 is not allowed: give a finite number, 0 or more"),
        (dict(changes={"weight": 2.0}), "weight = 2.0 is not allowed: give a number from 0 to 1"),
        (dict(changes={"weight": 0}), "weight = 0 is not allowed with method 'adversarial': give a number above 0 and at most 1"),
        (dict(method="epgd", changes={"weight": 0.0}), "weight = 0.0 is not allowed with method 'epgd'"),
        (dict(changes={"steps": 0}), "steps = 0 is not allowed with method 'adversarial', which attacks: give more than 0"),
        (dict(changes={"epsilon": 0.0}), "epsilon = 0 is not allowed with method 'adversarial', which attacks"),
        (dict(method="plain", changes={"weight": 1.0}), "weight = 1.0 is not allowed with method 'plain': give 0"),
        (dict(changes={"epsilon": 8 / 255}), "epsilon = 0.0313.* is not allowed: its unit is 1/255: give 8 for 8/255, at most 255"),
        (dict(changes={"step_size": 2 / 255}), "step_size = 0.0078.* is not allowed: its unit is 1/255: give 2 for 2/255, at most 255"),
        (dict(seeds=0), "seeds = 0 is not allowed: give a list"),
        (dict(seeds=[]), "seeds = \\[\\] is not allowed"),
        (dict(device="abacus"), "device 'abacus' is not available here; there is: cpu"),
        (dict(method="epgd"), "start = None is not allowed: methods gauss and epgd fine-tune a checkpoint"),
        (dict(variant="CPNI"), "variant = 'CPNI'"),
        (dict(method="free"), "method = 'free'"),
        (dict(sigma=-1.0), "sigma = -1.0"),
        (dict(method="gauss", sigma=0.24, start="lost"), "no checkpoint 'lost'"),
        (dict(start="lost"), "start = 'lost' is not allowed: methods gauss and epgd fine-tune a checkpoint, the others start afresh"),
        (dict(variant=None, method="gauss", sigma=0.24, start="lost"), "variant = None is not allowed: give one of plain, PNI-W"),
        (dict(variant=["a"], method="gauss", sigma=0.24, start="lost"), "variant = \\['a'\\] is not allowed"),
        (dict(method="gauss", sigma=0.24), "start = None"),
    ],
)
def test_a_bad_parameter_of_the_notebook_is_named_in_one_line(change, message, tmp_path):
    good = dict(variant="CPNI-W", method="adversarial", tier="smoke", rank=5, start=None, sigma=0.0, seeds=[0], changes={})
    assert len(training.requested(**good | dict(seeds=[0, 0]), checkpoints=tmp_path)) == 1
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        training.requested(**(good | change), checkpoints=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tier, method, changes", [
    ("cpu", "adversarial", dict(epochs=4)), ("cpu", "gauss", dict(epochs=2)), ("cpu", "adversarial", dict(images=49_000)),
    ("long", "adversarial", dict(epochs=60, images=None)), ("long", "epgd", dict(epochs=5.0)), ("smoke", "adversarial", dict(images=20)),
])
def test_a_tier_takes_what_is_no_less_than_its_own_and_cpu_fewer_epochs(tier, method, changes):
    plan = training.schedule(tier, method, **changes)
    assert plan.tier == tier and {name: getattr(plan, name) for name in changes} == changes


def test_a_network_is_no_better_than_what_it_started_from(tmp_path):
    models.save(models.classifier("CPNI-W"), tmp_path / "a.safetensors", variant="CPNI-W", rank=5, sigma=0.0, label="CPNI-W", tier="smoke")
    fine = dict(variant="CPNI-W", method="gauss", rank=5, start="a", sigma=0.24, seeds=[0], changes={}, checkpoints=tmp_path)
    assert training.requested(tier="smoke", **fine)
    with pytest.raises(ValueError, match="start 'a' is of tier smoke: fine-tuned, it is not a network of tier 'cpu'"):
        training.requested(tier="cpu", **fine)


def test_a_name_that_is_taken_is_noticed_before_any_work(tmp_path):
    asked = training.requested("plain", "plain", "smoke", 5, None, 0.0, [0, 1], {}, checkpoints=tmp_path)
    training.ready(asked, tmp_path, tmp_path)
    about = dict(variant="plain", rank=0, sigma=0.0, label="plain", tier="smoke")
    models.save(models.classifier("plain"), tmp_path / "plain-smoke-1.safetensors", **about)
    with pytest.raises(FileExistsError, match="plain-smoke-1.safetensors was made by another run, which it does not name: to train"):
        training.ready(asked, tmp_path, tmp_path)
