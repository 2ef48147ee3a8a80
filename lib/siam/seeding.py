"""Explicit randomness: every draw of a run follows from its seed and from where in the run it happens.

A counter instead of a stream: nothing has to be remembered to resume, and pass 17 of batch 3 sees the same noise
whether the run was cut before it or not.
"""

import hashlib
from contextlib import contextmanager

import torch


def seed(*key):
    """Seed torch's global generators (all devices) from `key`, any integers and words, e.g. (0, "pass", 17); NumPy's count as Python's."""
    key = tuple(part.item() if hasattr(part, "item") else part for part in key)
    number = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little") >> 1
    if torch.cuda.is_initialized():  # what manual_seed does on a GPU, without the tenth of a millisecond that other devices take
        torch.default_generator.manual_seed(number)
        torch.cuda.manual_seed_all(number)
    else:
        torch.manual_seed(number)


@contextmanager
def seeded(*key):
    """Run the block with the generators seeded from `key`; put the caller's generator states back afterwards."""
    # Only devices in use have a state to put back, and asking for one would take hold of a GPU that the run does not need.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        seed(*key)
        yield
