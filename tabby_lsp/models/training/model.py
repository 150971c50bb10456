"""The transformer, as a function of named tensors: llama.cpp's `qwen2` architecture, tensor by tensor.

The names are those of the GGUF file, so that export is a copy. Knows nothing of optimizers or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6


@dataclass(frozen=True)
class Config:
    layers: int = 8
    width: int = 256
    heads: int = 4
    kv_heads: int = 1
    hidden: int = 704
    vocabulary: int = 8192
    context: int = 2048
    rope_base: float = 10_000.0

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        kv = self.kv_heads * self.head_width
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.vocabulary, self.width)}
        for n in range(self.layers):
            layer = {
                "attn_norm.weight": (self.width,),
                "attn_q.weight": (self.width, self.width),
                "attn_q.bias": (self.width,),
                "attn_k.weight": (kv, self.width),
                "attn_k.bias": (kv,),
                "attn_v.weight": (kv, self.width),
                "attn_v.bias": (kv,),
                "attn_output.weight": (self.width, self.width),
                "ffn_norm.weight": (self.width,),
                "ffn_gate.weight": (self.hidden, self.width),
                "ffn_up.weight": (self.hidden, self.width),
                "ffn_down.weight": (self.width, self.hidden),
            }
            shapes |= {f"blk.{n}.{name}": shape for name, shape in layer.items()}
        return shapes | {"output_norm.weight": (self.width,)}


Weights = dict[str, Tensor]


def new_weights(config: Config, seed: int) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in config.shapes().items():
        if name.endswith("norm.weight"):
            tensor = torch.ones(shape)
        elif name.endswith("bias") or name.endswith(("attn_output.weight", "ffn_down.weight")):
            tensor = torch.zeros(shape)  # each layer starts as the identity
        elif name == "token_embd.weight":
            tensor = torch.randn(shape, generator=generator) * 0.02
        else:
            tensor = torch.randn(shape, generator=generator) / math.sqrt(shape[1])
        weights[name] = tensor.requires_grad_()
    return weights


def rope_tables(config: Config, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    half = config.head_width // 2
    turns = config.rope_base ** (-torch.arange(half, dtype=torch.float32, device=device) / half)
    angles = torch.arange(length, dtype=torch.float32, device=device)[:, None] * turns
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """NEOX style: the first half of a head turns with the second half."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, EPSILON)


_ATTENTION = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output")
_LAYER = (*_ATTENTION, "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")


def hidden_states(weights: Weights, config: Config, ids: Tensor) -> Tensor:
    rows, length = ids.shape
    cos, sin = rope_tables(config, length, ids.device)
    x = F.embedding(ids, weights["token_embd.weight"])

    def heads(y: Tensor, count: int) -> Tensor:
        return y.view(rows, length, count, config.head_width).transpose(1, 2)

    for n in range(config.layers):
        layer = {name: weights[f"blk.{n}.{name}.weight"] for name in _LAYER}
        bias = {name: weights[f"blk.{n}.attn_{name}.bias"] for name in "qkv"}
        y = _norm(x, layer["attn_norm"])
        q = _rotate(heads(F.linear(y, layer["attn_q"], bias["q"]), config.heads), cos, sin)
        k = _rotate(heads(F.linear(y, layer["attn_k"], bias["k"]), config.kv_heads), cos, sin)
        v = heads(F.linear(y, layer["attn_v"], bias["v"]), config.kv_heads)
        groups = config.heads // config.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(y.transpose(1, 2).reshape(rows, length, config.width), layer["attn_output"])
        y = _norm(x, layer["ffn_norm"])
        y = F.silu(F.linear(y, layer["ffn_gate"])) * F.linear(y, layer["ffn_up"])
        x = x + F.linear(y, layer["ffn_down"])
    return _norm(x, weights["output_norm.weight"])


def logits(weights: Weights, config: Config, ids: Tensor) -> Tensor:
    return F.linear(hidden_states(weights, config, ids), weights["token_embd.weight"])


def losses(weights: Weights, config: Config, ids: Tensor) -> Tensor:
    """Nats of each id after the first, in the shape of `ids[:, 1:]`."""
    scores = logits(weights, config, ids[:, :-1]).float()
    return F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
