"""Every kind of noise has the covariance that its equation says, and what it learns gets gradients."""

from functools import partial

import pytest
import torch

from siam.noise import ColouredNoise, GaussianInput, NoisyConv2d, NoisyLinear, WhiteNoise, sample
from siam.seeding import seeded

SHAPE = (4, 3, 2, 2)


def coloured(rank):
    noise = ColouredNoise(SHAPE, rank)
    with torch.no_grad():
        noise.d.uniform_(-0.1, 0.1)  # the absolute value in |std(W)·d| must matter
        noise.F.normal_(0, 0.05)
    return noise


def covariance(noise, t, draws=20_000):
    """Empirical covariance [n, n] of noise(t) − t, and the draws' mean [n]."""
    with torch.no_grad():
        away = torch.stack([(noise(t) - t).flatten() for _ in range(draws)]).double()
    return away.T.cov(), away.mean(0)


def expected_covariance(noise, t):
    D, F = noise.factors(t)
    D = D.detach().double().flatten()
    F = torch.zeros(len(D), 0) if F is None else F.detach().double().flatten(0, -2)
    return torch.diag(D**2) + F.double() @ F.double().T


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_coloured_noise_has_the_covariance_of_section_4_4(rank):
    with seeded("covariance", rank):
        W, noise = torch.randn(SHAPE), coloured(rank)
        found, mean = covariance(noise, W)
    d, F = noise.d.detach().flatten().double(), noise.F.detach().flatten(0, -2).double()
    wanted = torch.diag((W.std().double() * d).abs()) + F @ F.T
    torch.testing.assert_close(expected_covariance(noise, W), wanted, rtol=1e-5, atol=1e-9)
    # Standard error of a covariance over N draws: sqrt((c_ij² + c_ii c_jj) / N); six of them for 48² entries.
    spread = wanted.diagonal()
    error = ((wanted**2 + spread.outer(spread)) / 20_000).sqrt()
    assert ((found - wanted).abs() < 6 * error + 1e-9).all()
    assert (mean.abs() < 6 * (spread / 20_000).sqrt() + 1e-9).all()


def test_white_noise_has_the_covariance_of_pni():
    with seeded("white"):
        W, noise = torch.randn(SHAPE), WhiteNoise(SHAPE)
        assert noise.alpha.shape == SHAPE
        with torch.no_grad():
            noise.alpha.uniform_(0.1, 0.5)
        found, _ = covariance(noise, W)
    wanted = torch.diag((noise.alpha.detach() * W.std()).flatten().double() ** 2)
    spread = wanted.diagonal()
    error = ((wanted**2 + spread.outer(spread)) / 20_000).sqrt()
    assert ((found - wanted).abs() < 6 * error).all()


def test_the_authors_initial_values():
    coloured, white = ColouredNoise(SHAPE, 5), WhiteNoise(SHAPE)
    assert (coloured.d == 0.0625).all() and (coloured.F == 0.01).all() and (white.alpha == 0.25).all()


@pytest.mark.parametrize("make", [WhiteNoise, lambda shape: coloured(5)])
def test_gradients_reach_the_weight_and_every_noise_parameter(make):
    with seeded("gradients"):
        W, noise = torch.randn(SHAPE, requires_grad=True), make(SHAPE)
        ((noise(W) ** 2).sum()).backward()
    for tensor in (W, *noise.parameters()):
        assert tensor.grad is not None and tensor.grad.abs().min() > 0
    # The gradient through std(W), which He et al. leave out and the authors keep: without it W's would be 2 W̃.
    with seeded("gradients"):
        torch.randn(SHAPE), make(SHAPE)
        noisy = noise(W).detach()
    assert (W.grad - 2 * noisy).abs().min() > 0


def test_gradient_is_finite_where_d_is_zero():
    noise = ColouredNoise(SHAPE, 1)
    with torch.no_grad():
        noise.d.zero_()
    noise(torch.randn(SHAPE)).sum().backward()
    assert noise.d.grad.isfinite().all()


