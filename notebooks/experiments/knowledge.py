"""Facts by fine-tuning and by RAG, in the week they are from and the week after."""

from __future__ import annotations

import time
from typing import Any

from llama_index.core.schema import MetadataMode

from course_utils.files import progress
from course_utils.generate.prompting import Chat, rag_chat
from course_utils.search.chunking import SpanSplitter, packed_blocks
from course_utils.search.retrieval import DenseRetriever
from course_utils.tasks import handbook
from course_utils.tasks.common import Scores
from course_utils.tasks.handbook import load_handbook
from course_utils.tasks.options import option_scores
from course_utils.tune.adapters import attached
from course_utils.tune.recipes import Recipe
from course_utils.tune.training import train
from notebooks.experiments.bench import Arms, Bench


def knowledge_experiment(lab: Bench) -> Arms:
    """Facts by fine-tuning and by RAG, in the week they are from and the week after."""
    facts = lab.some(handbook.facts_with_paraphrases())
    options = [handbook.four_options(facts, place) for place in range(len(facts))]
    asked = [old.text for old, _, _ in facts]
    splitter = SpanSplitter(packed_blocks(lab.embedder.tokenizer, 96))

    def pick(chats: list[Chat]) -> Scores:
        """Which option is likeliest: that of week 1, that of week 2."""
        pairs = progress(list(zip(chats, options, strict=True)), "facts")
        best = [int(option_scores(lab.llm, chat, four).argmax()) for chat, four in pairs]
        return {f"week {w + 1}": [float(place == w) for place in best] for w in (0, 1)}

    def sourced(week: int) -> list[Chat]:
        nodes = splitter.get_nodes_from_documents(load_handbook(week))
        found = DenseRetriever(nodes, lab.embedder, top_k=3).search(asked)
        return [rag_chat(text, hits) for text, hits in zip(asked, found, strict=True)]

    def update() -> float:
        """Seconds to embed what week 2 changes."""
        old, new = (splitter.get_nodes_from_documents(load_handbook(week)) for week in (1, 2))
        known = {node.get_content(MetadataMode.EMBED) for node in old}
        fresh = [
            text for node in new if (text := node.get_content(MetadataMode.EMBED)) not in known
        ]
        began = time.perf_counter()
        lab.embedder.encode(fresh)
        return round(time.perf_counter() - began, 2)

    closed = [handbook.fact_chat(text) for text in asked]
    yield "base", lambda: {"scores": pick(closed)}
    yield "RAG, index of week 1", lambda: {"scores": pick(sourced(1))}
    yield "RAG, index of week 2", lambda: {"scores": pick(sourced(2)), "update_seconds": update()}
    for ways, epochs in ((1, 16), (4, 4)):
        for seed in (0, 1, 2):

            def tuned(ways: int = ways, epochs: int = epochs, seed: int = seed) -> dict[str, Any]:
                examples = [
                    handbook.fact_chat(text, old.answer)
                    for old, _, others in facts
                    for text in others[:ways]
                ]
                recipe = lab.recipe(Recipe(epochs=epochs, tokens_per_step=512, seed=seed))
                adapter = train(lab.llm, examples, recipe)
                with attached(lab.llm, adapter):
                    made: dict[str, Any] = {"scores": pick(closed)}
                    if ways > 1:
                        made["with RAG, week 1"] = pick(sourced(1))
                        made["with RAG, week 2"] = pick(sourced(2))
                return made | {"train_seconds": adapter.seconds}

            yield f"LoRA, {ways} phrasing{'s' * (ways > 1)}, seed {seed}", tuned
