"""The fast form of a classifier, for attacks and votes: BatchNorm folded into the weights, one draw for all noise.

Drawn layer by layer, the coloured noise of ResNet-20 takes some 300 small operations, more than its convolutions. With
all weights in one vector it takes half a dozen. `siam.models` is the plain path that tests compare this with.
"""

import torch
from torch import nn
from torch.nn.functional import linear, relu

from siam.devices import conv2d, slow_bf16


class Rectified(torch.autograd.Function):
    """relu(convolution(x) + added) on the CPU, in one pass over memory; `added` may be None. Gradients to x and added.

    bf16 goes by fp32 where the CPU has no instructions for it, as in `siam.devices.conv2d`.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, added):
        convolution = torch.ops.mkldnn._convolution_pointwise
        size = padding, stride, (1, 1), 1
        given, rounded = x, x.dtype == torch.bfloat16
        if rounded and slow_bf16():
            x, weight, bias, added = (None if t is None else t.float() for t in (x, weight, bias, added))
        if added is None:
            y = convolution(x, weight, bias, *size, "relu", [], "")
        else:
            y = convolution.binary(x, added, weight, bias, *size, "add", 1.0, "relu", [], "")
        y = y.bfloat16() if rounded else y
        ctx.save_for_backward(given, weight, y)  # what neighbours keep as well, and not its copy in fp32
        ctx.stride, ctx.padding, ctx.adds = stride, padding, added is not None
        return y

    @staticmethod
    def backward(ctx, gradient):
        x, weight, y = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        size = ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1
        like = torch.empty_like(x, dtype=weight.dtype)  # its shape and layout are all that is read
        to_x, _, _ = torch.ops.aten.convolution_backward(gradient.to(weight.dtype), like, weight, None, *size, (True, False, False))
        return to_x.to(gradient.dtype), None, None, None, None, gradient if ctx.adds else None


def rectified(x, weight, bias, stride, padding, added=None):
    """relu(convolution(x) + added) for x [N, I, H, W] and weight [O, I, k, k], the fastest way its device has."""
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return Rectified.apply(x, weight, bias, stride, padding, added)
    x = conv2d(x, weight, bias, stride, padding)
    return relu(x if added is None else x + added)


def folded_factors(layer, norm):
    """W [n], D [n], F [rank, n] and bias [outputs] of a layer followed by BatchNorm `norm` (or None); channels last.

    BatchNorm in evaluation mode multiplies output o by s_o = γ_o / sqrt(var_o + eps) and shifts it. A Gaussian stays
    one under scaling, so W, D and F are multiplied by s beforehand. D and F are None where there is no noise.
    """
    weight, bias, noise = layer.weight, layer.bias, getattr(layer, "weight_noise", None)
    D, F = noise.factors(weight) if hasattr(noise, "factors") else (None, None)
    scale = weight.new_ones(len(weight))
    if norm is not None:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        bias = norm.bias - norm.running_mean * scale

    def flat(t):
        """t [outputs, inputs, *kernel] or, F alone, [outputs, inputs, *kernel, rank]"""
        t = t * scale.view(-1, *[1] * (t.dim() - 1))
        return (t.movedim(1, 3) if weight.dim() == 4 else t).flatten(0, weight.dim() - 1)

    D = None if D is None else flat(D)
    F = None if F is None or F.shape[-1] == 0 else flat(F).T.contiguous()
    return flat(weight), D, F, bias


def without_noise(model):
    """`Folded(model)` with all noise of its layers off, as it is now: `refresh` would switch that of the weights on again."""
    folded = Folded(model)
    folded.D = folded.F = None
    folded.still = True
    return folded


class Folded(nn.Module):
    """Pixels [N, 3, 32, 32] -> logits [N, 10], what `model.eval()` computes, with W + D ⊙ z₁ + F z₂ drawn in each call.

    As in `siam.noise.sample`, each layer has a z₂ [rank] of its own. Input and activation noise are the model's own. Gradients reach x
    and the parameters of these two, and no weight; `refresh` takes over its weights after they have changed.
    """

    def __init__(self, model):
        super().__init__()
        network, self.mean, self.std, self.input_noise = model.network, model.mean, model.std, model.input_noise
        self.layers = [(network.conv, network.norm)]  # a plain list: they stay parts of `model` alone
        for block in network.blocks:
            self.layers.append((block.conv1, block.norm1))
            self.layers += [tuple(block.shortcut)] if isinstance(block.shortcut, nn.Sequential) else []
            self.layers.append((block.conv2, block.norm2))
        self.layers.append((network.linear, None))
        self.blocks = len(network.blocks)
        self.layer_of, self.still = None, False  # still: no activation noise either
        self.refresh()

    @torch.no_grad()
    def refresh(self):
        """Take the model's weights, noise factors and BatchNorm statistics as they are now."""
        W, D, F, biases = zip(*(folded_factors(*layer) for layer in self.layers))
        self.W, self.bias, self.D, self.F = torch.cat(W), torch.cat(biases), None, None
        if any(d is not None for d in D):
            self.D = torch.cat([torch.zeros_like(w) if d is None else d for w, d in zip(W, D)])
        rank = max(0 if f is None else len(f) for f in F)
        if rank:
            self.F = torch.cat([w.new_zeros(rank, len(w)) if f is None else f for w, f in zip(W, F)], 1)
            if self.layer_of is None:  # the number of the layer that each weight belongs to
                numbers = [torch.full_like(w, i, dtype=torch.int64) for i, w in enumerate(W)]
                self.layer_of = torch.cat(numbers)

    def draw(self):
        """One draw of all weights [n]."""
        weights = self.W
        if self.D is not None:
            weights = weights + self.D * torch.randn_like(self.D)
        if self.F is not None:
            z = torch.randn(len(self.F), len(self.layers), device=weights.device)
            weights = weights + (self.F * z.index_select(1, self.layer_of)).sum(0)
        return weights

    def drawn(self, device):
        """One draw: (layer, its weight, its bias), layer by layer, in the type that autocast asks for."""
        weights, biases = self.draw(), self.bias
        if torch.is_autocast_enabled(device):  # once for all, not layer by layer
            weights, biases = (t.to(torch.get_autocast_dtype(device)) for t in (weights, biases))
        weights = weights.split([layer.weight.numel() for layer, _ in self.layers])
        biases = biases.split([len(layer.weight) for layer, _ in self.layers])
        for (layer, _), weight, bias in zip(self.layers, weights, biases):
            outputs, inputs, *kernel = layer.weight.shape
            weight = weight.view(outputs, *kernel, inputs)
            yield layer, weight.movedim(-1, 1), bias

    def forward(self, x):
        drawn = self.drawn(x.device.type)

        def normed(x, added=None, rectify=True):
            layer, weight, bias = next(drawn)
            x = (x if self.still else layer.activation_noise(x)).to(weight.dtype)
            if rectify:
                return rectified(x, weight, bias, layer.stride, layer.padding, added)
            return conv2d(x, weight, bias, layer.stride, layer.padding)

        x = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        x = normed(self.input_noise(x))
        for _ in range(self.blocks):
            y = normed(x)
            projected = y.shape != x.shape
            x = normed(y, normed(x, rectify=False) if projected else x)
        _, weight, bias = next(drawn)
        return linear(x.mean((2, 3)), weight, bias)
