"""Experiments that change one thing: the right records side by side, and nothing where there are none."""

import re

import numpy as np
import pytest
import torch
from conftest import plain

from siam import models, runs
from siam.noise import NoisyConv2d, soften
from siam.pages import findings, style, tables, words_of_tables
from test_paired import keep
from test_report import better_trained, digest, evaluate, line, train


def test_nothing_is_claimed_without_records(tmp_path):
    for name in findings.NAMES:
        assert list(findings.varied(name, tmp_path).frame[findings.NAMES[name]]) == [style.NOT_YET]
    for table, missing in ((findings.selection(tmp_path), 1), (findings.twins(tmp_path), 2), (findings.units(tmp_path), 6)):
        assert (table.frame == style.NOT_YET).sum().sum() == missing and not any(table.frame["Records"])


def trained(folder, seed, rank=5, epochs=8, lr=0.05, tier="cpu", label="CPNI-W", **fields):
    run = runs.TrainingRun(label, "adversarial", dict(tier=tier, epochs=epochs, lr=lr, **fields), rank=rank, seed=seed)
    kept = dict(name=f"{label.lower()}-{seed}", label=label, digest=digest(label, seed), epoch=1, heldout={"n": 10})
    runs.write(runs.record(run, tier=tier, checkpoints=[kept], history=[]), folder)


def test_varied_compares_trainings_that_differ_in_one_thing(tmp_path):
    for seed, (changes, correct) in enumerate([({}, 500), (dict(rank=1), 470), (dict(epochs=4), 450),
                                               (dict(rank=2, lr=0.1), 900)]):
        trained(tmp_path, seed, **changes)
        evaluate(tmp_path, "CPNI-W", "pgd", correct, training_seed=seed)
    trained(tmp_path, 9, tier="fast")  # one network of a better tier takes no family's place
    evaluate(tmp_path, "CPNI-W", "pgd", 6000, n=10_000, tier="fast", training_seed=9)
    ranks, epochs = findings.varied("rank", tmp_path), findings.varied("epochs", tmp_path)
    assert list(ranks.frame["r"]) == ["1", "5"] and list(epochs.frame["Epochs"]) == ["4", "8"]
    assert [text.split()[0] for text in ranks.frame["PGD"]] == ["47.0", "50.0"]
    # A column that no row has anything for is left out, and the caption says so.
    assert "Clean" not in ranks.frame and "Not yet measured: Clean and EPGD. Tier cpu" in ranks.caption
    assert [text.split()[0] for text in epochs.frame["PGD"]] == ["45.0", "50.0"]
    assert list(ranks.frame["Runs"]) == ["1 (1/0)", "1 (0/0)"] and "training/evaluation" in ranks.caption
    with pytest.raises(ValueError, match="name = 'lr' is not allowed: give one of rank, epochs"):
        findings.varied("lr", tmp_path)


def test_gains_of_smoothing_stand_beside_the_papers(tmp_path):
    assert findings.gains(tmp_path).frame.to_numpy().tolist() == [
        ["printed by the paper", "0", "512", "+6.1", "+4.0", "–", "", "", ()],
        ["printed by the paper", "0.24", "512", "+3.0", "+7.1", "–", "", "", ()]]
    trained(tmp_path, 0, tier="long")
    for sigma, M, correct in ((0, 1, 400), (0, 64, 430), (0.24, 64, 460)):
        run = runs.EvaluationRun("cpni-w-0", digest("CPNI-W", 0), "pgd", sigma=sigma, draws=M)
        runs.write(runs.record(run, tier="cpu", n=1000, result=[runs.row("prediction", M, correct, 1000)]), tmp_path)
    zero, noisy = findings.gains(tmp_path).frame.iloc[:2].itertuples(index=False)
    assert [*zero[:4], *zero[5:8]] == ["trained at tier long", "0", "64", style.NOT_YET, style.NOT_YET, "cpu", "1,000"]
    assert zero.PGD.startswith("+3.0 ± ") and noisy.PGD.startswith("+6.0 ± ") and len(zero.Records) == 2


