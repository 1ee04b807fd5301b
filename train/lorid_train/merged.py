"""LoRA linears that multiply once: by the base's weight with the adapter's product added to it.

PEFT multiplies by W, by A and by B, and adds: three products and as many passes over the
activations. A frozen W lets all be one product by W + s B A, which is rebuilt a step (a few
percent of the work at 1,000 tokens). The gradients of A and B are the same as PEFT's.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear


class _Merged(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """y = x (W + s B A)^T; x (..., in), W (out, in) frozen, A (rank, in), B (out, rank)."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, a: Any, b: Any, scale: float) -> Any:
        merged = torch.addmm(weight, b.to(weight.dtype), a.to(weight.dtype), alpha=scale)
        ctx.save_for_backward(x, merged, a, b)
        ctx.scale = scale
        return torch.nn.functional.linear(x, merged)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, merged, a, b = ctx.saved_tensors
        into_x = grad @ merged if ctx.needs_input_grad[0] else None
        rows, grad = x.flatten(0, -2), grad.flatten(0, -2)
        into_a = ((grad @ b.to(grad.dtype)).t() @ rows).to(a.dtype).mul(ctx.scale)
        into_b = (grad.t() @ (rows @ a.to(rows.dtype).t())).to(b.dtype).mul(ctx.scale)
        return into_x, None, into_a, into_b, None


class MergedLinear(Linear):  # type: ignore[misc]  # torch has no types here
    """PEFT's own module with another `forward`: its names, saving and loading stay."""

    adapter: str

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return x (..., in) times the merged weight: (..., out)."""
        a, b = self.lora_A[self.adapter].weight, self.lora_B[self.adapter].weight
        return _Merged.apply(x, self.base_layer.weight, a, b, self.scaling[self.adapter])


def merge(model: Any) -> int:
    """Let every plain LoRA linear of a PEFT model multiply once; return how many there are.

    Left as they are: linears with a bias, dropout, DoRA or more than one adapter.
    """
    found = [m for m in model.modules() if isinstance(m, Linear) and _is_plain(m)]
    for module in found:
        # one class for all, no closure a module: torch.compile then compiles one layer for all
        module.__class__, module.adapter = MergedLinear, module.active_adapters[0]
    return len(found)


def _is_plain(module: Any) -> bool:
    (name, *others) = module.active_adapters
    return (
        not others
        and module.base_layer.bias is None
        and module.lora_B[name].bias is None
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and not module.lora_variant
        and not module.fan_in_fan_out
    )
