"""An embedder in 8-bit integers, to see what quantizing costs. Notebook 02."""

from __future__ import annotations

import warnings

import torch

from course_utils.models.embedding import Embedder


class Int8Linear(torch.nn.Module):
    """A linear layer in 8-bit integers, except for each text's first token.

    A batch's largest value decides how coarsely all its values are rounded, and BERT's first token,
    [CLS], has values ten times larger than any other token's. It is computed in float32.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        self.exact = linear
        only = {"0": per_channel_dynamic_qconfig}
        self.rounded = quantize_dynamic(torch.nn.Sequential(linear), only)[0]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        first = inputs[:, 0].clone()  # (batch, in)
        inputs[:, 0] = 0  # in place, and put back below: a copy would cost what int8 gains
        outputs = self.rounded(inputs)  # (batch, tokens, out)
        inputs[:, 0] = first
        outputs[:, 0] = self.exact(first)
        return outputs


def quantize(embedder: Embedder) -> Embedder:
    """Put the linear layers of a BERT, or of a model built like it, into `Int8Linear`.

    Faster, and a little different on each kind of processor.

    Args:
        embedder: is changed; load another one to compare with.

    Returns:
        The same embedder.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.ao")  # deprecated, without a successor yet
        for name, module in list(embedder.transformer.named_modules()):
            if "pooler" in name:  # its output is not used
                continue
            for child_name, child in list(module.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(module, child_name, Int8Linear(child))
    embedder.variant = "int8"
    return embedder
