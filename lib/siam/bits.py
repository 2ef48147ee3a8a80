"""Which images were right: the bits of a record, as the text that it keeps and back.

A record's counts say how many; whether two networks, or two numbers of votes, fail on the same images only the bits say,
and without them a difference is much less sure than it need be (`siam.paired`). Text: the rows, each XOR the one above it,
eight images a byte, compressed by zlib, in base64. Neighbouring rows differ in few images, so an image and row takes a
fraction of a bit.
"""

import base64
import binascii
import zlib

import numpy as np


def pack(right):
    """Text for right [rows, n], true where an image was right in a row."""
    right = np.asarray(right, bool)
    changes = right.copy()
    changes[1:] ^= right[:-1]
    return base64.b64encode(zlib.compress(np.packbits(changes, axis=1).tobytes(), 9)).decode()


def row(packed, n):
    """The bits [n] of one row, eight a byte."""
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=n)


def unpack(text, rows, n):
    """right [rows, n] of `pack`'s text. Raises ValueError, one line, for a text that is none of that size."""
    try:
        packed = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), np.uint8).reshape(rows, -1)
        right = np.unpackbits(np.bitwise_xor.accumulate(packed, axis=0), axis=1).view(bool)
        if right.shape[1] - n not in range(8) or right[:, n:].any():
            raise ValueError(f"{right.shape[1]} bits a row")
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise ValueError(f"right is not the bits of {rows} rows of {n} images") from error
    return right[:, :n]
