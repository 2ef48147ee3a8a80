"""CUDA graphs: a training step of ResNet-20 is thousands of kernels of a few microseconds, and launching them one by one
takes longer than running them."""

import os

import torch

WARM_UP = 3


def without_graphs():
    """Whether the environment has SIAM_EAGER, and not as 0: then nothing is captured."""
    return os.environ.get("SIAM_EAGER", "0") not in ("", "0")


def captured(function):
    """`function` of CUDA tensors; from the fourth call with the same shapes on, replayed as one CUDA graph.

    The function works in place and returns nothing. It must do the same work on the same tensors in every call, and
    wait for none of it. Its first calls run as written, on a stream of their own, as CUDA asks for; no call
    is made twice. Random draws follow the global generator as it is when a call is made. On the CPU nothing changes,
    nor where one asks for it (`without_graphs`): a capture that fails may leave CUDA of no use to its process.
    """
    graphs = {}

    def call(*inputs):
        if not inputs[0].is_cuda or without_graphs():
            return function(*inputs)
        with torch.cuda.device(inputs[0].device):  # streams and graphs are those of the current device
            return replayed(*inputs)

    def replayed(*inputs):
        key = tuple((t.shape, t.dtype) for t in inputs)
        calls, held, graph = graphs.get(key, (0, None, None))
        if calls < WARM_UP:
            apart, here = torch.cuda.Stream(), torch.cuda.current_stream()
            apart.wait_stream(here)
            with torch.cuda.stream(apart):
                function(*inputs)
            here.wait_stream(apart)
        else:
            if graph is None:
                held, graph = [t.clone() for t in inputs], torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=torch.cuda.Stream()):  # torch's own is of the card that captured first
                    function(*held)
            for kept, t in zip(held, inputs):
                kept.copy_(t)
            graph.replay()
        graphs[key] = calls + 1, held, graph

    return call
