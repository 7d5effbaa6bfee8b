"""The loss on the assistant's turns only. Notebook 06."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from course_utils.generate.prompting import Chat
from course_utils.models.cache import Batches, cached_by_model, in_order
from course_utils.models.generator import LanguageModel
from course_utils.models.weights import release_memory
from course_utils.tune.encoding import Row, cut, encode


def token_losses(llm: LanguageModel, rows: Sequence[Row]) -> torch.Tensor:
    """The loss of each learned token of some rows, in nats, row by row.

    The head, whose output has an entry for each of the vocabulary's words, is applied where a
    learned token is predicted and nowhere else: that is most of the memory that training takes
    elsewhere. Rows are padded on the right, where no real token looks.
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows])
    learned = torch.tensor([row.learned + [False] * (longest - len(row.ids)) for row in rows])
    ids, learned = ids.to(llm.model.device), learned.to(llm.model.device)
    hidden = llm.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    release_memory()  # the layers' scratch space, before the head asks for its own
    logits = llm.model.get_output_embeddings()(hidden[:, :-1][learned[:, 1:]])
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][learned[:, 1:]], reduction="none")


def loss_on(llm: LanguageModel, examples: Sequence[Chat], tokens_per_pass: int = 768) -> np.ndarray:
    """How badly a model predicts the assistant's turns of some chats.

    Args:
        llm: a local model, with or without an adapter attached.
        examples: n chats.
        tokens_per_pass: upper bound on padded tokens run at once.

    Returns:
        (n,) nats per token of the assistant's turns.
    """

    def compute(model: LanguageModel, chats: Sequence[Chat]) -> Batches:
        return mean_losses(model, [encode(model, chat) for chat in chats], tokens_per_pass)

    if llm.remember:
        return np.array(cached_by_model(llm, ["loss"], examples, compute))
    return np.array(in_order(compute(llm, examples)))


def mean_losses(llm: LanguageModel, rows: list[Row], tokens_per_pass: int) -> Batches:
    """The mean loss of each row's learned tokens, pass by pass."""
    lengths = [len(row.ids) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: -lengths[row])
    for part in cut(order, lengths, tokens_per_pass, padded=True):
        with torch.inference_mode():
            losses = token_losses(llm, [rows[i] for i in part])
        pieces = losses.split([sum(rows[i].learned) for i in part])
        yield {i: piece.mean().item() for i, piece in zip(part, pieces, strict=True)}
