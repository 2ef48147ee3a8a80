"""CUDA graphs without a GPU: when `captured` calls, captures and replays, on a stand-in for torch.cuda.

Whether a replay computes what the function does, test_training asks, on a GPU.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from siam import graphs
from siam.seeding import seed


class OnGPU(torch.Tensor):
    """Numbers of the CPU that say they lie on a GPU."""

    is_cuda = True


def on_gpu(*numbers):
    return torch.tensor(numbers).as_subclass(OnGPU)


@pytest.fixture
def gpu(monkeypatch):
    """What happened, a line each. Like CUDA, the stand-in computes nothing while it captures, and a replay computes what was
    captured, on the very tensors that the capture was given."""
    happened, capturing = [], []

    class Graph:
        def replay(self):
            happened.append("replay")
            for work in self.captured:
                work()

    class Capture:
        def __init__(self, graph, stream):
            graph.captured = []
            self.graph = graph

        def __enter__(self):
            happened.append("capture")
            capturing.append(self.graph)

        def __exit__(self, *error):
            capturing.remove(self.graph)

    def work(run):
        if capturing:
            capturing[-1].captured.append(run)
        else:
            happened.append("call")
            run()

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, stand_in in {"device": lambda device: nullcontext(), "Stream": lambda: stream, "current_stream": lambda: stream,
                           "stream": lambda stream: nullcontext(), "CUDAGraph": Graph, "graph": Capture}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return SimpleNamespace(happened=happened, work=work)


def adder(gpu, total):
    """Adds its argument to the first numbers of `total`, in place."""
    def add(x):
        gpu.work(lambda: total[:len(x)].add_(x))
    return graphs.captured(add)


def test_three_calls_then_one_capture_and_replays_of_it(gpu):
    total = torch.zeros(2)
    add = adder(gpu, total)
    for number in range(1, 7):
        add(on_gpu(float(number), 1.0))
    assert gpu.happened == ["call"] * 3 + ["capture", "replay", "replay", "replay"]
    assert total.tolist() == [21, 6]  # no call is made twice or left out, and a replay reads the inputs of its own call


def test_a_replay_leaves_the_callers_tensors_alone(gpu):
    total, each = torch.zeros(1), [on_gpu(float(number)) for number in range(6)]
    add = adder(gpu, total)
    for x in each:
        add(x)
    assert [x.item() for x in each] == list(range(6))


def test_each_shape_and_type_has_a_graph_of_its_own(gpu):
    total = torch.zeros(2)
    add = adder(gpu, total)
    for _ in range(5):
        add(on_gpu(1.0, 2.0))
        add(on_gpu(10.0))
        add(on_gpu(1, 1))
    assert gpu.happened.count("capture") == 3 and gpu.happened.count("call") == 9 and gpu.happened.count("replay") == 6
    assert total.tolist() == [60, 15]


def test_nothing_is_captured_where_the_environment_says_so(gpu, monkeypatch):
    total = torch.zeros(1)
    add = adder(gpu, total)
    monkeypatch.setenv("SIAM_EAGER", "1")
    for _ in range(6):
        add(on_gpu(1.0))
    assert gpu.happened == ["call"] * 6 and total.item() == 6
    monkeypatch.setenv("SIAM_EAGER", "0")
    add(on_gpu(1.0))
    assert gpu.happened.count("call") == 7
    for _ in range(4):
        add(on_gpu(1.0))
    assert "replay" in gpu.happened


def test_nothing_is_captured_on_the_cpu(gpu):
    total = torch.zeros(1)
    add = adder(gpu, total)
    for _ in range(6):
        add(torch.ones(1))
    assert gpu.happened == ["call"] * 6 and total.item() == 6


def test_where_cuda_is_in_use_the_same_draws_follow_from_a_seed(monkeypatch):
    seed("pass", 3)
    wanted, asked = torch.rand(4), []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", asked.append)
    seed("pass", 3)
    assert torch.equal(torch.rand(4), wanted) and asked == [torch.initial_seed()]
