"""Rerankers, on tiny random models."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core import Document
from llama_index.core.schema import (
    BaseNode,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from course_utils.files import InputError, cache_dir
from course_utils.lab.late_chunking import late_chunk_vectors, page_token_vectors
from course_utils.lab.query_likelihood import QueryLikelihood, reading_prompt
from course_utils.lab.rerank_training import fit_mix, tune_late_interaction
from course_utils.models.embedding import Embedder, LibraryEmbedder
from course_utils.models.generator import LanguageModel
from course_utils.models.registry import ModelError
from course_utils.project.beir import evaluate_beir
from course_utils.search.documents import Question
from course_utils.search.late_interaction import LateInteraction
from course_utils.search.mixing import LearnedMix, default_reranker
from course_utils.search.reranking import CrossEncoder, RerankedRetriever, Reranker
from course_utils.search.retrieval import BM25Retriever, DenseRetriever

WORDS = ["lantern", "battery", "crib", "invoice", "night", "bay", "order", "depot", "frost"]
WORDS += ["alarm", "ferry", "the"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
corpora = st.lists(texts, min_size=1, max_size=8)
# The models are read only, so hypothesis may share them between examples.
shared = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make_tokenizer(**settings: Any) -> Any:
    raw = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]")
    )
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=ends
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=raw, **names, **settings)


def bert(**settings: Any) -> BertConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vocabulary = len(SPECIAL + WORDS)
    return BertConfig(vocab_size=vocabulary, intermediate_size=16, **sizes, **settings)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    BertModel(bert()).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8}))
    return Embedder(folder, "tiny")


@pytest.fixture(scope="session")
def llm() -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(SPECIAL + WORDS), num_hidden_layers=1, **sizes)
    tokenizer = make_tokenizer(padding_side="left")
    return LanguageModel("tiny", LlamaForCausalLM(config).eval(), tokenizer)


def node(name: str, text: str, page: str = "") -> TextNode:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=page)} if page else {}
    return TextNode(id_=name, text=text, relationships=source)


def candidates(corpus: Sequence[str]) -> list[NodeWithScore]:
    return [
        NodeWithScore(node=node(f"n{i}", text), score=1 / (i + 1)) for i, text in enumerate(corpus)
    ]


def scores(found: Sequence[NodeWithScore]) -> dict[str, float]:
    return {hit.node_id: hit.get_score() for hit in found}


class Fixed(Reranker):
    """Scores a node by the number in its text."""

    def _score(self, question: str, nodes: list[BaseNode]) -> list[float]:
        return [float(one.get_content()) for one in nodes]


# --- what all share -------------------------------------------------------------------------------


def kinds(tiny: Embedder, llm: LanguageModel) -> dict[str, Reranker]:
    late, likely = LateInteraction(tiny), QueryLikelihood(llm)
    return {"late": late, "likely": likely, "mix": LearnedMix([late, likely], [0.5, 1, 0.3])}


@pytest.mark.parametrize("kind", ["late", "likely", "mix"])
@shared
@given(corpus=corpora, question=texts, seed=st.integers(0, 9))
def test_reranking_keeps_the_candidates_and_ignores_their_order(
    kind: str, corpus: list[str], question: str, seed: int, tiny: Embedder, llm: LanguageModel
) -> None:
    reranker, hits = kinds(tiny, llm)[kind], candidates(corpus)
    found = reranker.rerank([question], [hits])[0]
    assert sorted(scores(found)) == sorted(scores(hits))
    values = [hit.get_score() for hit in found]
    assert values == sorted(values, reverse=True)
    shuffled = random.Random(seed).sample(hits, len(hits))
    assert scores(reranker.rerank([question], [shuffled])[0]) == pytest.approx(
        scores(found), abs=1e-3
    )
    if kind != "mix":  # a mix standardises over all candidates
        alone = reranker.rerank([question], [hits[:1]])[0]
        assert scores(alone)["n0"] == pytest.approx(scores(found)["n0"], abs=1e-3)


@pytest.mark.parametrize("kind", ["late", "likely", "mix"])
def test_no_candidates_and_no_questions(kind: str, tiny: Embedder, llm: LanguageModel) -> None:
    reranker = kinds(tiny, llm)[kind]
    assert reranker.rerank(["frost"], [[]]) == [[]]
    assert reranker.rerank([], []) == []
    with pytest.raises(ValueError, match="shorter"):
        reranker.rerank(["frost"], [])


@pytest.mark.parametrize("top_k", [0, -1])
def test_fewer_than_one_node_cannot_be_asked_for(top_k: int) -> None:
    first = BM25Retriever([node("a", "ferry")])
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        Fixed(top_k=top_k)
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        Fixed().rerank(["x"], [candidates("12")], top_k)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        RerankedRetriever(first, Fixed(), depth=top_k)


def test_it_is_a_llamaindex_postprocessor() -> None:
    hits = candidates(["1", "3", "2"])
    found = Fixed(top_k=2).postprocess_nodes(hits, query_str="frost")
    assert list(scores(found).items()) == [("n1", 3.0), ("n2", 2.0)]
    assert hits[1].score == 1 / 2  # the candidates are not changed
    with pytest.raises(ValueError, match="needs the question"):
        Fixed().postprocess_nodes(hits)


def test_equals_stay_as_they_were() -> None:
    assert list(scores(Fixed().rerank(["x"], [candidates("1212")])[0])) == ["n1", "n3", "n0", "n2"]


def test_a_page_is_judged_and_returned_as_its_best_chunk() -> None:
    chunks = [node("a:0", "1", "a"), node("a:1", "7", "a"), node("b:0", "5", "b")]
    hits = [NodeWithScore(node=each) for each in (chunks[2], node("a", "0"), node("c", "6"))]
    found = Fixed(chunks).rerank(["x"], [hits])[0]  # type: ignore[call-arg, arg-type]
    assert scores(found) == {"a:1": 7, "c": 6, "b:0": 5}
    assert list(scores(found)) == ["a:1", "c", "b:0"]


# --- late interaction -----------------------------------------------------------------------------


@torch.inference_mode()
def token_vectors(tiny: Embedder, text: str) -> torch.Tensor:
    ids = tiny.tokenizer(text, truncation=True, max_length=8, return_tensors="pt")
    hidden = tiny.transformer(**ids).last_hidden_state[0]
    return hidden / hidden.norm(dim=1, keepdim=True)


@shared
@given(corpus=corpora, question=texts)
def test_max_sim_by_hand(corpus: list[str], question: str, tiny: Embedder) -> None:
    asked = token_vectors(tiny, question)[1:-1]  # without [CLS] and [SEP]
    expected = {
        f"n{i}": (asked @ token_vectors(tiny, text).T).max(dim=1).values.mean().item()
        for i, text in enumerate(corpus)
    }
    found = LateInteraction(tiny).rerank([question], [candidates(corpus)])[0]
    assert scores(found) == pytest.approx(expected, abs=1e-3)


def test_rare_tokens_count_more(tiny: Embedder) -> None:
    chunks = [node(str(i), text) for i, text in enumerate(["the night", "the bay", "the frost"])]
    weights = LateInteraction(tiny, chunks).token_weights("the frost depot")
    assert weights[[0, 4]].tolist() == [0, 0] and weights.sum() == pytest.approx(1)
    assert weights[1] < weights[2] < weights[3]
    assert weights[3] / weights[2] == pytest.approx(np.log(1 + 3.5 / 0.5) / np.log(1 + 2.5 / 1.5))
    plain = LateInteraction(tiny).token_weights("the frost depot")
    assert plain.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0])
    assert LateInteraction(tiny).token_weights("").tolist() == [0, 0]


def test_vectors_are_computed_once_and_a_changed_text_anew(tiny: Embedder) -> None:
    late, asked = LateInteraction(tiny), "frost"
    one = late.rerank([asked], [[NodeWithScore(node=node("n", "bay"))]])
    other = late.rerank([asked], [[NodeWithScore(node=node("n", "ferry night"))]])
    assert len(late._vectors) == 2 and one[0][0].score != other[0][0].score
    assert late.rerank([asked], [[NodeWithScore(node=node("n", "bay"))]]) == one
    late.forget()
    assert not late._vectors
    assert late.rerank([asked], [[NodeWithScore(node=node("n", "bay"))]]) == one


def test_token_vectors_are_kept_on_disk_unless_time_is_measured(
    tiny: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, hits = "frost", candidates(["bay", "ferry night frost", "bay"])
    before = LateInteraction(tiny).rerank([asked], [hits])
    embedded: list[str] = []
    token_vectors = LateInteraction.token_vectors

    def counted(self: LateInteraction, texts: list[str], batch: int = 16) -> list[torch.Tensor]:
        embedded.extend(texts)
        return token_vectors(self, texts, batch)

    monkeypatch.setattr(LateInteraction, "token_vectors", counted)
    assert LateInteraction(tiny).rerank([asked], [hits]) == before
    assert embedded == [asked]  # the passages come from disk
    assert LateInteraction(tiny, remember=False).rerank([asked], [hits]) == before
    assert len(embedded) > 2
    monkeypatch.setattr(Embedder, "fingerprint", "another model")
    embedded.clear()
    LateInteraction(tiny).rerank([asked], [hits])
    assert len(embedded) > 1


def lesson(n: int = 12) -> tuple[list[Question], list[list[NodeWithScore]]]:
    """Questions on 'ferry' whose right page is always the one on 'lantern'."""
    draw = random.Random(0)
    questions, rankings = [], []
    for i in range(n):
        others = [" ".join(draw.choices(WORDS[1:], k=4)) for _ in range(6)]
        questions.append(Question(str(i), f"ferry {draw.choice(WORDS)}", grades={"n3": 2}))
        rankings.append(candidates([*others[:3], "lantern lantern lantern", *others[3:]]))
    return questions, rankings


def gold_ranks(reranker: Reranker) -> float:
    questions, rankings = lesson()
    found = reranker.rerank([q.text for q in questions], rankings)
    return float(np.mean([list(scores(hits)).index("n3") for hits in found]))


def test_tuning_learns_a_planted_rule_and_is_kept(tiny: Embedder) -> None:
    late = LateInteraction(tiny)
    tuned = tune_late_interaction(late, *lesson(), epochs=20, rate=1e-2)
    assert gold_ranks(tuned) < 0.5 < gold_ranks(late)
    (path,) = cache_dir().glob("late-*.safetensors")
    written = path.stat().st_mtime_ns
    again = tune_late_interaction(LateInteraction(tiny), *lesson(), epochs=20, rate=1e-2)
    assert path.stat().st_mtime_ns == written
    assert again._change is not None and tuned._change is not None
    assert torch.equal(again._change, tuned._change)
    tune_late_interaction(late, *lesson(), epochs=1, rate=1e-2)
    kept = list(cache_dir().glob("late-*"))
    assert len(kept) == 2  # other settings are another file; none is partial


def test_another_collection_of_as_many_chunks_is_tuned_for_itself(tiny: Embedder) -> None:
    pages = [["ferry ferry", "ferry bay"], ["bay", "order"]]
    layers = []
    for texts in pages:
        chunks = [node(f"c{i}", text) for i, text in enumerate(texts)]
        layers.append(
            tune_late_interaction(
                LateInteraction(tiny, chunks), *lesson(), epochs=1, rate=1e-2
            )._change
        )
    assert layers[0] is not None and layers[1] is not None
    assert not torch.equal(layers[0], layers[1])


def test_a_tuned_copy_keeps_on_disk_what_the_first_keeps(tiny: Embedder) -> None:
    for remember in (False, True):
        tuned = tune_late_interaction(LateInteraction(tiny, remember=remember), *lesson(), epochs=1)
        tuned.forget()
        gold_ranks(tuned)
        assert (cache_dir() / "tokens.sqlite").exists() == remember


# --- query likelihood -----------------------------------------------------------------------------


@torch.inference_mode()
def test_query_likelihood_by_hand(llm: LanguageModel) -> None:
    corpus, question = ["frost alarm", "ferry at night from the bay to the depot"], "night ferry"
    corpus += ["order"] * 8  # more than a batch
    found = scores(QueryLikelihood(llm).rerank([question], [candidates(corpus)])[0])
    asked = llm.tokenizer(question, add_special_tokens=False)["input_ids"]
    for name, text in enumerate(corpus):
        prompt = reading_prompt(node("x", text), llm.tokenizer)
        before = llm.tokenizer(prompt, add_special_tokens=False)
        ids = before["input_ids"] + asked
        logprobs = llm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        places = range(len(before["input_ids"]) - 1, len(ids) - 1)
        expected = np.mean([logprobs[p, t].item() for p, t in zip(places, asked, strict=True)])
        assert found[f"n{name}"] == pytest.approx(expected, abs=1e-4)


SMOLLM = (  # as in its tokenizer's files
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' "
    "else m['role'] %}<start_of_turn>{{ role }}\n{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LAST = (  # writes the last message otherwise than those before it
    "{% for m in messages %}{% if loop.last %}now {% endif %}{{ m['content'] }}|{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "first", "prompt"),
    [
        (SMOLLM, "<|im_start|>", "<|im_start|>user\nASKED<|im_end|>\n<|im_start|>assistant\n"),
        (SMOLLM, None, "<|im_start|>user\nASKED<|im_end|>\n<|im_start|>assistant\n"),
        (GEMMA, "<bos>", "<bos><start_of_turn>user\nASKED<end_of_turn>\n<start_of_turn>model\n"),
        (LAST, "<bos>", "now ASKED|"),
        (None, "<bos>", "<bos>ASKED\n"),
        (None, None, "ASKED\n"),
    ],
)
def test_the_prompt_is_in_the_models_own_format(
    template: str | None, first: str | None, prompt: str
) -> None:
    tokenizer = make_tokenizer(chat_template=template, bos_token=first)
    passage = node("x", "frost at night")
    asked = "Passage: \nfrost at night\n\nWrite a question that this passage answers."
    assert reading_prompt(passage, tokenizer) == prompt.replace("ASKED", asked)
    if template == SMOLLM:
        assert reading_prompt(passage) == reading_prompt(passage, tokenizer)


def test_likelihoods_are_remembered_by_question_and_prompt(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = candidates(["frost alarm", "ferry at night", "frost alarm"])
    plain, keeping = QueryLikelihood(llm), QueryLikelihood(replace(llm, remember=True))
    for question in ("night ferry", "frost", "night ferry"):
        assert scores(keeping.judge(question, hits)) == scores(plain.judge(question, hits))
    monkeypatch.setattr(
        "course_utils.lab.query_likelihood.likelihoods", None
    )  # nothing is computed again
    keeping.judge("frost", hits)
    with pytest.raises(TypeError):
        keeping.judge("alarm", hits)


# --- the mix --------------------------------------------------------------------------------------


def planted(weights: Sequence[float], n: int = 150) -> tuple[list[Question], Any]:
    """Candidates whose grades are drawn by a known weighting of own score and text number."""
    draw = np.random.default_rng(0)
    questions, rankings = [], []
    for i in range(n):
        table = draw.standard_normal((8, 2))
        best = int(np.argmax(table @ np.array(weights) + draw.gumbel(size=8)))
        rows = enumerate(table)
        rankings.append(
            [NodeWithScore(node=node(f"n{j}", f"{b:.6f}"), score=100 * a) for j, (a, b) in rows]
        )
        questions.append(Question(str(i), "x", grades={f"n{best}": 2}))
    return questions, rankings


@pytest.mark.parametrize("weights", [(2.0, 1.0), (0.0, 2.0), (1.0, -1.0)])
def test_the_mix_finds_a_planted_weighting(weights: tuple[float, float]) -> None:
    made = fit_mix([Fixed()], *planted(weights), l2=1e-4).weights
    length = np.linalg.norm(made) * np.linalg.norm(weights)
    assert np.dot(made, weights) / length > 0.97


def test_a_mix_standardises_and_adds() -> None:
    hits = candidates(["0", "2", "4"])
    hits[0].score, hits[1].score, hits[2].score = 30.0, 20.0, 10.0
    found = LearnedMix([Fixed()], [1, 3]).rerank(["x"], [hits])[0]
    step = 1 / np.std([1, 2, 3])
    assert scores(found) == pytest.approx({"n2": 2 * step, "n1": 0, "n0": -2 * step})
    same = LearnedMix([Fixed()], [1, 3]).rerank(["x"], [candidates("55")[:1]])[0]
    assert scores(same) == {"n0": 0.0}


def test_a_mix_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="1 parts need 2 weights"):
        LearnedMix([Fixed()], [1])
    with pytest.raises(ValueError, match="nothing to learn from"):
        fit_mix([Fixed()], [Question("q", "x", grades={"other": 2})], [candidates("12")])


# --- cross-encoder --------------------------------------------------------------------------------


@pytest.mark.slow  # importing sentence-transformers takes seconds
def test_a_cross_encoder_reads_both_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    BertForSequenceClassification(bert(num_labels=1)).eval().save_pretrained(tmp_path)
    make_tokenizer(model_max_length=64).save_pretrained(tmp_path)
    monkeypatch.setenv("COURSE_RERANKER", str(tmp_path))
    cross = CrossEncoder()
    corpus = ["frost alarm", "ferry night order the bay", *["depot"] * 8]
    found = scores(cross.rerank(["night"], [candidates(corpus)])[0])
    for i, text in enumerate(corpus):
        with torch.inference_mode():
            pair = cross._library.tokenizer("night", text, return_tensors="pt")
            assert found[f"n{i}"] == pytest.approx(
                cross._library.model(**pair).logits.item(), abs=1e-5
            )


def test_a_cross_encoder_must_be_named_and_trained(
    tiny: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COURSE_RERANKER", raising=False)
    with pytest.raises(ModelError, match="set COURSE_RERANKER"):
        CrossEncoder()
    with pytest.raises(ModelError, match="is a embedder; name"):
        CrossEncoder("all-MiniLM-L6-v2")
    tiny.transformer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no cross-encoder"):
        CrossEncoder(str(tmp_path))


# --- behind a retriever ---------------------------------------------------------------------------


def test_what_is_below_the_depth_stays_below() -> None:
    nodes = [node(f"n{i}", f"{i} " + "ferry " * (9 - i)) for i in range(6)]
    first = BM25Retriever(nodes, top_k=6)

    class Backwards(Reranker):
        def _score(self, question: str, nodes: list[BaseNode]) -> list[float]:
            return [float(one.get_content()[0]) for one in nodes]

    before = [hit.node_id for hit in first.retrieve("ferry")]
    found = RerankedRetriever(first, Backwards(), top_k=6, depth=3).retrieve("ferry")
    expected = [*sorted(before[:3], reverse=True), *before[3:]]
    assert [hit.node_id for hit in found] == expected
    values = [hit.get_score() for hit in found]
    assert values == sorted(values, reverse=True)
    short = RerankedRetriever(first, Backwards(), top_k=2, depth=3)
    assert [hit.node_id for hit in short.retrieve("ferry")] == expected[:2]
    assert short.search(["", "crib"]) == [[], []]


def test_a_beir_folder_is_reranked_too(tiny: Embedder, tmp_path: Path) -> None:
    lines = [{"_id": f"d{i}", "title": "", "text": word} for i, word in enumerate(WORDS)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "lantern"}) + "\n")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1")
    assert {name: s.tolist() for name, s in evaluate_beir(tmp_path, tiny).items()} == {
        "BM25": [1], "dense": [1], "fused": [1], "reranked": [1]
    }  # fmt: skip
    assert isinstance(default_reranker(tiny), LearnedMix)


# --- late chunking --------------------------------------------------------------------------------


def words(page: str, spans: Sequence[tuple[int, int]]) -> tuple[Document, list[TextNode]]:
    """A page, and chunks of it."""
    document = Document(id_="p", text=page, metadata={"title": "the"})
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="p")}
    chunks = [
        TextNode(id_=f"{a}", text=page[a:b], start_char_idx=a, end_char_idx=b, relationships=source)
        for a, b in spans
    ]
    return document, chunks


def test_a_chunk_is_the_mean_of_its_tokens_on_the_page(tiny: Embedder) -> None:
    page, chunks = words("lantern crib night", [(0, 12), (13, 18)])  # "title : the" comes first
    ids = tiny.tokenizer("title: the\n\nlantern crib night", return_tensors="pt")
    with torch.inference_mode():
        hidden = tiny.transformer(**ids).last_hidden_state[0]  # [CLS], 6 tokens, [SEP]
    for chunk, rows in zip(chunks, (hidden[4:6], hidden[6:7]), strict=True):
        made = late_chunk_vectors([page], [chunk], tiny)[0]
        mean = rows.mean(dim=0)
        assert np.allclose(made, mean / mean.norm(), atol=1e-6)


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30))
@shared
def test_each_token_of_a_long_page_is_read_away_from_an_edge(
    tiny: Embedder, some: list[str]
) -> None:
    page, _ = words(" ".join(some), [])
    vectors, spans = page_token_vectors(page, tiny)
    assert len(vectors) == len(spans) == len(some) + 3
    assert (np.linalg.norm(vectors, axis=1) > 0).all()
    assert [page.text[a:b] for a, b in spans[3:]] == some
    # The window of 6 tokens that starts at the beginning holds the first three of them.
    ids = tiny.tokenizer(f"title: the\n\n{page.text}", truncation=True, max_length=8)["input_ids"]
    with torch.inference_mode():
        hidden = tiny.transformer(input_ids=torch.tensor([ids])).last_hidden_state[0]
    assert np.allclose(vectors[:3], hidden[1:4], atol=1e-5)


def test_late_chunks_can_be_searched(tiny: Embedder) -> None:
    page, chunks = words("lantern crib night ferry bay order", [(0, 18), (19, 34)])
    search = DenseRetriever(chunks, tiny, embed=partial(late_chunk_vectors, [page]))
    assert {hit.node_id for hit in search.retrieve("ferry bay")} == {"0", "19"}
    assert np.allclose(np.linalg.norm(search.vectors, axis=1), 1, atol=1e-6)


def test_a_number_in_an_id_does_not_stand_for_a_place(tiny: Embedder) -> None:
    page, (first, second) = words("lantern crib night ferry", [(0, 12), (13, 24)])
    second.id_ = first.id_  # as splitters that number their chunks do, for another size
    rows = [late_chunk_vectors([page], [chunk], tiny)[0] for chunk in (first, second)]
    assert not np.allclose(*rows)


def test_another_pooling_is_refused() -> None:
    other = LibraryEmbedder.model_construct(model_name="cls")
    with pytest.raises(InputError, match="mean"):
        late_chunk_vectors([], [], other)
