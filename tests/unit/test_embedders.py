from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.sparse.linalg import svds
from tokenizers import Tokenizer, models, pre_tokenizers

from course_utils.lab import baselines
from course_utils.lab.baselines import LsaEmbedder, NgramEmbedder, StaticEmbedder
from course_utils.models.registry import ModelError

TEXTS = [
    "the lantern battery is low",
    "charge the battery of the lantern at night",
    "invoices go out at night",
    "an invoice is paid in euros",
    "ferries load rows into the cellar",
    "the ferry loaded the rows twice",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Word vectors of three words; the unknown one lies at zero."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "low": 1, "night": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.enable_truncation(2)
    words.enable_padding(length=8)
    words.save(str(tmp_path / "tokenizer.json"))
    vectors = np.array([[0, 0], [3, 0], [0, 1]], dtype=np.float16)
    save_file({"embedding.weight": vectors}, tmp_path / "model.safetensors")
    return tmp_path


@pytest.fixture(params=["static", "lsa", "ngrams"])
def embedder(request: pytest.FixtureRequest, folder: Path) -> Any:
    made = {
        "static": lambda: StaticEmbedder(folder),
        "lsa": lambda: LsaEmbedder(TEXTS, dimension=4),
        "ngrams": lambda: NgramEmbedder(dimension=256),
    }
    return made[request.param]()


def test_rows_are_float32_of_length_one_and_do_not_depend_on_the_batch(embedder: Any) -> None:
    texts = ["low at night", "the invoices of the night"]
    rows = embedder.encode(texts)
    assert rows.dtype == np.float32 and rows.shape[0] == 2
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    alone = np.vstack([embedder.encode([text]) for text in texts])
    assert np.allclose(rows, alone, atol=1e-6)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_blank_text_is_a_row_of_zeros(embedder: Any, text: str) -> None:
    rows = embedder.encode([text, "night"])
    assert not rows[0].any() and rows[1].any()


def test_no_texts_give_no_rows(embedder: Any) -> None:
    assert len(embedder.encode([])) == 0


def test_a_static_embedding_is_the_average_of_its_tokens_and_has_no_limit(folder: Path) -> None:
    rows = StaticEmbedder(folder).encode(["low night", "low" + " night" * 300])
    assert np.allclose(rows[0], np.array([3, 1]) / np.sqrt(10))
    assert np.allclose(rows[1], np.array([3, 300]) / np.sqrt(9 + 300**2))


def test_lsa_relates_words_that_share_company() -> None:
    embedder = LsaEmbedder(TEXTS, dimension=3)
    # "low" and "charge" are never in one text, but both stand beside "lantern battery".
    low, charge, ferry = embedder.encode(["low", "charge", "ferry"])
    assert low @ charge > 0.5 > abs(low @ ferry)


def test_lsa_is_the_same_where_the_solver_turns_directions_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which sign comes out depends on the processor and the number of threads."""
    rows = LsaEmbedder(TEXTS, dimension=3).encode(TEXTS)

    def turned(*args: Any, **options: Any) -> Any:
        left, strength, right = svds(*args, **options)
        return left, strength, right * np.array([[-1], [1], [-1]])

    monkeypatch.setattr(baselines, "svds", turned)
    assert np.allclose(LsaEmbedder(TEXTS, dimension=3).encode(TEXTS), rows, atol=1e-6)


def test_lsa_with_every_direction_is_tf_idf() -> None:
    embedder = LsaEmbedder(TEXTS, dimension=5)
    weighted = embedder._weighted(TEXTS).toarray()
    left, strength, _ = np.linalg.svd(weighted, full_matrices=False)
    expected = (left * strength)[:, :5]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    rows = embedder.encode(TEXTS)
    assert np.allclose(rows @ rows.T, expected @ expected.T, atol=1e-5)


def test_other_texts_or_sizes_have_other_fingerprints(folder: Path) -> None:
    prints = [
        LsaEmbedder(TEXTS, 3).fingerprint,
        LsaEmbedder(TEXTS, 4).fingerprint,
        LsaEmbedder(TEXTS[:5], 3).fingerprint,
        NgramEmbedder(64).fingerprint,
        NgramEmbedder(64, length=3).fingerprint,
        StaticEmbedder(folder).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert LsaEmbedder(TEXTS, 3).fingerprint == prints[0]


def test_texts_with_the_same_counts_have_other_fingerprints() -> None:
    other = [text.replace("battery", "batteries") for text in TEXTS]
    embedders = LsaEmbedder(TEXTS, 3), LsaEmbedder(other, 3)
    assert np.array_equal(embedders[0].idf, embedders[1].idf)
    assert embedders[0].fingerprint != embedders[1].fingerprint


def test_another_tokenizer_has_another_fingerprint(folder: Path) -> None:
    before = StaticEmbedder(folder).fingerprint
    words = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(words.replace('"night"', '"nacht"'))
    assert StaticEmbedder(folder).fingerprint != before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_cut_off_is_reported_in_one_sentence(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"^[^\n]*course models verify[^\n]*\.$"):
        StaticEmbedder(folder)


def test_ngrams_see_through_a_typing_error() -> None:
    right, wrong, other = NgramEmbedder().encode(["lanternctl", "lantrenctl", "storefront"])
    assert right @ wrong > 0.2 > right @ other
