"""The LoRA forward pass in less memory: 1.85 GB at the peak instead of 2.26. Notebook 06."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch.nn.functional import silu


class FusedLora(torch.autograd.Function):
    """W x + s B A x, added up in place: what peft computes, with fewer passes over memory.

    With a gate g it is W z + s B A z of z = silu(g) x, and z is computed again on the way back: g
    and x have to be kept anyway, and z would be a third of what a gated layer keeps.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Any, gate: Any, w: Any, bias: Any, a: Any, b: Any, scale: float
    ) -> Any:
        z = x if gate is None else silu(gate) * x
        y = torch.nn.functional.linear(z, w, bias)
        inner = z.reshape(-1, z.shape[-1]) @ a.t()
        y.view(-1, y.shape[-1]).addmm_(inner, b.t(), alpha=scale)
        ctx.save_for_backward(x, gate, w, a, b, inner)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, gate, w, a, b, inner = ctx.saved_tensors
        dy = grads[0].reshape(-1, grads[0].shape[-1])
        d_inner = (dy @ b).mul_(ctx.scale)
        z = x if gate is None else silu(gate) * x
        of_weights = d_inner.t() @ z.reshape(-1, z.shape[-1]), (dy.t() @ inner).mul_(ctx.scale)
        if not any(ctx.needs_input_grad[:2]):
            return None, None, None, None, *of_weights, None
        dz = (dy @ w).addmm_(d_inner, a).view(x.shape)
        if gate is None:
            return dz, None, None, None, *of_weights, None
        d_gate = torch.ops.aten.silu_backward(dz * x, gate)
        return dz.mul_(silu(gate)), d_gate, None, None, *of_weights, None


def fused_forward(layer: Any, x: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
    if layer.disable_adapters:
        return layer.base_layer(x if gate is None else silu(gate) * x)
    (name,) = layer.active_adapters
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return FusedLora.apply(
        x, gate, layer.base_layer.weight, layer.base_layer.bias, a, b, layer.scaling[name]
    )


def fused_gated_forward(module: Any, x: torch.Tensor) -> torch.Tensor:
    return fused_forward(module.down_proj, module.up_proj(x), module.gate_proj(x))


def can_fuse(layer: Any) -> bool:
    return isinstance(layer, LoraLinear) and isinstance(layer.base_layer, torch.nn.Linear)


def is_gated(module: Any) -> bool:
    """Whether it computes down(silu(gate(x)) up(x)), as Llama does and most models after it."""
    layers = (getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj"))
    activation = getattr(getattr(module, "config", None), "hidden_act", None)
    return activation == "silu" and all(map(can_fuse, layers))
