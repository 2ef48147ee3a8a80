"""The fast form of a classifier computes what the plain one computes: exactly for a given draw, and with draws alike."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import restless
from siam import devices, folding, models, smoothing
from siam.devices import autocast
from siam.runs import VARIANTS
from siam.seeding import seeded


def pair(variant, sigma=0.0):
    with seeded("folding", variant):
        model = restless(models.classifier(variant, rank=2, sigma=sigma))
        for name, parameter in model.named_parameters():
            if name.endswith("noise.F"):  # else every entry of F is the same, and an exchange of layers would not show
                torch.nn.init.normal_(parameter, 0, 0.02)
        return model, folding.Folded(model), torch.rand(6, 3, 32, 32)


def test_the_fused_convolution_is_a_convolution_an_addition_and_a_rectifier():
    weight, bias = torch.randn(8, 4, 3, 3), torch.randn(8)
    for added in (None, torch.randn(2, 8, 5, 5, requires_grad=True)):
        x = torch.randn(2, 4, 9, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
        wanted = [x] if added is None else [x, added]
        plain = torch.nn.functional.conv2d(x, weight, bias, 2, 1)
        plain = torch.relu(plain if added is None else plain + added)
        fused = folding.rectified(x, weight, bias, (2, 2), (1, 1), added)
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
        over = torch.randn_like(plain)
        for ours, theirs in zip(torch.autograd.grad(fused, wanted, over), torch.autograd.grad(plain, wanted, over)):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_the_same_draw_it_gives_the_same_logits_and_gradients(variant, fused, monkeypatch):
    """Every normal number is 0.05 here, so that both paths draw the same whatever their order. On a GPU nothing is fused."""
    calls, apply = [], folding.Rectified.apply
    monkeypatch.setattr(folding.Rectified, "apply", lambda *given: calls.append(given) or apply(*given))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: fused)
    monkeypatch.setattr(torch, "randn_like", lambda t: torch.full_like(t, 0.05))
    monkeypatch.setattr(torch, "randn", lambda *size, device=None: torch.full(size, 0.05, device=device))
    model, fast, x = pair(variant, sigma=0.2)
    found = []
    for network in (model, fast):
        leaf = x.clone().requires_grad_()
        logits = network(leaf)
        found.append((logits.detach(), torch.autograd.grad(logits.square().sum(), leaf)[0]))
    assert len(calls) == (19 if fused else 0)
    (plain, slope), (folded, fast_slope) = found
    torch.testing.assert_close(folded, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))
    # In norm: where rounding carries a unit over the rectifier's kink, a few pixels' slopes differ.
    assert (fast_slope - slope).norm() < 0.01 * slope.norm()


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_its_draws_spread_as_the_layers_own(variant):
    """Mean and standard deviation of the logits over 300 passes: within 5 standard errors of the plain path's."""
    model, fast, x = pair(variant)
    with torch.no_grad(), seeded("spread", variant):
        plain, folded = (torch.stack([network(x[:2]) for _ in range(300)]).flatten(1) for network in (model, fast))
    error = (plain.var(0) + folded.var(0)).div(300).sqrt()
    assert ((plain.mean(0) - folded.mean(0)).abs() < 5 * error).all()
    # The logits are near enough to normal: the standard error of a log standard deviation is 1/sqrt(2n).
    assert ((plain.std(0) / folded.std(0)).log().abs() < 5 * (1 / 300) ** 0.5).all()


def test_layers_and_columns_have_draws_of_their_own():
    model, fast, _ = pair("CPNI-W")
    with seeded("own"):
        draws = torch.stack([(fast.draw() - fast.W)[:4000] for _ in range(1000)])
    F = fast.F[:, :4000]
    expected = (fast.D[:4000] ** 2 + (F**2).sum(0)).sqrt()
    assert ((draws.std(0) / expected).log().abs() < 6 * (1 / 2000) ** 0.5).all()
    first, second = 432, 432 + 2304  # weights of the stem and of the first block's first convolution
    for i, j, same_layer in ((0, 5, True), (first, first + 7, True), (0, first, False), (first, second, False)):
        covariance = float((draws[:, i] * draws[:, j]).mean())
        wanted = float((F[:, i] * F[:, j]).sum()) if same_layer else 0.0
        assert abs(covariance - wanted) < 5 * float(expected[i] * expected[j]) * (2 / 1000) ** 0.5


def test_refresh_takes_over_what_training_changed():
    model, fast, x = pair("plain")
    with torch.no_grad():
        model.network.blocks[4].conv1.weight.mul_(1.5)
        model.network.norm.running_mean.add_(0.3)
        model.network.linear.bias.add_(1)
    with torch.no_grad():
        assert not torch.allclose(fast(x), model(x), rtol=1e-3, atol=1e-3)
        fast.refresh()
        torch.testing.assert_close(fast(x), model(x), rtol=1e-3, atol=1e-3)


