"""Attacks that maximise an objective over an L∞ ball of pixels, known only through the objective.

An objective maps images x [N, 3, H, W] in [0, 1] to a loss per image [N]; it may be random. Everything here is in
pixel units: ε = 8/255 is 8 grey levels whatever the network's normalisation does.
"""

import math
from numbers import Real

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from siam.runs import whole
from siam.seeding import seeded

HALVED = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # where `square` halves the share of an image that it changes


def refuse_training(model):
    """Raise ValueError, one line, for a network whose BatchNorm is in training mode: its answers would depend on the other images of a
    batch, and every pass would change its stored statistics."""
    if isinstance(model, nn.Module) and any(isinstance(layer, _BatchNorm) and layer.training for layer in model.modules()):
        raise ValueError(f"{type(model).__name__} is not allowed with its BatchNorm in training mode: call .eval() first")


def error_of(model, y):
    """The objective of an untargeted attack: the cross-entropy of `model` at labels y [N]. Raises as `refuse_training`."""
    refuse_training(model)
    return lambda x: cross_entropy(model(x).float(), y, reduction="none")


def towards(model, target):
    """The objective of a targeted attack: minus the cross-entropy of `model` at the wanted classes [N]. Raises as `refuse_training`."""
    refuse_training(model)
    return lambda x: -cross_entropy(model(x).float(), target, reduction="none")


class NotFinite(ValueError):
    """A gradient that is none."""


def ascent(objective, x, samples=1):
    """The objective's mean over `samples` draws of its noise, [N], and its ∇ₓ, [N, 3, H, W].

    One draw after the other: the mean's gradient is the gradients' mean, in the memory of a single draw. Raises ValueError, one line,
    for an objective that does not give one number for each image, and NotFinite for a gradient that is not finite: it has no sign, and
    an attack along it would leave images as they are, unsaid. Values are not looked at on the device meta, nor while a graph is captured.
    """
    value, total = 0, 0
    with torch.enable_grad():  # also where the caller keeps no gradients
        for _ in range(samples):
            leaf = x.detach().requires_grad_()
            each = objective(leaf)
            shape = tuple(getattr(each, "shape", ()))
            if shape != tuple(x.shape[:1]):
                raise ValueError(f"an objective of shape {shape} is not allowed for {len(x)} images: give one number for each")
            value, total = value + each.detach(), total + torch.autograd.grad(each.sum(), leaf)[0]
    if _has_values(total) and not total.isfinite().all():
        raise NotFinite("the gradient of the objective is not finite: nothing can be attacked along it")
    return value / samples, total / samples


def gradient(objective, x, samples=1):
    """∇ₓ of the objective's mean over `samples` draws of its noise, [N, 3, H, W]."""
    return ascent(objective, x, samples)[1]


def _has_values(x):
    """Whether there are numbers to look at: what a graph captures was called before as it is, and checked."""
    return not (x.is_meta or (x.is_cuda and torch.cuda.is_current_stream_capturing()))


def in_pixels(x, **sizes):
    """Raise ValueError, one line, unless x is a float32 tensor in [0, 1] and so is each of `sizes`, a number."""
    for name, size in sizes.items():
        if not isinstance(size, Real) or not 0 <= size <= 1:
            raise ValueError(f"{name} = {size!r} is not allowed: pixels are in [0, 1], eight grey levels are 8/255")
    dtype = getattr(x, "dtype", type(x).__name__)
    if dtype != torch.float32:
        raise ValueError(f"x of {dtype} is not allowed: give pixels in [0, 1] as a tensor of torch.float32")
    if _has_values(x) and not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"x from {float(x.min()):.8g} to {float(x.max()):.8g} is not allowed: give pixels in [0, 1], and put the "
                         "normalisation inside your network")


def _counted(samples, **rounds):
    """The samples of each round of an attack, and its rounds, as ints. Raises ValueError, one line, for samples below 1 and rounds
    below 0."""
    return whole("samples", samples, 1), *(whole(name, number, 0) for name, number in rounds.items())


def fgsm(objective, x, *, epsilon):
    """Eq. (1): one step of size ε along the gradient's sign, kept within the range of pixels. Raises ValueError as `pgd` does."""
    in_pixels(x, epsilon=epsilon)
    return (x + epsilon * gradient(objective, x).sign()).clamp(0, 1)


def pgd(objective, x, *, epsilon, step_size, steps, samples=1, random_start=True, summed=False):
    """Eq. (2): `steps` steps of `step_size` along the gradient's sign, each projected on the ball and on [0, 1].

    Starts from a uniform draw in the ball, as the authors' code does (the paper says from x: random_start=False).
    `samples` > 1 is EPGD (section 4.2): the objective's expectation is estimated anew at each step.
    summed: step along the sign of the sum of this step's gradient and all before it, as the authors' published code does, which
    leaves the gradient of the image standing from step to step (as the momentum of Dong et al., 2018, which never fades here and
    normalises no gradient).
    Raises ValueError for sizes beyond the range of pixels, which 8 for 8/255 is, for steps below 0 and samples below 1, for an x
    that is not float32 in [0, 1], and as `ascent` does.
    """
    in_pixels(x, epsilon=epsilon, step_size=step_size)
    samples, steps = _counted(samples, steps=steps)
    low, high = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)
    start = x + epsilon * (2 * torch.rand_like(x) - 1) if random_start else x
    adversarial, total = start.clamp(low, high), 0
    for _ in range(steps):
        total = gradient(objective, adversarial, samples) + (total if summed else 0)
        adversarial = (adversarial + step_size * total.sign()).clamp(low, high)
    return adversarial


