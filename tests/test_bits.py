"""Which images were right: text and back, small where rows are alike, and refused where it does not fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from siam import bits


@settings(deadline=None)
@given(st.tuples(st.integers(1, 12), st.integers(1, 70)).flatmap(lambda shape: arrays(bool, shape)))
def test_text_and_back(right):
    assert (bits.unpack(bits.pack(right), *right.shape) == right).all()


def test_rows_that_are_alike_take_little():
    draw = np.random.default_rng(0)
    right = np.repeat(draw.random((1, 1000)) < 0.5, 35, axis=0)
    alike = right ^ (draw.random(right.shape) < 0.01)
    assert len(bits.pack(alike)) < 0.35 * len(bits.pack(draw.random(right.shape) < 0.5))


@pytest.mark.parametrize("text", [
    "", "?", "AAAA", bits.pack(np.ones((2, 9)))[:-4], bits.pack(np.ones((3, 9))), bits.pack(np.ones((2, 17))),
    bits.pack(np.ones((2, 10))), 7,
], ids=["empty", "no base64", "no zlib", "cut", "more rows", "more bytes", "more images", "no text"])
def test_what_does_not_fit_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match="^right is not the bits of 2 rows of 9 images$"):
        bits.unpack(text, 2, 9)
