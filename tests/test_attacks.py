"""Attacks reach the known optimum of a linear model, keep their budget, and are one another's special cases."""

import re
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siam import attacks, models
from siam.seeding import seeded

EPS = 8 / 255


def linear(w):
    """The objective ⟨w, x⟩ per image; its maximum over the ball is at x + ε·sign(w), clipped to [0, 1]."""
    return lambda x: (w * x).flatten(1).sum(1)


def setting(seed, n=4):
    with seeded("attacks", seed):
        return torch.rand(n, 3, 8, 8), torch.randn(3, 8, 8)


@pytest.mark.parametrize("random_start", [True, False])
def test_known_optimum_of_a_linear_objective(random_start):
    x, w = setting(0)
    best = (x + EPS * w.sign()).clamp(0, 1)
    torch.testing.assert_close(attacks.fgsm(linear(w), x, epsilon=EPS), best)
    found = attacks.pgd(linear(w), x, epsilon=EPS, step_size=EPS / 4, steps=8, random_start=random_start)
    torch.testing.assert_close(found, best)
    torch.testing.assert_close(attacks.pgd(linear(w), x, epsilon=EPS, step_size=EPS / 4, steps=8, samples=8), best)


def test_fgsm_on_a_linear_classifier_is_epsilon_times_the_sign():
    x, w = setting(1)
    x = 0.4 + 0.2 * x  # far enough from 0 and 1 for nothing to be clipped
    W = torch.stack([w, -w]).flatten(1) / 20  # small: where softmax saturates its gradient is rounding
    y = torch.tensor([0, 1, 0, 1])
    found = attacks.fgsm(attacks.error_of(lambda x: x.flatten(1) @ W.T, y), x, epsilon=EPS) - x
    away = torch.where(y == 0, 1.0, -1.0)[:, None] * (W[1] - W[0])
    torch.testing.assert_close(found, EPS * away.sign().view_as(x), rtol=0, atol=1e-6)


def test_targeted_attack_goes_towards_its_class():
    x, w = setting(2)
    W, target = torch.stack([w.roll(k) for k in range(5)]).flatten(1) / 20, torch.tensor([1, 2, 3, 4])
    model = lambda x: x.flatten(1) @ W.T  # noqa: E731
    before = model(x).softmax(1).gather(1, target[:, None])
    found = attacks.pgd(attacks.towards(model, target), x, epsilon=EPS, step_size=EPS / 4, steps=7)
    assert (model(found).softmax(1).gather(1, target[:, None]) > before).all()


@settings(max_examples=60, deadline=None)
@given(
    epsilon=st.floats(0, 1), step_size=st.floats(0, 1), steps=st.integers(0, 4), samples=st.integers(1, 3),
    seed=st.integers(0, 99), random_start=st.booleans(),
)
def test_budget_and_pixel_range_are_kept(epsilon, step_size, steps, samples, seed, random_start):
    x, w = setting(seed, n=2)
    with seeded("budget", seed):
        found = attacks.pgd(
            lambda x: linear(w)(x + torch.randn_like(x)) ** 3, x, epsilon=epsilon, step_size=step_size, steps=steps,
            samples=samples, random_start=random_start,
        )
    assert (found - x).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0 and found.max() <= 1 and found.shape == x.shape


def test_random_start_fills_the_ball():
    x = torch.full((50, 3, 8, 8), 0.5)
    with seeded("start"):
        away = attacks.pgd(linear(torch.ones(3, 8, 8)), x, epsilon=EPS, step_size=0, steps=1) - x
    assert away.abs().max() > 0.99 * EPS and abs(float(away.mean())) < 0.01 * EPS
    assert abs(float(away.std()) - EPS / 3**0.5) < 0.02 * EPS


