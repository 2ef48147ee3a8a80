"""Noise that keeps the network random: PNI (He et al., 2019), its coloured form CPNI (section 4.4), input noise.

A noise module adds one Gaussian draw to a tensor t. It is described by the factors (D, F) of its covariance
diag(D²) + F Fᵀ, so that every noise of the layers is tested and folded by the same few lines. All draws come
from torch's global generator (see `siam.seeding`).
"""

import math
from numbers import Real

import torch
from torch import nn

from siam.devices import conv2d
from siam.runs import ALPHA, F_INIT, whole


def sample(t, D, F=None):
    """t + D ⊙ z₁ + F z₂ with standard normal z₁ (shaped like D) and z₂ [rank]; D [*shape], F [*shape, rank].

    t is shaped [*shape] or [N, *shape]; in the second case all N share the draw. Activations (t of four dimensions, D of three) keep
    their type.
    """
    noise = D * torch.randn_like(D)
    if F is not None:
        # A product and a sum, not F @ z: under autocast a matrix product would round the noise to bf16.
        noise = noise + (F * torch.randn(F.shape[-1], device=F.device)).sum(-1)
    if t.dim() == 4 and D.dim() == 3:  # activations: laid out as they are, or the sum takes many times as long
        noise = noise.unsqueeze(0).to(t.dtype, memory_format=torch.channels_last)
    return t + noise


def std(t):
    """The standard deviation over all elements, in 32 bits whatever the type of t (in bf16 it is slow as well)."""
    return t.float().std()


class WhiteNoise(nn.Module):
    """PNI: t + α·std(t)·z, with an α [*shape] for each element of a draw, as the authors have it."""

    def __init__(self, shape):
        super().__init__()
        self.alpha = nn.Parameter(torch.full(tuple(shape), ALPHA))

    def factors(self, t):
        """D [*shape] and F = None for a tensor t; gradients reach t through its standard deviation."""
        return self.alpha * std(t), None

    def forward(self, t):
        return sample(t, *self.factors(t))


class ColouredNoise(nn.Module):
    """CPNI (section 4.4): covariance diag|std(t)·d| + F Fᵀ, with d [*shape] and F [*shape, rank] learnt.

    Raises ValueError, one line, for a rank that is no whole number, 0 or more.
    """

    def __init__(self, shape, rank=5):
        super().__init__()
        self.d = nn.Parameter(torch.full(tuple(shape), ALPHA**2))
        self.F = nn.Parameter(torch.full((*shape, whole("rank", rank, 0)), F_INIT))

    def factors(self, t):
        """D = sqrt|std(t)·d| [*shape] and F [*shape, rank]."""
        # The clamp leaves every value that matters alone and keeps the gradient finite where d is exactly zero.
        return (std(t) * self.d).abs().clamp_min(1e-20).sqrt(), self.F

    def forward(self, t):
        return sample(t, *self.factors(t))


@torch.no_grad()
def strengthen(model, factor):
    """Multiply the standard deviation of all noise of the layers of `model` by `factor`."""
    for module in model.modules():
        if isinstance(module, WhiteNoise):
            module.alpha *= factor
        elif isinstance(module, ColouredNoise):
            module.d *= factor**2
            module.F *= factor


@torch.no_grad()
def soften(model, factor):
    """`strengthen` a fresh model by `factor` and give F random signs.

    As the authors start F, all its entries are equal: its columns are one, and a draw shifts all weights of a layer
    together. BatchNorm takes most of that out again in training, its mean over the batch, but not in evaluation.
    """
    strengthen(model, factor)
    for module in model.modules():
        if isinstance(module, ColouredNoise):
            module.F *= torch.randn_like(module.F).sign()


class NoisyConv2d(nn.Conv2d):
    """A convolution, without bias, whose weight ("W") and whose input activation ("A-a") may carry noise, drawn once per pass.

    size: the side of that input in pixels. weight, activation: build the noise from the shape of a draw; None leaves it out.
    """

    def __init__(self, inputs, outputs, kernel, stride, size, weight=None, activation=None):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.weight_noise = weight(self.weight.shape) if weight else nn.Identity()
        self.activation_noise = activation((inputs, size, size)) if activation else nn.Identity()

    def forward(self, x):
        return conv2d(self.activation_noise(x), self.weight_noise(self.weight), self.bias, self.stride, self.padding)


class NoisyLinear(nn.Linear):
    """A linear layer whose weight carries noise, drawn once per pass."""

    def __init__(self, *args, weight_noise, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight_noise = weight_noise(self.weight.shape)

    def forward(self, x):
        return nn.functional.linear(x, self.weight_noise(self.weight), self.bias)


class GaussianInput(nn.Module):
    """x + σ z for images x [N, 3, H, W] in NORMALISED units, a fresh z for every image and pass.

    σ is fixed (a float) unless learnt (section 4.3), when it is a parameter kept positive through its logarithm.
    Raises ValueError, one line, for a σ that is no finite number, 0 or more, or above 0 to be learnt.
    """

    def __init__(self, sigma=0.0, learnt=False):
        super().__init__()
        if not isinstance(sigma, Real) or not 0 <= sigma < math.inf or (learnt and sigma == 0):
            raise ValueError(f"σ = {sigma!r} is not allowed: give a finite number, {'above 0 to be learnt' if learnt else '0 or more'}")
        if learnt:
            self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))
        else:
            self.fixed = float(sigma)

    @property
    def sigma(self):
        return self.log_sigma.exp() if hasattr(self, "log_sigma") else self.fixed

    def forward(self, x):
        if not hasattr(self, "log_sigma") and self.fixed == 0:
            return x
        n, c, h, w = x.shape
        # Drawn in N, H, W, C: filling a channels-last tensor directly takes a scalar path, about 8 times slower.
        return x + self.sigma * torch.randn(n, h, w, c, device=x.device).permute(0, 3, 1, 2)
