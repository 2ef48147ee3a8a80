"""What a machine has to compute with: whether it is there, what it is called, its precision and its clock."""

import ctypes
import sys
import time
import warnings

import torch

# On a GPU fp32 shall mean fp32 and not TF32, and a run that was cut off end in the numbers that it would have had. Here, as
# training and evaluation both need this module: one run must not have two arithmetics.
torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True


def keep_memory():
    """Let this process keep the memory that it frees, up to 2 GiB, where its allocator is glibc's.

    glibc gives large blocks back at once, and a layer's output of 500 images is one: each pass would then ask for the same pages
    anew, every one of them cleared and mapped by the kernel.
    """
    trim_threshold, mmap_max = -1, -4  # of malloc.h
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


keep_memory()


def available(device):
    """Raise ValueError, one line, if torch cannot use `device` here."""
    try:
        if not isinstance(device, str) or torch.device(device).type not in ("cpu", "cuda"):
            raise RuntimeError("no device that this package runs on")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        there = ", ".join(["cpu", *(["cuda", *cards] if cards else [])])
        raise ValueError(f"device {device!r} is not available here; there is: {there}") from error


def describe(device):
    """The device in words, beginning with torch's type of it: "cpu: 2 threads, AVX2" or "cuda: <the card's name>"."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def slow_bf16():
    """Whether this CPU lacks what oneDNN needs for bf16 (AVX-512 or its like): torch takes a detour, slower than fp32."""
    return torch.backends.mkldnn.is_available() and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device, precision):
    """The context of forward passes at a precision, "fp32" or "bf16"."""
    kind, rounds = torch.device(device).type, precision == "bf16"
    if rounds and kind == "cpu" and slow_bf16():
        warnings.warn("this CPU has no instructions for bf16, which takes many times as long as fp32 here; precision fp32 "
                      "is available too, as a run of its own", stacklevel=2)
    return torch.autocast(kind, torch.bfloat16, enabled=rounds)


def clock(device):
    """Seconds, when all work that was given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