def test_summed_each_step_follows_the_sum_of_all_gradients_so_far():
    slopes, asked = [1.0, -3.0, 1.0, 2.5], []

    def objective(x):  # the same slope everywhere, another at each step: summed they are 1, -2, -1, 1.5
        asked.append(slopes[len(asked) % len(slopes)])
        return asked[-1] * x.flatten(1).sum(1)

    x, how = torch.full((2, 3, 4, 4), 0.5), dict(epsilon=0.4, step_size=0.01, random_start=False)
    for steps, summed in enumerate((0.01, 0.0, -0.01, 0.0), 1):
        asked.clear()
        torch.testing.assert_close(attacks.pgd(objective, x, steps=steps, summed=True, **how) - x, torch.full_like(x, summed))
    asked.clear()  # alone they are up, down, up, up
    torch.testing.assert_close(attacks.pgd(objective, x, steps=4, **how) - x, torch.full_like(x, 0.02))


def noisy(variant, sigma):
    with seeded("network"):
        return models.classifier(variant, sigma=sigma).eval()


def after(attack, model, **kwargs):
    x, y = torch.linspace(0, 1, 2 * 3072).view(2, 3, 32, 32), torch.tensor([3, 5])
    with seeded("attack"):
        return attack(attacks.error_of(model, y), x, epsilon=EPS, step_size=EPS / 4, steps=3, **kwargs)


@pytest.mark.parametrize("variant, sigma", [("CPNI-W", 0.2), ("plain", 0.0)])
def test_epgd_is_pgd_where_there_is_no_noise_to_average(variant, sigma):
    model = noisy(variant, sigma)
    assert torch.equal(after(attacks.pgd, model, samples=4), after(attacks.pgd, model)) == (variant == "plain")


