"""The hinge loss of a linear SVM under attack and noise, in closed form and corner by corner: eqs. (13) to (15). No torch.

The SVM is f(x) = w · x + b on pixels x in [0, 1], labels y = ±1; m = y f(x) is an image's margin. The attack moves every
pixel by at most ε, the noise is Gaussian with standard deviation s in PIXEL units (the paper's σ = 0.24 in normalised
units is about 0.06 of the pixel range). With e = ε ‖w‖₁ and t = s ‖w‖₂ everything of eqs. (13) to (15) is a function of m.
"""

import numpy as np
from scipy import stats
from scipy.special import ndtr

from siam.cifar10 import PIXEL_STD

PIXEL_SIGMA = 0.24 * PIXEL_STD  # σ = 0.24 in normalised units


def hinge(margin):
    """The loss of a margin: max(1 - margin, 0)."""
    return np.maximum(1 - margin, 0)


def quiet(margin, e):
    """The worst hinge loss without noise, in closed form: the attack takes e off the margin, and no more."""
    return hinge(margin - e)


def noisy(margin, e, t):
    """Eq. (13) in closed form: E max(a + t Z, 0) = a Φ(a/t) + t φ(a/t) with a = 1 - margin + e and Z standard normal.

    Exact, as the hinge falls with the margin: whatever the noise did, the worst δ takes e off.
    """
    a = 1 - np.asarray(margin, float) + e
    if t == 0:
        return np.maximum(a, 0)
    return a * ndtr(a / t) + t * stats.norm.pdf(a / t)


def printed(margin, e):
    """Eq. (15) as printed: e outside the hinge. Never below `quiet`, and equal to it where margin <= 1."""
    return e + hinge(margin)


def seen(margin, t):
    """The share of noise draws in which the hinge loss of the unattacked image has a gradient at all: Φ((1 - m) / t)."""
    return ndtr((1 - np.asarray(margin)) / t) if t else (np.asarray(margin) < 1).astype(float)


def one_budget(margins, c):
    """The setting of Xu et al. (2009): the worst sum of hinge losses, c = Σ ε_i ‖w‖₁ divided among all images at will.

    The sum is convex in the shares, so one image gets the whole budget: the largest gain over images.
    """
    return hinge(margins).sum() + np.max(hinge(margins - c) - hinge(margins))


def corners(d):
    """All 2^d corners of the cube [-1, 1]^d, [2^d, d]."""
    return np.array(np.meshgrid(*[(-1, 1)] * d)).reshape(d, -1).T


def brute(w, b, x, y, epsilon, sigma, draws, rng):
    """Eq. (13) word for word: the mean over draws of the largest hinge loss over all corners of the ε-cube, and its
    standard error. The loss is convex in δ, so its maximum is at a corner."""
    points = x + sigma * rng.standard_normal((draws, 1, len(w))) - epsilon * corners(len(w))
    worst = hinge(y * (points @ w + b)).max(1)
    return worst.mean(), worst.std(ddof=1) / draws**0.5
