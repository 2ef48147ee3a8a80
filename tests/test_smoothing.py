"""One tally answers for every M and every rule, exactly as the M stored passes would."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siam.report import RULES as PAPER
from siam.runs import RULES as RECORDED
from siam.seeding import seeded
from siam.smoothing import RULES, Tally, powers_of_two, rank_weighted, ranking, second_choice, tally, vote


class Noisy(torch.nn.Module):
    """Logits that are noise about x [N, C], on a coarse grid so that ties happen; keeps every pass."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def forward(self, x):
        self.passes.append((x + 2 * torch.randn_like(x)).round())
        return self.passes[-1]


def directly(rule, passes, c=0.5):
    """The scores [N, C] of a rule, computed from the stored passes [M, N, C], image by image, as the equations read."""
    scores = torch.zeros(passes.shape[1:], dtype=torch.float64)
    for logits in passes.double():
        if rule == "soft":
            scores += logits.exp() / logits.exp().sum(1, keepdim=True)
            continue
        if rule == "soft-logits":
            scores += logits
            continue
        for n, row in enumerate(logits.tolist()):
            for k, y in enumerate(sorted(range(len(row)), key=lambda y: (-row[y], y)), start=1):
                V = {"prediction": float(k == 1), "weighted": 2.0 ** (1 - k), "second": {1: 1.0, 2: c}.get(k, 0.0)}
                scores[n, y] += V[rule]
    return scores


@settings(max_examples=40, deadline=None)
@given(M=st.integers(1, 20), n=st.integers(1, 5), classes=st.integers(2, 10), seed=st.integers(0, 10**6))
def test_every_prefix_and_rule_equals_the_stored_passes(M, n, classes, seed):
    model = Noisy()
    found = tally(model, torch.zeros(n, classes), M, (seed,))
    passes = torch.stack(model.passes)
    assert found.draws == powers_of_two(M) and found.M == M
    for rule, scores in ((rule, RULES[rule]) for rule in PAPER):
        for k, m in enumerate(found.draws):
            wanted = directly(rule, passes[:m])
            torch.testing.assert_close(scores(found)[k], wanted, rtol=1e-9, atol=1e-9)
            assert torch.equal(vote(scores(found))[k], vote(scores(found.at(m)))[0])
            if rule != "soft":  # its sums round: a tie there may fall either way
                assert vote(scores(found))[k].tolist() == [row.index(max(row)) for row in wanted.tolist()]


