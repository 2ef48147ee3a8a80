"""What a machine has to compute with: whether it is there, what it is called, its precision and its clock."""

import ctypes
import sys
import time

import torch
from torch.nn import functional

from siam.runs import PRECISIONS, one_of

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
    """Raise ValueError, one line, if torch cannot use `device`, a text or a torch.device, here."""
    try:
        if not isinstance(device, (str, torch.device)) or torch.device(device).type not in ("cpu", "cuda"):
            raise RuntimeError("no device that this package runs on")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        there = ", ".join(["cpu", *(["cuda", *cards] if cards else [])])
        raise ValueError(f"device {device!r} is not available here; there is: {there}") from error


def describe(device):
    """The device in words, beginning with torch's type of it: "cpu: 2 threads, AVX2" or "cuda: <the card's name>"; of a CPU also what
    it has for bf16, whose sums are rounded by it ("AVX512 with AMX")."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    bf16 = {"AMX": "_is_amx_tile_supported", "bf16": "_is_avx512_bf16_supported"}
    there = next((f" with {name}" for name, asked in bf16.items() if getattr(torch.cpu, asked, bool)()), "")
    return f"{device.type}: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}{there}"


def autocast(device, precision):
    """The context of forward passes at a precision, one of `runs.PRECISIONS`. Raises ValueError, one line, for another."""
    one_of("precision", precision, PRECISIONS)
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def slow_bf16():
    """Whether this CPU lacks what oneDNN needs for bf16 (AVX-512 or its like): torch's own convolutions take many times as long
    as in fp32 then."""
    return not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def conv2d(x, weight, bias, stride, padding):
    """torch's conv2d, whose bf16 goes by the instructions for fp32 where the CPU has no others.

    The product of two bf16 numbers is exact in fp32, and a CPU with instructions for bf16 adds the products up in fp32 as well: operands
    and result rounded to bf16, and with them the gradients, it is the same arithmetic but for the order of sums.
    """
    rounds = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if not (x.device.type == "cpu" and rounds and slow_bf16()):
        return functional.conv2d(x, weight, bias, stride, padding)
    with torch.autocast("cpu", enabled=False):
        x, weight, bias = (None if t is None else t.bfloat16().float() for t in (x, weight, bias))
        return functional.conv2d(x, weight, bias, stride, padding).bfloat16()


def clock(device):
    """Seconds, when all work that was given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
