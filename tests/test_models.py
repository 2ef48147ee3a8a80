"""The network is the textbook's, its variants differ in noise alone, and checkpoints say what they are."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F

from conftest import restless
from siam import models
from siam.cifar10 import MEAN, STD
from siam.noise import ColouredNoise, WhiteNoise
from siam.runs import VARIANTS
from siam.seeding import seeded


def textbook(weights, x):
    """ResNet-20 for CIFAR (He et al., 2016, section 4.2) with projections, written out from its description."""
    W = {name.removeprefix("network."): value for name, value in weights.items()}

    def conv_norm(x, conv, norm, stride):
        w = W[f"{conv}.weight"]
        x = F.conv2d(x, w, stride=stride, padding=(w.shape[-1] - 1) // 2)
        mean, var = W[f"{norm}.running_mean"], W[f"{norm}.running_var"]
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5) ** 0.5
        return x * W[f"{norm}.weight"][:, None, None] + W[f"{norm}.bias"][:, None, None]

    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    x = conv_norm(x, "conv", "norm", 1).relu()
    for i in range(9):
        stride = 2 if i in (3, 6) else 1
        y = conv_norm(x, f"blocks.{i}.conv1", f"blocks.{i}.norm1", stride).relu()
        y = conv_norm(y, f"blocks.{i}.conv2", f"blocks.{i}.norm2", 1)
        if i in (3, 6):
            x = conv_norm(x, f"blocks.{i}.shortcut.0", f"blocks.{i}.shortcut.1", stride)
        x = (x + y).relu()
    return x.mean((2, 3)) @ W["linear.weight"].T + W["linear.bias"]


def test_plain_network_is_the_textbooks():
    with seeded("textbook"):
        model, x = restless(models.classifier("plain")), torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), textbook(model.state_dict(), x), rtol=1e-4, atol=1e-4)


def test_parameter_counts_follow_from_the_layers():
    count = {name: sum(p.numel() for p in models.classifier(name, rank=5).parameters()) for name in VARIANTS}
    projections = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert count["plain"] == 269_722 + projections
    weights = 3 * 16 * 9 + 6 * 16 * 16 * 9 + (16 * 32 + 5 * 32 * 32) * 9 + (32 * 64 + 5 * 64 * 64) * 9
    weights += 16 * 32 + 32 * 64
    head = 64 * 10
    assert count["PNI-W"] == count["plain"] + weights + head
    assert count["CPNI-W"] == count["plain"] + 6 * weights + head
    inputs = 7 * 16 * 32 * 32 + (16 * 32 * 32 + 5 * 32 * 16 * 16) + (32 * 16 * 16 + 5 * 64 * 8 * 8)
    inputs += 16 * 32 * 32 + 32 * 16 * 16 - 16 * 32 * 32  # two projections; the stem's input carries no noise
    stem = 3 * 16 * 9
    assert count["CPNI-A-a"] == count["plain"] + 6 * (inputs + stem) + head
    assert count["CPNI-W+A-a"] == count["CPNI-W"] + 6 * inputs


def test_the_stem_is_coloured_in_cpni_and_the_last_layer_white_in_every_noisy_variant():
    for name in VARIANTS[1:]:
        network = models.classifier(name).network
        stem = WhiteNoise if name == "PNI-W" else ColouredNoise
        assert isinstance(network.conv.weight_noise, stem)
        assert isinstance(network.linear.weight_noise, WhiteNoise)
        assert isinstance(network.conv.activation_noise, torch.nn.Identity)


def test_noise_is_on_in_evaluation_mode():
    model, x = models.classifier("CPNI-W").eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(model(x), model(x))


def test_checkpoint_round_trip(tmp_path):
    model = restless(models.classifier("CPNI-W", rank=2, sigma=0.1))
    path = tmp_path / "a.safetensors"
    models.save(model, path, variant="CPNI-W", rank=2, sigma=0.1, label="CPNI-W", tier="smoke")
    loaded = models.load(path, device=torch.device("cpu"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert loaded.input_noise.sigma == 0.1 and models.load(path, sigma=0.3).input_noise.sigma == 0.3
    assert models.find(models.about(path)["digest"], tmp_path) == path
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_equal_weights_give_equal_files(tmp_path):
    """In processes of their own: within one, the library happens to repeat itself."""
    code = """