def test_it_has_no_weights_of_its_own_to_train():
    model, fast, x = pair("CPNI-W")
    leaf = x.clone().requires_grad_()
    fast(leaf).sum().backward()
    assert leaf.grad is not None and not list(fast.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bf16_stays_close_to_fp32():
    _, fast, x = pair("CPNI-W+A-a")
    logits = {}
    for precision in ("fp32", "bf16"):
        with seeded("pass"), torch.no_grad(), autocast("cpu", precision):
            logits[precision] = fast(x).float()
    away = (logits["bf16"] - logits["fp32"]).abs().mean() / logits["fp32"].abs().mean()
    assert 0 < away < 0.05


@pytest.mark.parametrize("kind", ["plain", "fused", "fused and added"])
def test_without_instructions_for_bf16_a_convolution_rounds_what_goes_in_and_what_comes_out_and_nothing_else(kind, monkeypatch):
    """The exact sums of the rounded operands, and of the rounded gradients, to within the last bit, and nearly all to the bit."""
    for module in (devices, folding):
        monkeypatch.setattr(module, "slow_bf16", lambda: True)
    given = [torch.randn(4, 16, 9, 9).contiguous(memory_format=torch.channels_last), torch.randn(24, 16, 3, 3) / 12, torch.randn(24)]
    given += [torch.randn(4, 24, 5, 5)] if kind == "fused and added" else []
    given = [(t if kind == "plain" else t.bfloat16()).requires_grad_() for t in given]  # a fused one is given what is rounded already
    exact = [t.detach().bfloat16().double().requires_grad_() for t in given]
    wanted = torch.nn.functional.conv2d(*exact[:3], 2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        if kind == "plain":
            found = devices.conv2d(*given, (2, 2), (1, 1))
        else:
            wanted = torch.relu(wanted + (exact[3] if len(exact) > 3 else 0))
            found = folding.rectified(*given[:3], (2, 2), (1, 1), *given[3:])
    of = [0, 1, 2] if kind == "plain" else [0, *range(3, len(given))]  # a fused one has gradients to these
    over = torch.randn_like(wanted).bfloat16()
    slopes = torch.autograd.grad(found, [given[i] for i in of], over)
    exact_slopes = torch.autograd.grad(wanted, [exact[i] for i in of], over.double())
    assert found.dtype == torch.bfloat16
    for ours, theirs in zip((found, *slopes), (wanted, *exact_slopes)):
        assert (ours == theirs.bfloat16()).double().mean() > 0.98
        torch.testing.assert_close(ours.double(), theirs, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize("slow", [True, False])
def test_a_cpu_without_bf16_convolves_in_fp32_and_one_that_has_it_does_not(slow, monkeypatch):
    """In the plain network and in the folded one, forwards and backwards."""
    if not slow and devices.slow_bf16():
        pytest.skip("no bf16")
    for module in (devices, folding):
        monkeypatch.setattr(module, "slow_bf16", lambda: slow)

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "convolution" in function.name():
                kinds.add(args[0].dtype)
            return function(*args, **kwargs or {})

    for network in pair("CPNI-W")[:2]:
        kinds, x = set(), torch.rand(2, 3, 32, 32, requires_grad=True)
        with Seen():
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(x)
            logits.float().sum().backward()
        assert kinds == {torch.float32 if slow else torch.bfloat16} and logits.dtype == torch.bfloat16


def test_a_pass_draws_its_noise_in_an_order_that_never_changes():
    """The input noise, image by image, then the white noise of all weights, then the factors of the coloured: cells that are compared,
    and a run that was cut off, share their random numbers by it. If this fails, no evaluation made so far could be made again."""
    _, fast, x = pair("CPNI-W", sigma=0.2)
    with seeded(0, 0, "pass", 1):
        n, c, h, w = x.shape
        added = torch.randn(n, h, w, c).permute(0, 3, 1, 2)
        white = torch.randn_like(fast.D)
        factors = torch.randn(len(fast.F), len(fast.layers))
    wanted = fast.W + fast.D * white + (fast.F * factors.index_select(1, fast.layer_of)).sum(0)
    weights, inputs, drawn = [], [], fast.draw
    fast.draw = lambda: weights.append(drawn()) or weights[-1]
    fast.input_noise.register_forward_hook(lambda _, given, noisy: inputs.append(noisy - given[0]))
    smoothing.tally(fast, x, 2, (0, 0))
    assert len(weights) == len(inputs) == 2 and not torch.allclose(weights[0], weights[1])
    torch.testing.assert_close(weights[1], wanted)
    torch.testing.assert_close(inputs[1], 0.2 * added, rtol=1e-3, atol=1e-4)