def test_one_draw_a_pass_shared_by_the_batch():
    x = torch.rand(1, 3, 8, 8).expand(5, -1, -1, -1)
    conv = NoisyConv2d(3, 4, 3, 1, 8, WhiteNoise, partial(ColouredNoise, rank=2))
    linear = NoisyLinear(6, 2, weight_noise=WhiteNoise)
    for layer, seen in ((conv, x), (linear, torch.rand(1, 6).expand(5, -1))):
        out = layer(seen)
        torch.testing.assert_close(out, out[:1].expand_as(out))
        assert not torch.allclose(layer(seen), out)


def coloured_activation():
    return ColouredNoise((3, 8, 8), 2)


def test_activation_noise_is_scaled_by_the_batch_and_shaped_like_an_image():
    x, noise = torch.rand(6, 3, 8, 8), coloured_activation()
    D, F = noise.factors(x)
    assert D.shape == (3, 8, 8) and F.shape == (3, 8, 8, 2)
    torch.testing.assert_close(D**2, (x.std() * noise.d).abs())


def test_input_noise_is_in_the_units_given_and_fresh_for_every_image():
    x = torch.zeros(400, 3, 8, 8)
    with seeded("input"):
        away = GaussianInput(0.24)(x)
    assert abs(float(away.std()) - 0.24) < 6 * 0.24 / (2 * away.numel()) ** 0.5
    assert away[0].sub(away[1]).abs().max() > 0.1
    assert GaussianInput(0.0)(x) is x


def test_learnt_input_noise_stays_positive_and_gets_a_gradient():
    noise = GaussianInput(0.1, learnt=True)
    noise(torch.zeros(2, 3, 4, 4)).pow(2).sum().backward()
    assert noise.sigma.item() == pytest.approx(0.1) and noise.log_sigma.grad > 0


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: GaussianInput(-1.0), "σ = -1.0 is not allowed: give a finite number, 0 or more"),
        (lambda: GaussianInput(float("nan")), "σ = nan is not allowed: give a finite number, 0 or more"),
        (lambda: GaussianInput(float("inf")), "σ = inf"),
        (lambda: GaussianInput(0.0, learnt=True), "σ = 0.0 is not allowed: give a finite number, above 0 to be learnt"),
        (lambda: GaussianInput("0.24"), "σ = '0.24' is not allowed: give a finite number, 0 or more"),
        (lambda: ColouredNoise(SHAPE, -1), "rank = -1 is not allowed: give a whole number, 0 or more"),
        (lambda: ColouredNoise(SHAPE, "2"), "rank = '2' is not allowed"),
        (lambda: ColouredNoise(SHAPE, 2.5), "rank = 2.5 is not allowed"),
    ],
)
def test_a_bad_value_is_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_noise_keeps_the_type_and_the_layout_of_activations():
    noise, t = ColouredNoise((4, 6, 6), 2), torch.rand(3, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), seeded("layout"):
        exact = noise(t)
    rounded = t.bfloat16()
    with torch.no_grad(), seeded("layout"):
        ours = noise(rounded)
    assert ours.dtype == torch.bfloat16 and ours.is_contiguous(memory_format=torch.channels_last)
    assert exact.dtype == torch.float32 and exact.is_contiguous(memory_format=torch.channels_last)
    # t, the noise and their sum are rounded once each, to 8 bits.
    torch.testing.assert_close(ours.float(), exact, rtol=0, atol=3 * 2**-8 * float(exact.abs().max()))


def test_a_draw_is_white_noise_first_and_then_the_factors():
    """If this fails, no training made so far could be made again."""
    W, of = torch.randn(SHAPE), coloured(5)
    D, F = (t.detach() for t in of.factors(W))
    with seeded("order"):
        found = sample(W, D, F)
    with seeded("order"):
        z1, z2 = torch.randn_like(D), torch.randn(5)
    torch.testing.assert_close(found, W + D * z1 + (F * z2).sum(-1))


def test_autocast_rounds_no_noise_of_weights():
    W, of = torch.randn(SHAPE), coloured(5)
    with torch.no_grad(), seeded("exact"):
        exact = of(W)
    with torch.no_grad(), seeded("exact"), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(of(W), exact)