import sys, torch
from siam import models
torch.manual_seed(0)
said = {f"key{i}": i for i in range(12)} | dict(variant="plain", rank=0, sigma=0.0, label="CPNI-W: σ", tier="smoke")
models.save(models.classifier("plain"), sys.argv[1], **said)
"""
    for name in "ab":
        subprocess.run([sys.executable, "-c", code, tmp_path / f"{name}.safetensors"], check=True)
    one, two = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert one == two
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata()["label"] == "CPNI-W: σ" and file.get_tensor("network.conv.weight").shape == (16, 3, 3, 3)


def test_learnt_sigma_comes_back_unless_replaced(tmp_path):
    model, path = models.classifier("plain", sigma=0.3, learnt_sigma=True), tmp_path / "a.safetensors"
    models.save(model, path, variant="plain", rank=0, sigma=0.1, label="plain", tier="smoke")
    assert models.load(path).input_noise.sigma.item() == pytest.approx(0.3)
    assert models.load(path, sigma=0.05).input_noise.sigma == 0.05


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "there.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(FileNotFoundError, match=f"no checkpoint 'gone' in the folder {tmp_path}; there are: there$"):
        models.about(tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint 'cpni-w-cpu-0' in the folder .*: it ships in data/checkpoints: copy it"):
        models.about(tmp_path / "cpni-w-cpu-0.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint 'gone' in the folder .; there are: none$"):
        models.load("gone.safetensors")
    with pytest.raises(FileNotFoundError, match=f"no checkpoint '{tmp_path}/there': give the path of its file, .* there are: there$"):
        models.load(tmp_path / "there")
    with pytest.raises(ValueError, match="there.safetensors is not a checkpoint"):
        models.load(tmp_path / "there.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors", {"made_by": "somebody"})
    with pytest.raises(ValueError, match="foreign.safetensors .* does not say its label, rank, sigma, tier, variant"):
        models.load(tmp_path / "foreign.safetensors")
    said = dict(variant="plain", rank=0, sigma=0.0, label="plain")
    written = {key: str(value) for key, value in said.items()}
    with pytest.raises(ValueError, match="tier 'mine' is not one of smoke, cpu"):
        models.save(models.classifier("plain"), tmp_path / "x.safetensors", tier="mine", **said)
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", written | {"tier": "mine"})
    with pytest.raises(ValueError, match="x.safetensors says its tier is 'mine', which is not one of smoke, cpu"):
        models.about(tmp_path / "x.safetensors")
    for name in "rank", "sigma":
        save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", written | {"tier": "smoke", name: "many"})
        with pytest.raises(ValueError, match=f"x.safetensors says its {name} is 'many', which is no number"):
            models.load(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match="0123456789abcdef"):
        models.find("0123456789abcdef", tmp_path)


# What is spoilt in a sound CPNI-W of rank 2, in its weights or in what is said of it, and what is said then.
SPOILT = [
    (lambda weights: weights["network.linear.bias"].fill_(torch.nan), {}, "network.linear.bias holds numbers that are not finite"),
    (lambda weights: weights.pop("network.norm.bias"), {}, r"network.norm.bias must be \[16\] and is absent"),
    (lambda weights: None, dict(rank=5), r"network.conv.weight_noise.F must be \[16, 3, 3, 3, 5\] and is \[16, 3, 3, 3, 2\]"),
    (lambda weights: None, dict(variant="PNI-W"), r"network.conv.weight_noise.alpha must be \[16, 3, 3, 3\] and is absent"),
    (lambda weights: None, dict(variant="plain"), r"network.\S+_noise.\w must be absent and is \[\d+, "),
]


@pytest.mark.parametrize("spoil, change, why", SPOILT)
def test_what_does_not_fit_is_neither_saved_nor_loaded(tmp_path, spoil, change, why):
    weights = models.classifier("CPNI-W", rank=2).state_dict()
    spoil(weights)
    said = dict(variant="CPNI-W", rank=2, sigma=0.0, label="x", tier="smoke") | change
    there, new = tmp_path / "x.safetensors", tmp_path / "new.safetensors"
    save_file(weights, there, {key: str(value) for key, value in said.items()})
    of = rf" \({said['variant']} of rank {said['rank']}\): "
    with pytest.raises(ValueError, match="^x.safetensors" + of + why):
        models.load(there)
    with pytest.raises(ValueError, match="^new.safetensors" + of + why):
        models.save(SimpleNamespace(state_dict=lambda: weights), new, **said)
    assert not new.exists()


@pytest.mark.parametrize("change, why", [
    (dict(sigma=-1.0), "σ = -1.0 is not allowed: give a finite number, 0 or more"),
    (dict(sigma=float("nan")), "σ = nan is not allowed"),
    (dict(rank=-1), "rank = -1 is not allowed: give a whole number, 0 or more"),
    (dict(rank="2"), "rank = '2' is not allowed"),
])
def test_what_no_network_has_is_not_saved(tmp_path, change, why):
    said = dict(variant="CPNI-W", rank=2, sigma=0.0, label="x", tier="smoke")
    with pytest.raises(ValueError, match=why):
        models.save(models.classifier("CPNI-W", rank=2), tmp_path / "x.safetensors", **said | change)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf"), "0.24"])
def test_a_checkpoint_is_loaded_with_no_sigma_that_is_none(tmp_path, sigma):
    path = tmp_path / "x.safetensors"
    models.save(models.classifier("plain"), path, variant="plain", rank=0, sigma=0.0, label="x", tier="smoke")
    with pytest.raises(ValueError, match=f"σ = {sigma!r} is not allowed"):
        models.load(path, sigma)


def test_saving_draws_nothing(tmp_path):
    model, before = models.classifier("plain"), torch.random.get_rng_state()
    models.save(model, tmp_path / "x.safetensors", variant="plain", rank=0, sigma=0.0, label="x", tier="smoke")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_unknown_variant_is_named():
    with pytest.raises(ValueError, match="'CPNI' is not one of plain, PNI-W"):
        models.classifier("CPNI")


def test_a_rank_is_a_whole_number_however_it_is_spelt():
    assert models.classifier("CPNI-W", rank=2.0).network.conv.weight_noise.F.shape[-1] == 2
    with pytest.raises(ValueError, match="rank = '2' is not allowed: give a whole number, 0 or more"):
        models.classifier("CPNI-W", rank="2")


def test_runs_and_models_agree_on_the_variants():
    assert tuple(models.variants(5)) == VARIANTS
