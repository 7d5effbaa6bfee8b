"""Late chunking (Günther et al., 2024): read the page first and cut it afterwards. Notebook 02.

A chunk that is embedded by itself is read without its page. Here the transformer reads the page,
so that each token's vector knows what stands around it; a chunk's vector is the mean over its
tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from llama_index.core.schema import BaseNode

from course_utils.files import InputError
from course_utils.models.cache import Batches
from course_utils.models.embedding import Embedder, LibraryEmbedder
from course_utils.search.documents import nodes_by_page, span_of
from course_utils.search.vectors import known_vectors


def late_chunk_vectors(
    pages: Iterable[BaseNode], chunks: Sequence[BaseNode], embedder: Embedder
) -> np.ndarray:
    """Vectors of chunks whose pages were read whole.

    Args:
        pages: the pages that the chunks were cut from.
        chunks: n chunks that know where on their page they are (``SpanSplitter``).
        embedder: a transformer with mean pooling.

    Returns:
        (n, dimension) float32 array with rows of length 1; ``DenseRetriever(chunks, embedder,
        embed=partial(late_chunk_vectors, pages))`` searches them.

    Raises:
        InputError: the embedder pools in another way.
    """
    if isinstance(embedder, LibraryEmbedder):
        raise InputError(
            f"{embedder.model_name} does more than average token vectors, so chunks cannot be cut "
            "late; use a BERT with mean pooling, such as the course's embedder."
        )
    by_id = {page.node_id: page for page in pages}
    keys = []
    for chunk in chunks:
        span = span_of(chunk)
        place = f"{by_id[span.page].hash} {span.start}-{span.end}"
        keys.append(f"{embedder.fingerprint} late\0{place}")

    def compute(places: Sequence[int]) -> Batches:
        place_of = {chunks[place].node_id: i for i, place in enumerate(places)}
        for page, own in nodes_by_page(chunks[place] for place in places).items():
            vectors, spans = page_token_vectors(by_id[page], embedder)
            batch = {}
            for chunk in own:
                span = span_of(chunk)
                inside = (spans[:, 0] < span.end) & (spans[:, 1] > span.start)  # (tokens,)
                total = vectors[inside].sum(axis=0)  # (dimension,), 0 without a token
                batch[place_of[chunk.node_id]] = total / max(np.linalg.norm(total), 1e-9)
            yield batch

    return known_vectors(embedder, keys, compute)


@torch.inference_mode()
def page_token_vectors(page: BaseNode, embedder: Embedder) -> tuple[np.ndarray, np.ndarray]:
    """The vector of each token of a page, read together with what is around it.

    A page that the embedder cannot read at once is read in windows that overlap by half; a token
    takes its vector from the window in which it is farthest from an edge.

    Returns:
        (tokens, dimension) float32 vectors, and (tokens, 2) first and last character + 1.
    """
    tokenizer = embedder.tokenizer
    title = f"title: {page.metadata.get('title', '')}\n\n"  # as chunks are embedded
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    encoded = tokenizer(title + page.get_content(), **options)
    ids, spans = encoded["input_ids"], np.array(encoded["offset_mapping"]) - len(title)
    size = embedder.max_tokens - 2  # room for [CLS] and [SEP]
    vectors = np.zeros((len(ids), embedder.dimension), np.float32)
    margins = np.full(len(ids), -1)  # of each token: how far it was from an edge
    for start in range(0, max(len(ids) - size // 2, 1), size // 2):
        part = ids[start : start + size]
        window = [tokenizer.cls_token_id, *part, tokenizer.sep_token_id]
        hidden = embedder.transformer(input_ids=torch.tensor([window])).last_hidden_state
        read = hidden[0, 1:-1].numpy()  # (tokens of the window, dimension)
        left = np.arange(len(part)) if start else np.full(len(part), size)
        ends = start + len(part) == len(ids)
        right = np.full(len(part), size) if ends else np.arange(len(part))[::-1]
        margin = np.minimum(left, right)
        better = margin > margins[start : start + len(part)]
        vectors[start : start + len(part)][better] = read[better]
        margins[start : start + len(part)][better] = margin[better]
    return vectors, spans