def test_attacks_that_sum_their_gradients_stand_beside_those_that_do_not(tmp_path):
    assert "not yet measured" in str(findings.summed(tmp_path))
    for seed in (0, 1):
        trained(tmp_path, seed, tier="long" if seed else "cpu", epochs=8 + seed)
    for seed, sigma, attack, correct in ((0, 0, "pgd", 400), (0, 0, "pgd-sum", 370), (0, 0.24, "pgd", 460), (0, 0.24, "pgd-sum", 400),
                                         (0, 0.24, "epgd", 380), (0, 0.24, "epgd-sum", 370), (0, 0.12, "pgd", 500),
                                         (1, 0, "epgd-sum", 300)):
        evaluate(tmp_path, "CPNI-W", attack, correct, sigma=sigma, draws=64, training_seed=seed)
    evaluate(tmp_path, "CPNI-W", "pgd-sum", 100, sigma=0.12, draws=64, steps=14)  # more steps than the paper's, beside which none stand
    found = findings.summed(tmp_path).frame
    assert [(row.σ, row.M, row.Attack, row.Difference.split(" ± ")[0]) for row in found.itertuples()] == [
        ("0", "1", "PGD", "−3.0"), ("0", "64", "PGD", "−3.0"), ("0.24", "1", "PGD", "−6.0"), ("0.24", "1", "EPGD", "−1.0"),
        ("0.24", "64", "PGD", "−6.0"), ("0.24", "64", "EPGD", "−1.0")]
    said = re.sub(r" ± [\d.]+", "", plain(words_of_tables.summed(tmp_path)))
    assert ("less that along each gradient alone: −6.0 (CPNI-W, σ = 0.24, M = 1; tier cpu, n = 1,000) to −3.0"
            " (CPNI-W, σ = 0, M = 1; tier cpu, n = 1,000) points.") in said
    assert "under PGD (σ = 0.24, M = 64; tier cpu, n = 1,000): +6.6 points along each gradient alone, +3.6 along their sum" in said
    assert ("Accuracy of that vote under EPGD less that under PGD: −8.0 points along each gradient alone, −3.0 along their sum; in the"
            " paper −11.5 (M = 512).") in said
    headline = re.sub(r" ± [\d.]+", "", words_of_tables._in_sums(findings.in_sums(tmp_path)))
    assert "takes 6.0 points more from the vote than PGD as printed" in headline and "votes and noise then add +3.6 points" in headline


def test_selection_says_what_the_test_images_add(tmp_path):
    train(tmp_path, "CPNI-W")
    for sigma, heldout, test in ((0.0, 300, 400), (0.24, 200, 430)):
        evaluate(tmp_path, "CPNI-W", "pgd", heldout, sigma=sigma, draws=1, split="heldout")
        evaluate(tmp_path, "CPNI-W", "pgd", test, sigma=sigma, draws=1)
    honest, best = findings.selection(tmp_path).frame.iloc[:, 2:9].to_numpy().tolist()
    assert honest == ["held-out images", "0", "1", "40.0 (36.9–43.1)", "", "cpu", "1,000"]
    assert best == ["test images", "0.24", "1", "43.0 (39.9–46.1)", "+3.0", "cpu", "1,000"]


def test_units_are_shown_of_a_network_that_met_both(tmp_path):
    train(tmp_path, "CPNI-W")
    for sigma, correct in ((0.24, 600), (0.97, 400)):
        evaluate(tmp_path, "CPNI-W", "none", correct, sigma=sigma, draws=64)
    better_trained(tmp_path)
    assert [text.split()[0] for text in findings.units(tmp_path).frame["Clean"]] == ["60.6", "40.6"]


def test_twins_differ_in_precision_alone(tmp_path):
    train(tmp_path, "CPNI-W")
    evaluate(tmp_path, "CPNI-W", "pgd", 400, draws=1)
    evaluate(tmp_path, "CPNI-W", "pgd", 405, draws=1, precision="bf16")
    evaluate(tmp_path, "CPNI-W", "pgd", 500, draws=1, precision="bf16", seed=1)
    (line,) = findings.twins(tmp_path).frame.to_numpy().tolist()
    assert line[1:-1] == ["CPNI-W", "PGD", "0", "1", "40.0", "40.5", "cpu", "1,000"] and len(line[-1]) == 2


@pytest.mark.parametrize("shared, within", [(0.0, (2, 9)), (0.6, (2, 9))])
def test_the_interval_of_a_difference_is_held_against_a_known_zero(tmp_path, shared, within):
    """Seeds that differ by luck alone, that of each image and that of a batch; and without seeds there is nothing to say."""
    assert findings.calibration(tmp_path) == "Not yet measured."
    train(tmp_path, "CPNI-W")
    draw = np.random.default_rng(3)
    skill = draw.normal(size=1000)
    for seed in range(30):
        lucky = shared * np.repeat(draw.normal(size=10), 100) + 0.5 * draw.normal(size=1000)
        keep(tmp_path, "CPNI-W", "none", skill + lucky > 0, seed=seed)
    said = findings.calibration(tmp_path)
    assert re.fullmatch(r"- Clean: zero lies outside the ± in [\d.]+ % of 435 pairs of seeds on 1 network\.", said)
    assert within[0] < float(re.search(r"in ([\d.]+) %", said)[1]) < within[1]


def test_the_committed_records_are_as_sure_as_they_say():
    shares = dict(re.findall(r"- (\w+): zero lies outside the ± in ([\d.]+) % of", findings.calibration()))
    assert {"Clean", "PGD"} <= set(shares) and all(1 < float(share) < 10 for share in shares.values())


