"""Smoothed inference (section 3): M noisy passes, a tally of what they said, and rules that turn it into a class.

A tally keeps sums that add, at every prefix M of interest, so that one series of passes answers for every M and
every rule. Points along M share passes: they are nested, not independent.
"""

from dataclasses import dataclass

import torch

from siam import runs
from siam.attacks import in_pixels, refuse_training
from siam.seeding import seeded


@dataclass(frozen=True)
class Tally:
    """Sums over the first draws[k] passes for N images and C classes.

    ranks [K, N, C, C]: how often class c came r-th (r = 0: first); softmax, logits [K, N, C]: sums in float64.
    """

    draws: tuple
    ranks: torch.Tensor
    softmax: torch.Tensor
    logits: torch.Tensor

    @property
    def M(self):
        return self.draws[-1]

    @property
    def sums(self):
        return self.ranks, self.softmax, self.logits

    def at(self, M):
        """The tally of the first M passes alone; M must be one of `draws`."""
        if M not in self.draws:
            raise ValueError(f"M = {M} was not kept; there are {', '.join(map(str, self.draws))}")
        k = self.draws.index(M)
        return Tally((M,), *(sums[k : k + 1] for sums in self.sums))

    def __add__(self, other):
        """This tally's passes followed by those of `other`, of the same images."""
        return Tally(
            self.draws + tuple(self.M + m for m in other.draws),
            *(torch.cat([a, a[-1] + b]) for a, b in zip(self.sums, other.sums)),
        )


def powers_of_two(M):
    """(1, 2, 4, …, M): the numbers of passes the paper's figures show, and M itself."""
    return tuple(2**k for k in range((M - 1).bit_length())) + (M,)


def ranking(logits):
    """One-hot ranks [N, C, C] of logits [N, C]; of equal logits the class with the lower index comes first."""
    order = logits.argsort(dim=-1, descending=True, stable=True).unsqueeze(1)
    n, _, c = order.shape
    return torch.zeros(n, c, c, dtype=torch.int32, device=logits.device).scatter_(1, order, 1)


@torch.inference_mode()
def tally(model, x, M, seed, start=None):
    """The tally of M passes of `model` over pixels x [N, 3, H, W], kept at 1, 2, 4, … M. seed: a tuple of integers and words.

    Pass i draws its noise from (*seed, i) alone, so `start`, the tally of the first passes with the same seed,
    is continued to exactly what M passes in one go give. Raises ValueError, one line, for a seed that is no tuple (that `start` has the
    same is not checked), for M that is no whole number or adds no pass, for an x that is not float32 in [0, 1], for BatchNorm in
    training mode, and for logits that are not finite, which every rule would turn into some class.
    """
    if not isinstance(seed, tuple):
        raise ValueError(f"seed = {seed!r} is not allowed: give a tuple of integers and words, such as (0,)")
    in_pixels(x)
    refuse_training(model)
    first, M = start.M if start else 0, runs.whole("M", M, 1)
    if M <= first:
        raise ValueError(f"M = {M} is not allowed: {first} passes are there already, so give more than {first}")
    kept, (ranks, softmax, logits) = [], (0, 0, 0)
    if start:
        # Its last number of passes need not be one of M's.
        kept = [at for at in zip(start.draws, *start.sums) if at[0] in powers_of_two(M)]
        ranks, softmax, logits = (sums[-1] for sums in start.sums)
    for i in range(first, M):
        with seeded(*seed, "pass", i):
            out = model(x).double()
        ranks, softmax, logits = ranks + ranking(out), softmax + out.softmax(-1), logits + out
        if i + 1 in powers_of_two(M):
            kept.append((i + 1, ranks, softmax, logits))
    if not logits.isfinite().all():
        raise ValueError(f"the logits of {type(model).__name__} are not finite: nothing can be voted on")
    draws, *sums = zip(*kept)
    return Tally(draws, *map(torch.stack, sums))


# ------------------------------------------------------------------------------------------- voting rules


def rank_weighted(V):
    """The rule of eq. (10) for a voting function V of the rank, a sequence V(1), V(2), …; zero beyond its end."""

    def scores(tally):
        weights = torch.zeros(tally.ranks.shape[-1], dtype=torch.float64, device=tally.ranks.device)
        weights[: len(V)] = torch.tensor(V, dtype=torch.float64)[: len(weights)]
        return tally.ranks.double() @ weights

    return scores


def second_choice(c):
    """V_c of eq. (12): one for the first class of a pass, c for its second."""
    return rank_weighted((1.0, c))


# A rule maps a tally to scores [K, N, C].
RULES = {
    "prediction": rank_weighted((1.0,)),  # eq. (8)
    "soft": lambda tally: tally.softmax,  # eq. (9)
    "soft-logits": lambda tally: tally.logits,  # what the authors' code sums where the paper has softmax
    "weighted": rank_weighted([2.0 ** (1 - k) for k in range(1, 11)]),  # eq. (11)
    "second": second_choice(0.5),  # eq. (12)
}


def vote(scores, prior=None):
    """The winning class [K, N] of scores [K, N, C], weighted by a class prior [C] if there is one.

    Of equal scores the class with the lowest index wins. Raises ValueError for a prior on negative scores, which sums
    of logits may be: there a larger prior would count against its class.
    """
    if prior is not None and (scores < 0).any():
        raise ValueError("a class prior weighs votes or probabilities, but these scores are negative: choose another rule")
    return (scores if prior is None else scores * prior).argmax(-1)


def voted(votes, M):
    """The class [N] that most of the first M passes of a Tally name: prediction smoothing."""
    return vote(RULES["prediction"](votes.at(M)))[0]