def apgd(objective, x, *, epsilon, steps, samples=1):
    """Auto-PGD in L∞ (Croce and Hein, 2020, algorithm 1): PGD with momentum, whose step of each image starts at 2ε and is halved where
    it brings nothing. Of all points of an image the one of the largest objective is returned.

    At checkpoints ever closer to each other an image's step is halved, and it goes on from its best point, where fewer than 3 in 4
    steps since the last one went up, or where the last one halved nothing and the best has not changed since.
    An objective's value and gradient are means over the same `samples` draws, new ones at each of the steps + 1 points, so that
    "up" and "best" of a noisy objective are estimates. (AutoAttack's code has the value of the last draw.) Starts from a uniform draw
    in the ball. Raises ValueError as `pgd` does.
    """
    in_pixels(x, epsilon=epsilon)
    samples, steps = _counted(samples, steps=steps)
    low, high = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)

    def of_each(image):
        """What there is of each image [N], as a factor of its pixels."""
        return image[:, None, None, None]

    point = (x + epsilon * (2 * torch.rand_like(x) - 1)).clamp(low, high)
    value, slope = ascent(objective, point, samples)
    previous, best, best_value, best_slope = point, point, value, slope
    step_size, ups, best_before = torch.full_like(value, 2 * epsilon), torch.zeros_like(value), value
    halved, checkpoint, checkpoints = torch.zeros_like(value, dtype=torch.bool), 0, apgd_checkpoints(steps)
    for step in range(1, steps + 1):
        ahead = (point + of_each(step_size) * slope.sign()).clamp(low, high)
        if step > 1:
            ahead = (point + 0.75 * (ahead - point) + 0.25 * (point - previous)).clamp(low, high)
        previous, point, before = point, ahead, value
        value, slope = ascent(objective, point, samples)
        ups = ups + (value > before)
        better = value > best_value
        best_value = torch.where(better, value, best_value)
        best, best_slope = (torch.where(of_each(better), new, old) for new, old in ((point, best), (slope, best_slope)))
        if step in checkpoints:
            halved = (ups < 0.75 * (step - checkpoint)) | (~halved & (best_value == best_before))
            step_size, value = torch.where(halved, step_size / 2, step_size), torch.where(halved, best_value, value)
            point, slope = (torch.where(of_each(halved), new, old) for new, old in ((best, point), (best_slope, slope)))
            checkpoint, ups, best_before = step, torch.zeros_like(ups), best_value
    return best


def apgd_checkpoints(steps):
    """After which steps Auto-PGD looks back, a set: ⌈p·steps⌉ of p = 0.22, 0.41, 0.57, … up to 1, each gap 0.03 less than the one before
    it, and 0.06 at least."""
    at, gap, found = 0.0, 0.22, set()
    while at + gap <= 1:
        at, gap = at + gap, max(gap - 0.03, 0.06)
        found.add(math.ceil(round(at * steps, 6)))  # 0.41 × 100 is 41
    return found


@torch.no_grad()
def strongest(objective, candidates, samples=1):
    """Of several `candidates` for each image, a list of [N, 3, H, W], those of the largest mean objective over `samples` draws.

    All candidates see the same draws, so that the comparison is not one of luck. Of equals the first is taken. Raises ValueError,
    one line, for samples below 1.
    """
    (samples,) = _counted(samples)
    draws, means = int(torch.randint(2**62, ())), []
    for x in candidates:
        with seeded("draws", draws):
            means.append(sum(objective(x) for _ in range(samples)))
    which = torch.stack(means).argmax(0)
    return torch.stack(candidates)[which, torch.arange(len(which), device=which.device)]


def square(objective, x, *, epsilon, queries, samples=1):
    """The Square Attack in L∞ (Andriushchenko et al., 2020): random search, which asks for the objective's values and no gradients.

    Starts from vertical stripes of ±ε; each of `queries` trials sets a square of each image, somewhere, to ±ε in each channel and
    keeps what has the larger mean over `samples` draws, the same for both: 2 × queries × samples passes. Raises ValueError as `pgd` does.
    """
    in_pixels(x, epsilon=epsilon)
    samples, queries = _counted(samples, queries=queries)
    n, channels, height, width = x.shape

    def moved(columns):
        """x with ±ε in each channel, one sign for all pixels or one for each column."""
        signs = 2.0 * torch.randint(2, (n, channels, 1, columns), device=x.device) - 1
        return (x + epsilon * signs).clamp(0, 1)

    def within(side, length):
        """Which of `length` places lie in a window of `side` that starts at random, [N, length]."""
        away = torch.arange(length, device=x.device) - torch.randint(length - side + 1, (n, 1), device=x.device)
        return (away >= 0) & (away < side)

    adversarial = moved(width)
    for query in range(queries):
        share = 0.8 / 2 ** sum(query > queries * at for at in HALVED)
        side = min(max(round((share * height * width) ** 0.5), 1), height, width)
        inside = within(side, height)[:, None, :, None] & within(side, width)[:, None, None, :]
        adversarial = strongest(objective, [adversarial, torch.where(inside, moved(1), adversarial)], samples)
    return adversarial