def test_the_gradient_is_that_of_the_mean_over_draws():
    model, (x, y) = noisy("CPNI-W", 0.2), (torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    objective = attacks.error_of(model, y)
    with seeded("mean"):
        found = attacks.gradient(objective, x, samples=3)
    leaf = x.clone().requires_grad_()
    with seeded("mean"):
        (sum(objective(leaf) for _ in range(3)) / 3).sum().backward()
    torch.testing.assert_close(found, leaf.grad, rtol=1e-3, atol=1e-4 * float(leaf.grad.abs().max()))


def test_gradients_are_taken_where_the_caller_keeps_none():
    x, w = setting(3)
    with torch.no_grad():
        found = attacks.pgd(linear(w), x, epsilon=EPS, step_size=EPS / 4, steps=8)
    torch.testing.assert_close(found, (x + EPS * w.sign()).clamp(0, 1))
    assert not found.requires_grad


@pytest.mark.parametrize("x, message", [
    (torch.tensor([-2.5, 0.5]), "x from -2.5 to 0.5 is not allowed: give pixels in .0, 1., and put the normalisation inside your network"),
    (torch.tensor([0.0, 255.0]), "x from 0 to 255 is not allowed"),
    (torch.tensor([0.5, float("nan")]), "x from nan to nan is not allowed"),
    (torch.tensor([0, 255], dtype=torch.uint8), "x of torch.uint8 is not allowed: give pixels in .0, 1. as a tensor of torch.float32"),
    (torch.tensor([0.0, 0.5], dtype=torch.float64), "x of torch.float64 is not allowed"),
])
@pytest.mark.parametrize("attack", [attacks.fgsm, attacks.pgd, partial(attacks.pgd, samples=8)])
def test_images_that_are_no_pixels_are_refused(attack, x, message):
    sizes = {} if attack is attacks.fgsm else dict(step_size=EPS / 4, steps=1)
    with pytest.raises(ValueError, match=message) as error:
        attack(lambda x: x.sum((1, 2, 3)), x.view(1, 1, 1, 2), epsilon=EPS, **sizes)
    assert "\n" not in str(error.value)


def test_what_a_graph_captures_is_not_read(monkeypatch):
    """Reading a value while CUDA captures would end the capture."""
    class Captured:
        dtype, is_cuda, is_meta = torch.float32, True, False

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    attacks.in_pixels(Captured(), epsilon=EPS)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    with pytest.raises(TypeError):  # here it would be
        attacks.in_pixels(Captured(), epsilon=EPS)


@pytest.mark.parametrize("objective, message", [
    (lambda x: x.flatten(1), "an objective of shape (2, 12) is not allowed for 2 images: give one number for each"),  # a network's logits
    (lambda x: x.mean(), "an objective of shape () is not allowed for 2 images"),
    (lambda x: x.sum((1, 2, 3)) * float("nan"), "the gradient of the objective is not finite"),
])
@pytest.mark.parametrize("attack", [attacks.fgsm, partial(attacks.pgd, step_size=EPS / 4, steps=2), partial(attacks.apgd, steps=2)])
def test_an_objective_that_leads_nowhere_is_refused(attack, objective, message):
    """Its sign would be zero where it is not a number, and the images come back as if they had been attacked."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as error:
        attack(objective, torch.full((2, 3, 2, 2), 0.5), epsilon=EPS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("attack", [partial(attacks.pgd, step_size=EPS / 4), attacks.apgd])
@pytest.mark.parametrize("lost", [0, 2])
def test_a_gradient_that_is_lost_at_one_step_is_not_stepped_over(attack, lost):
    asked = iter(range(10))
    objective = lambda x: x.sum((1, 2, 3)) * (float("nan") if next(asked) == lost else 1)  # noqa: E731
    with pytest.raises(attacks.NotFinite):
        attack(objective, torch.full((2, 3, 2, 2), 0.5), epsilon=EPS, steps=4)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_network_in_training_mode_is_not_attacked(mode):
    model = getattr(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(12)), mode)()
    refused = pytest.raises(ValueError, match="Sequential is not allowed with its BatchNorm in training mode: call .eval.. first")
    with refused if mode == "train" else nullcontext():
        attacks.error_of(model, torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("sizes, message", [
    (dict(epsilon=8, step_size=2 / 255, steps=7), "epsilon = 8 is not allowed: pixels are in"),
    (dict(epsilon=8 / 255, step_size=2, steps=7), "step_size = 2 is not allowed"),
    (dict(epsilon="8/255", step_size=2, steps=7), "epsilon = '8/255' is not allowed: pixels are in"),
    (dict(epsilon=0.1, step_size=0.1, steps=1.5), "steps = 1.5 is not allowed"),
    (dict(epsilon=0.1, step_size=0.1, steps=-1), "steps = -1 is not allowed: give a whole number, 0 or more"),
    (dict(epsilon=0.1, step_size=0.1, steps=1, samples=0), "samples = 0 is not allowed"),
])
def test_sizes_that_are_not_in_pixels_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        attacks.pgd(lambda x: x.sum((1, 2, 3)), torch.zeros(1, 3, 2, 2), **sizes)


def auto_pgd_of_one(objective, x, start, steps, looks):
    """Algorithm 1 of Croce and Hein (2020) for one image [1, 3, H, W], from lists of all that was: (best point, where it was halved)."""
    def project(z):
        return z.clamp(x - EPS, x + EPS).clamp(0, 1)

    points, values, eta = [start], [float(objective(start))], [2 * EPS]
    rose, seen, best_at_look, halved_at, window = [], [(values[0], start)], [values[0]], [], 0
    for k in range(1, steps + 1):
        here = points[-1]
        z = project(here + eta[-1] * attacks.gradient(objective, here).sign())
        new = z if k == 1 else project(here + 0.75 * (z - here) + 0.25 * (here - points[-2]))
        rose.append(float(objective(new)) > values[-1])
        points.append(new)
        values.append(float(objective(new)))
        seen.append((values[-1], new))
        if k in looks:
            best = max(seen, key=lambda each: each[0])
            if sum(rose[window:]) < 0.75 * (k - window) or (window not in halved_at and best[0] == best_at_look[-1]):
                halved_at.append(k)
                eta.append(eta[-1] / 2)
                values[-1], points[-1:] = best[0], [best[1]]
            best_at_look.append(best[0])
            window = k
    return max(seen, key=lambda each: each[0])[1], halved_at


def test_auto_pgd_is_algorithm_1_image_by_image():
    """On an objective of many hills, where steps have to shrink, at other places for each image."""
    x, w = setting(5, n=6)

    def objective(x):
        return torch.sin(60 * x * w).flatten(1).mean(1) + torch.sin(40 * x[:, :, 1:] * x[:, :, :-1]).flatten(1).mean(1)

    with seeded("auto"):
        found = attacks.apgd(objective, x, epsilon=EPS, steps=60)
    with seeded("auto"):
        starts = (x + EPS * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    looks, halved = [14, 25, 35, 42, 48, 53, 56, 60], set()
    assert attacks.apgd_checkpoints(60) == set(looks)
    for image, start, ours in zip(x.split(1), starts.split(1), found.split(1)):
        theirs, at = auto_pgd_of_one(objective, image, start, 60, looks)
        torch.testing.assert_close(ours, theirs)
        halved.add(tuple(at))
    assert len(halved) > 1 and all(halved)


def test_auto_pgd_reaches_known_optima_and_averages_its_draws():
    """At a corner of the ball, and well inside it, where steps of a fixed length go to and fro."""
    x, w = setting(6)
    inside = 0.4 + 0.2 * x + EPS * (x.roll(1) - 0.5)
    bowl = lambda z: -((z - inside) ** 2).flatten(1).sum(1)  # noqa: E731
    short, fixed = (attack(bowl, 0.4 + 0.2 * x, epsilon=EPS, steps=40, **size)
                    for attack, size in ((attacks.apgd, {}), (attacks.pgd, dict(step_size=EPS / 4))))
    assert (short - inside).abs().mean() < 0.1 * (fixed - inside).abs().mean()
    torch.testing.assert_close(attacks.apgd(linear(w), x, epsilon=EPS, steps=20), (x + EPS * w.sign()).clamp(0, 1))
    calls = []
    attacks.apgd(lambda x: calls.append(1) or linear(w)(x) * torch.rand(()), x, epsilon=EPS, steps=5, samples=3)
    assert len(calls) == (5 + 1) * 3
    factors = iter((1.0, 2.0, 6.0))
    value, slope = attacks.ascent(lambda z: next(factors) * z.flatten(1).sum(1), x, samples=3)
    torch.testing.assert_close(value, 3 * x.flatten(1).sum(1))
    torch.testing.assert_close(slope, torch.full_like(x, 3))
    assert attacks.apgd_checkpoints(100) == {22, 41, 57, 70, 80, 87, 93, 99}  # as AutoAttack's own code has them


def test_of_several_images_the_strongest_is_kept_one_by_one():
    candidates = [torch.tensor(values).view(3, 1, 1, 1).expand(3, 3, 2, 2) for values in ([0.1, 0.9, 0.5], [0.3, 0.2, 0.5])]
    found = attacks.strongest(lambda x: x.sum((1, 2, 3)), candidates)
    assert torch.equal(found[:, 0, 0, 0], torch.tensor([0.3, 0.9, 0.5]))
    assert torch.equal(attacks.strongest(lambda x: 0 * x.sum((1, 2, 3)), candidates), candidates[0])  # of equals the first


def test_a_comparison_over_no_draws_is_refused():
    with pytest.raises(ValueError, match="samples = 0 is not allowed: give a whole number, 1 or more"):
        attacks.strongest(lambda x: x.sum((1, 2, 3)), [torch.zeros(1, 3, 2, 2)], samples=0)


def test_candidates_are_compared_under_the_same_draws_and_each_comparison_has_its_own():
    """The draws, a hundred times what the candidates differ by, cancel."""
    low, high, seen = torch.full((40, 3, 2, 2), 0.50), torch.full((40, 3, 2, 2), 0.51), []

    def objective(x):
        seen.append(100 * torch.randn(len(x)))
        return x.mean((1, 2, 3)) + seen[-1]

    with seeded("strongest"):
        assert all(torch.equal(attacks.strongest(objective, pair, samples=2), high) for pair in ([low, high], [high, low]))
    draws = torch.stack(seen).view(2, 2, 2, 40)  # comparison, candidate, sample
    assert torch.equal(draws[:, 0], draws[:, 1]) and len(draws[:, 0].flatten().unique()) == 160


def test_the_square_attack_needs_no_gradients_and_gets_near_the_optimum():
    """An objective in steps, whose gradient is zero everywhere, and whose optimum over the ball is known."""
    with seeded("square"):
        x, w = 0.3 + 0.4 * torch.rand(4, 3, 8, 8), torch.randn(3, 1, 1)
        smooth = lambda x: (w * x).flatten(1).sum(1)  # noqa: E731
        stepped = lambda x: (100 * smooth(x)).round() / 100  # noqa: E731
        most, before = smooth(x + EPS * w.sign()), smooth(x)
        found = attacks.square(stepped, x, epsilon=EPS, queries=2000)
        stuck = attacks.pgd(lambda x: stepped(x) + 0 * smooth(x), x, epsilon=EPS, step_size=EPS / 4, steps=8, random_start=False)
    assert torch.equal(stuck, x)
    assert ((smooth(found) - before) / (most - before)).min() > 0.9


@settings(max_examples=40, deadline=None)
@given(epsilon=st.floats(0, 1), queries=st.integers(0, 12), samples=st.integers(1, 2), seed=st.integers(0, 99))
def test_the_square_attack_keeps_its_budget_and_what_it_has_reached(epsilon, queries, samples, seed):
    x, w = setting(seed, n=2)
    values = []

    def objective(x):
        values.append(linear(w)(x))
        return values[-1]

    with seeded("budget", seed):
        found = attacks.square(objective, x, epsilon=epsilon, queries=queries, samples=samples)
    assert len(values) == 2 * queries * samples
    assert (found - x).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0 and found.max() <= 1 and found.shape == x.shape
    kept = torch.stack([*values[:: 2 * samples], linear(w)(found)])  # of what each trial began with
    assert (kept.diff(dim=0) >= 0).all()


def test_the_squares_shrink_from_most_of_the_image_to_a_pixel(monkeypatch):
    sizes, started = [], []

    def changed(objective, candidates, samples):
        started.append(candidates[0])
        sizes.append((candidates[0] != candidates[1]).any(1).flatten(1).sum(1).max())
        return candidates[0]  # stripes: where a channel's sign is the same nothing changes, so the largest of many images

    monkeypatch.setattr(attacks, "strongest", changed)
    with seeded("sizes"):
        attacks.square(linear(0), torch.full((100, 3, 32, 32), 0.5), epsilon=EPS, queries=1000)
    sides = torch.stack(sizes).float().sqrt()
    assert sides[0] == 29 and sides[-1] == 1 and sides[300] == 4  # √(0.8 · 1024), and √(0.8 · 1024 / 2⁶)
    assert (sides.diff() <= 0).all()
    shrinks = sides.diff().nonzero()[:, 0] + 1  # with the first query after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of them
    assert shrinks.tolist() == [2, 6, 21, 51, 101, 201, 401, 601, 801]
    assert (started[0] == started[0][:, :, :1]).all() and (started[0] != started[0][..., :1]).any()  # upright stripes


@pytest.mark.parametrize("sizes, message", [
    (dict(epsilon=8, queries=1), "epsilon = 8 is not allowed"),
    (dict(epsilon=0.1, queries=-1), "queries = -1 is not allowed"),
    (dict(epsilon=0.1, queries=1, samples=0), "samples = 0 is not allowed"),
])
def test_a_square_attack_of_nothing_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        attacks.square(lambda x: x.sum((1, 2, 3)), torch.zeros(1, 3, 2, 2), **sizes)