@settings(max_examples=25, deadline=None)
@given(first=st.integers(1, 9), more=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_a_tally_goes_on_where_it_stopped_and_two_tallies_add(first, more, seed):
    x = torch.zeros(3, 4)
    whole = tally(Noisy(), x, first + more, (seed,))
    part = tally(Noisy(), x, first, (seed,))
    resumed = tally(Noisy(), x, first + more, (seed,), start=part)
    assert resumed.draws == whole.draws
    for a, b in zip(whole.sums, resumed.sums):
        assert torch.equal(a, b)
    other = tally(Noisy(), x, more, (seed, "other"))
    both = part + other
    assert both.draws == part.draws + tuple(first + m for m in other.draws)
    for a, b, c in zip(part.sums, other.sums, both.sums):
        torch.testing.assert_close(c[-1], a[-1] + b[-1])
        assert torch.equal(c[: len(a)], a)


def test_passes_follow_from_the_seed_and_leave_the_callers_generator_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same, other = (tally(Noisy(), torch.zeros(4, 5), 4, seed) for seed in ((7,), (7,), (8,)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.logits, same.logits) and not torch.equal(one.logits, other.logits)
    assert not torch.equal(one.logits[0] * 2, one.logits[1])  # two passes, two draws


def test_ranks_are_a_permutation_and_ties_go_to_the_lower_class():
    assert ranking(torch.tensor([[1.0, 3.0, 3.0, 0.0]]))[0].argmax(1).tolist() == [2, 0, 1, 3]
    assert vote(torch.tensor([[[1.0, 2.0, 2.0]]])).tolist() == [[1]]


def test_voting_functions_of_the_paper():
    ranks = torch.zeros(1, 1, 3, 3)
    ranks[0, 0] = torch.tensor([[2.0, 0.0, 3.0], [2.0, 1.0, 2.0], [1.0, 4.0, 0.0]])  # five passes
    votes = Tally((5,), ranks, torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))
    assert RULES["prediction"](votes)[0, 0].tolist() == [2, 2, 1]
    assert RULES["weighted"](votes)[0, 0].tolist() == [2.75, 3.0, 3.0]
    assert second_choice(0.25)(votes)[0, 0].tolist() == [2, 2.25, 2]
    assert rank_weighted((1, 1, 1))(votes)[0, 0].tolist() == [5, 5, 5]
    assert vote(RULES["prediction"](votes)).item() == 0
    assert vote(RULES["prediction"](votes), prior=torch.tensor([0.2, 0.3, 0.5])).item() == 1


def test_records_and_smoothing_agree_on_the_rules():
    assert tuple(RULES) == RECORDED


def test_a_bad_number_of_passes_is_named():
    done = tally(Noisy(), torch.zeros(1, 2), 4, (0,))
    for M in (0, 2.5, "8", None):
        with pytest.raises(ValueError, match=f"^M = {M!r} is not allowed: give a whole number, 1 or more$"):
            tally(Noisy(), torch.zeros(1, 2), M, (0,))
    assert tally(Noisy(), torch.zeros(1, 2), 8.0, (0,)).draws == (1, 2, 4, 8)
    with pytest.raises(ValueError, match="M = 4 .* give more than 4"):
        tally(Noisy(), torch.zeros(1, 2), 4, (0,), start=done)
    with pytest.raises(ValueError, match="M = 3 was not kept; there are 1, 2, 4"):
        done.at(3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_no_votes(bad):
    class Broken(Noisy):
        def forward(self, x):
            return super().forward(x) * bad

    with pytest.raises(ValueError, match="the logits of Broken are not finite"):
        tally(Broken(), torch.tensor([[0.0, 0.0]]), 2, (0,))


@pytest.mark.parametrize("x", [torch.zeros(2, 3, dtype=torch.uint8), torch.full((2, 3), 255.0), torch.full((2, 3), -1.0)])
def test_images_that_are_no_pixels_are_not_voted_on(x):
    with pytest.raises(ValueError, match="is not allowed: give pixels in .0, 1."):
        tally(Noisy(), x, 1, (0,))


def test_a_network_in_training_mode_does_not_vote():
    with pytest.raises(ValueError, match="BatchNorm1d is not allowed with its BatchNorm in training mode: call .eval.. first"):
        tally(torch.nn.BatchNorm1d(3), torch.zeros(2, 3), 1, (0,))


@pytest.mark.parametrize("seed", [0, "words", [0], None])
def test_a_seed_that_is_no_tuple_is_refused(seed):
    with pytest.raises(ValueError, match="^seed = .* is not allowed: give a tuple of integers and words, such as .0,.$"):
        tally(Noisy(), torch.zeros(1, 2), 4, seed)


def test_a_prior_on_negative_scores_is_refused():
    scores = torch.tensor([[[-10.0, -11.0]]])
    assert vote(scores).item() == 0
    with pytest.raises(ValueError, match="scores are negative"):
        vote(scores, prior=torch.tensor([0.9, 0.1]))


def test_a_seed_decides_every_draw():
    with seeded(1, "a"):
        one = torch.rand(3)
    with seeded(1, "a"):
        same = torch.rand(3)
    with seeded(1, "b"):
        other = torch.rand(3)
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("one", [np.int64(1), np.uint8(1), torch.tensor(1)])
def test_one_number_is_one_seed_however_it_is_held(one):
    with seeded(one, np.str_("a")):
        held = torch.rand(3)
    with seeded(1, "a"):
        assert torch.equal(torch.rand(3), held)


def test_draws_never_change():
    """Records rest on them: if this fails, no evaluation made so far could be made again."""
    with seeded(0, "pass", 17):
        assert torch.initial_seed() == 813133775202198067
