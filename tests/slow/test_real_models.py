"""The two real models: that they are the official ones, load in bounded memory, and agree."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from course_utils.generate import decoding, prompting
from course_utils.lab.baselines import StaticEmbedder
from course_utils.lab.quantized import quantize
from course_utils.models import embedding, fetching, generator, registry
from course_utils.models.embedding import Embedder
from course_utils.models.generator import LanguageModel
from course_utils.models.weights import weights_digest
from course_utils.tasks import copying
from course_utils.tasks.handbook import load_handbook
from course_utils.tasks.options import generate_and_score, option_scores


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    loaded = generator.load_generator()
    assert isinstance(loaded, LanguageModel)
    return loaded


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return embedding.load_embedder()


def test_the_tokenizer_is_the_official_one(llm: LanguageModel) -> None:
    tokenizer = llm.tokenizer
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [
        0,
        1,
        2,
    ]
    assert len(tokenizer) == 49152
    # The official pre-tokenizer cuts digits off before white space is grouped.
    assert tokenizer.tokenize("x\n\n12 a") == ["x", "ĊĊ", "1", "2", "Ġa"]


def test_the_chat_template_is_the_official_one(llm: LanguageModel) -> None:
    chat = [{"role": "user", "content": "hi"}]
    text = llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_known_prompt_is_answered_and_stops(llm: LanguageModel) -> None:
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    assert decoding.generate(llm, [chat]) == ["The capital of France is Paris."]
    assert llm.model.generation_config.eos_token_id == 2


def test_batches_answer_as_single_prompts_do(llm: LanguageModel) -> None:
    texts = [
        "What is the capital of Italy?",
        "Name a colour.",
        "Say hello to Ms Okafor, please. " * 9,
    ]
    chats = [[{"role": "user", "content": text}] for text in texts]
    alone = [decoding.generate(llm, [chat])[0] for chat in chats]
    assert decoding.generate(llm, chats) == alone


def test_option_scores_equal_the_models_own_loss(llm: LanguageModel) -> None:
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    options = ["Paris", "The capital of France is Paris."]
    scores = option_scores(llm, chat, options)
    prompt = llm.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    for option, score in zip(options, scores, strict=True):
        ids = llm.tokenizer(option, add_special_tokens=False)["input_ids"]
        labels = torch.tensor([[-100] * len(prompt) + ids])
        loss = llm.model(torch.tensor([prompt + ids]), labels=labels).loss.item()
        assert score == pytest.approx(-loss, abs=1e-3)


def test_reading_once_answers_and_scores_as_reading_twice(llm: LanguageModel) -> None:
    texts = [
        "What is the capital of Italy?",
        "Say hello to Ms Okafor, please. " * 9,
        "Name a colour.",
    ]
    chats = [[{"role": "user", "content": text}] for text in texts]
    options = [["Rome", "The capital is Paris."], ["Hello!", "No"], ["red", "a Tuesday", "blue"]]
    answers, scores = generate_and_score(llm, chats, options)
    assert answers == decoding.generate(llm, chats)
    for chat, some, got in zip(chats, options, scores, strict=True):
        assert np.allclose(got, option_scores(llm, chat, some), atol=1e-4)


def test_the_copying_reader_copies_and_cites(llm: LanguageModel) -> None:
    texts = {"desk": "The parcel desk opens at 08:15.", "sea": "The sea is cold in May."}
    hits = []
    for page, text in texts.items():
        node = TextNode(id_=page, text=text, metadata={"title": page})
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=page)
        hits.append(NodeWithScore(node=node, score=1.0))
    reader = copying.CopyReader(llm)
    question = "When does the parcel desk open?"
    answer, none = reader([question, question], [hits, []])
    assert "08:15" in answer.text and answer.text in texts["desk"] and answer.page == "desk"
    assert none.refused
    alone = [reader([question], [[one]])[0] for one in hits]  # kept: nothing is read again
    assert answer == max(alone, key=lambda made: made.sureness or 0.0)
    # What is not forbidden is decoded as ever: the likelihood is the model's own.
    chat = copying.copy_chat(question, prompting.source_text(hits[0]))[:-1]
    said = f"The answer is: {answer.text}"
    scores = option_scores(llm, chat, [said, "The answer is:"])
    n = [len(llm.tokenizer(t, add_special_tokens=False)["input_ids"]) for t in (said, said[:14])]
    assert answer.sureness == pytest.approx(scores[0] * n[0] - scores[1] * n[1], abs=1e-2)


def test_embeddings_do_not_depend_on_the_batch(embedder: Embedder) -> None:
    texts = ["a crib", "the lantern's battery is low " * 20, "", "x " * 600]
    together = embedder.encode(texts, tokens_per_batch=300)
    alone = np.vstack([embedder.encode([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_text_behind_the_limit_is_not_read(embedder: Embedder) -> None:
    assert embedder.max_tokens == 256
    long = "word " * 300
    same, other = embedder.encode([long + "alpha", long + "omega"])
    assert np.array_equal(same, other)


def test_the_fingerprint_under_which_vectors_are_stored(embedder: Embedder) -> None:
    weights = "7aabbfe8c597fa7200fcadf131d74f518d087aec6f0429963502f2f31db4d9d4"
    assert embedder.fingerprint == f"{weights} mean 256"


@pytest.fixture(scope="module")
def static() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.mark.parametrize("which", ["embedder", "static"])
def test_similar_texts_are_near(which: str, request: pytest.FixtureRequest) -> None:
    a, b, c = request.getfixturevalue(which).encode(
        ["A man is eating food.", "A man eats something.", "The sky is blue."]
    )
    assert a @ b > 0.7 > 0.3 > a @ c


def test_word_vectors_are_the_official_ones(static: StaticEmbedder) -> None:
    assert static.vectors.shape == (32000, 256)
    # Printed by wordllama 0.4.0.post1's own embed("the lantern is low", norm=True).
    assert static.encode(["the lantern is low"])[0, :4] == pytest.approx(
        [0.0230086, -0.0348590, 0.0625716, -0.0683667], abs=1e-5
    )


def test_int8_gives_nearly_the_same_vectors(embedder: Embedder) -> None:
    int8 = quantize(embedding.load_embedder())
    pages = [page.text[:600] for page in load_handbook()[::50]]
    texts = [*pages, "what does BRN-312 mean", "a"]
    near = (embedder.encode(texts) * int8.encode(texts)).sum(axis=1)
    assert near.min() > 0.97  # .88 when the first token is rounded with the others
    assert int8.fingerprint != embedder.fingerprint
    together, alone = int8.encode(texts), np.vstack([int8.encode([text]) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.97


def test_the_digest_sees_one_changed_weight(llm: LanguageModel) -> None:
    before = weights_digest(llm.model)
    weight = llm.model.model.layers[3].mlp.up_proj.weight
    with torch.no_grad():
        kept = weight[0, 0].item()
        weight[0, 0] += 1e-3
        assert weights_digest(llm.model) != before
        weight[0, 0] = kept
    assert weights_digest(llm.model) == before


def test_both_models_fit_beside_torch(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys, psutil\n"
        "from course_utils import load_embedder, load_generator\n"
        "from course_utils.lab import claims\n"
        "e, g = load_embedder(), load_generator()\n"
        "e.encode(['a crib'])\n"
        "assert 'sentence_transformers' not in sys.modules\n"
        "print(psutil.Process().memory_info().rss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    resident = int(done.stdout)
    with capsys.disabled():
        print(f"\nboth models loaded: {resident / 1e9:.2f} GB resident, libraries included")
    assert resident < 1.2e9


def test_verify_accepts_what_fetch_brought() -> None:
    for weights in registry.members_of("small"):
        assert fetching.verify(weights.name)