def test_trainings_of_all_lengths_stand_beside_the_papers(tmp_path):
    empty = findings.lengths(tmp_path)
    assert list(empty.frame["Epochs"]) == ["400", "400"] and "Not yet measured by us" in empty.caption
    trained(tmp_path, 0)
    evaluate(tmp_path, "CPNI-W", "pgd", 300, training_seed=0)
    trained(tmp_path, 1, epochs=40, tier="long")
    evaluate(tmp_path, "CPNI-W", "pgd", 4000, n=10_000, tier="long", training_seed=1)
    frame = findings.lengths(tmp_path).frame
    ours = frame[frame["Rows"] == "CPNI-W"]
    assert list(ours["Epochs"]) == ["8", "40", "400"] and list(ours["Tier"]) == ["cpu", "long", "printed by the paper"]
    assert [text.split()[0] for text in ours["PGD"]] == ["30.0", "40.0", "48.8"] and list(ours["Clean"])[:2] == [style.NOT_YET] * 2
    trained(tmp_path, 2, label="PNI-W", noise_start=0.3)
    evaluate(tmp_path, "PNI-W", "pgd", 300, training_seed=2)
    frame = findings.lengths(tmp_path).frame
    assert list(frame[frame["Rows"] == "PNI-W"][findings.START]) == ["0.3", "1"] and set(ours[findings.START]) == {"", "1"}


def test_runs_in_which_nothing_is_random_are_one(tmp_path):
    train(tmp_path, "plain", method="plain")
    right = np.arange(1000) < 800
    for seed in range(3):
        keep(tmp_path, "plain", "none", right, seed=seed)
        keep(tmp_path, "plain", "pgd", right & (np.arange(1000) > seed), seed=seed)
    table = tables.table(1, tmp_path)
    clean, pgd = (line(table, Method="plain, normal training", Attack=attack) for attack in ("Clean", "PGD"))
    assert (clean["Ours, %"], clean["Runs"], len(clean["Records"])) == ("80.00", "1 (0 / 0–2, alike)", 3)
    assert pgd["Ours, %"] == "79.80 ± 0.10" and pgd["Runs"] == "3 (0 / 0–2)" and "count as one" in table.caption


def test_the_noise_of_a_network_is_told_where_its_training_began_and_ended(tmp_path):
    """By its record, or else by its file."""
    model = models.classifier("CPNI-W")
    soften(model, 0.3)
    models.save(model, tmp_path / "CPNI-W-0.safetensors", variant="CPNI-W", rank=5, sigma=0.0, label="CPNI-W", tier="cpu")
    files = {"CPNI-W": runs.digest(tmp_path / "CPNI-W-0.safetensors"), "PNI-W": digest("PNI-W", 0), "plain": digest("plain", 0)}
    said = {"PNI-W": dict(noise=[[0.5, 0.0], [0.25, 0.5], [0.75, 0.25]]), "plain": dict(noise=[]), "CPNI-W": {}}
    for label, start in (("CPNI-W", 0.3), ("PNI-W", 1.0), ("plain", 1.0)):
        run = runs.TrainingRun(label, "adversarial", dict(tier="cpu", epochs=8, noise_start=start, noise_lr=0.01), rank=5)
        kept = dict(name=f"{label}-0", label=label, digest=files[label], epoch=1, heldout={"n": 10}) | said[label]
        runs.write(runs.record(run, tier="cpu", checkpoints=[kept], history=[]), tmp_path)
    frame = findings.noises(tmp_path, tmp_path).frame.set_index("Network")
    assert list(frame.index) == ["CPNI-W, seed 0", "PNI-W, seed 0"] and list(frame["Learnt at"]) == ["0.01", "0.01"]
    assert list(frame["Ended at"])[1] == "0.50 (0.25–0.75)" and list(frame["Of it low-rank, %"])[1] == "25 (0–50)"
    assert list(frame["Began at"]) == ["0.27", "0.25"]  # the first never left: its weights are as they were drawn
    assert float(frame["Ended at"].iloc[0].split()[0]) == pytest.approx(0.27, abs=0.011)
    assert set(findings.noises(tmp_path, tmp_path / "nowhere").frame["Network"]) == {"PNI-W, seed 0"}


def test_noise_is_measured_by_its_root_mean_square(tmp_path):
    """White noise of half the weights' std, then as much again in F."""
    model = models.classifier("CPNI-W", rank=2)
    for module in model.modules():
        if isinstance(module, NoisyConv2d):
            std = float(module.weight.detach().std())
            module.weight_noise.d.data.fill_(-0.25 * std)
            module.weight_noise.F.data.copy_(torch.tensor([0.5 * std, 0.0]).expand_as(module.weight_noise.F))
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    assert np.allclose(findings.export.noise(tensors), (0.5**0.5, 0.5), atol=1e-4)
    assert [tensors[f"network.{layer}.weight"][0].size for layer, norm in findings.export.LAYERS if norm] == list(findings.INPUTS)
