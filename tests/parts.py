"""What the two parts of `siam.export` say, read by its docstring alone: the engine, which reads them too, is tested against it."""

import numpy as np

from siam.export import COARSE, FINE, HEADER


def read(coarse, fine=None):
    """Of the parts, as bytes: digest, rank, W [n], bias [c] and, from the fine one, D [n] and F [rank, n], as a dict."""
    (magic, *said), rest = HEADER.unpack_from(coarse), memoryview(coarse)[HEADER.size :]
    digest, rank, n, c = said
    assert magic == COARSE
    high, scale, bias = rest[:n], rest[n : n + 4 * c], rest[n + 4 * c :]
    whole = 256 * np.frombuffer(high, np.int8).astype(np.int32)
    scale, found = _spread(scale), {"digest": digest.decode(), "rank": rank, "bias": np.frombuffer(bias, np.float32)}
    if fine is not None:
        assert HEADER.unpack_from(fine) == (FINE, *said)
        rest = memoryview(fine)[HEADER.size :]
        bytes_, scales = rest[: (2 + rank) * n], rest[(2 + rank) * n :]
        whole += np.frombuffer(bytes_[:n], np.int8)
        found["D"] = np.frombuffer(bytes_[n : 2 * n], np.uint8) * _spread(scales[: 4 * c])
        found["F"] = np.frombuffer(bytes_[2 * n :], np.int8).reshape(rank, n) * _spread(scales[4 * c :])
    return found | {"W": whole * scale}


def _spread(scales):
    """Scales of output channels as bytes -> those of the weights [n]."""
    scales, spread, first = np.frombuffer(scales, np.float32), [], 0
    for inputs, outputs, kernel in SHAPES:
        spread.append(np.tile(scales[first : first + outputs], kernel * kernel * inputs))
        first += outputs
    return np.concatenate(spread)


def _shapes():
    yield 3, 16, 3
    for block in range(9):
        outputs = 16 << block // 3
        projected = block in (3, 6)
        inputs = outputs // 2 if projected else outputs
        yield inputs, outputs, 3
        if projected:
            yield inputs, outputs, 1
        yield outputs, outputs, 3
    yield 64, 16, 1


SHAPES = tuple(_shapes())  # inputs, outputs, kernel of each of `siam.export.LAYERS` as the parts hold it
