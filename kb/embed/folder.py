"""What a model's folder says about itself: dimension, window, prompts. Reads JSON only; loads no weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kb.errors import ModelNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "model.safetensors"
_NEEDED = ("config.json", "tokenizer.json")
_PICKLED = ("pytorch_model.bin", "model.pt", "model.pth", "pytorch_model.pt")
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_DEFAULT_WINDOW = 512
# Models of these families start counting positions behind the padding token, and lose two of them.
_OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl")


@dataclass(frozen=True)
class ModelFolder:
    """The facts of one folder in the layout of sentence-transformers.

    Attributes:
        path: The folder.
        dimension: Length of its vectors.
        window: Most tokens of one input, special tokens included.
        query_prompt: Text that the model wants before a query; mostly empty.
        document_prompt: Text that the model wants before a document; mostly empty.
        lower_case: Whether texts are to be lowered before the tokeniser's own normalisation.
        pools_prompt: False when the prompt's tokens are left out of the mean (INSTRUCTOR models).
    """

    path: Path
    dimension: int
    window: int
    query_prompt: str
    document_prompt: str
    lower_case: bool
    pools_prompt: bool


def read_folder(path: Path, model_id: str) -> ModelFolder:
    """Read the facts of a model folder.

    Args:
        path: The folder.
        model_id: Only for messages.

    Raises:
        ModelNotFoundError: A file is missing or unreadable, or the weights exist only as a pickle.
    """
    weights_of(path, model_id)
    for name in _NEEDED:
        if not (path / name).is_file():
            raise ModelNotFoundError(
                f"model '{model_id}' is incomplete: {path} has no {name}",
                hint="install it again, or save it with sentence-transformers 3 or later",
            )
    config = _read(path / "config.json", model_id)
    sentence = _read(path / "sentence_bert_config.json", model_id)
    prompts = _read(path / "config_sentence_transformers.json", model_id)
    dimension, pools_prompt = _output(path, config, model_id)
    return ModelFolder(
        path=path,
        dimension=dimension,
        window=_window(config, sentence, _read(path / "tokenizer_config.json", model_id)),
        query_prompt=_prompt(prompts, _QUERY_PROMPTS, _DOCUMENT_PROMPTS),
        document_prompt=_prompt(prompts, _DOCUMENT_PROMPTS, _QUERY_PROMPTS),
        lower_case=bool(sentence.get("do_lower_case")),
        pools_prompt=pools_prompt,
    )


def digest_of(folder: ModelFolder, sha256: str) -> str:
    """Return a checksum of all that decides a vector: weights, pooling, tokeniser; ``sha256`` is the weights'."""
    digest = hashlib.sha256(sha256.encode())
    for file in sorted(folder.path.rglob("*.json")):
        digest.update(str(file.relative_to(folder.path)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def weights_of(path: Path, model_id: str) -> Path:
    """Return the weights file of a model folder; safetensors only, because a pickle can run any code.

    Raises:
        ModelNotFoundError: There is none.
    """
    weights = path / WEIGHTS
    if weights.is_file():
        return weights
    what = f"model '{model_id}' has no {WEIGHTS} in {path}"
    if any((path / name).exists() for name in _PICKLED):
        hint = "its weights are a pickle, which can run code when loaded; get or convert them to safetensors"
        raise ModelNotFoundError(f"{what}, only pickled weights", hint=hint)
    raise ModelNotFoundError(what, hint="install the model again, or correct the path")


def _read(path: Path, model_id: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"model '{model_id}': {path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelNotFoundError(f"model '{model_id}': {path} is not a JSON object")
    return value


def _output(path: Path, config: dict[str, Any], model_id: str) -> tuple[int, bool]:
    """Return the dimension after pooling and dense layers, and whether prompts are pooled."""
    dimension, pools_prompt = config.get("hidden_size") or config.get("dim") or config.get("d_model"), True
    for module in sorted(item for item in path.iterdir() if item.is_dir()):
        facts = _read(module / "config.json", model_id)
        if module.name.endswith("_Pooling"):
            modes = facts.get("pooling_mode")
            count = (
                len(modes)
                if isinstance(modes, list)
                else sum(value is True for key, value in facts.items() if key.startswith("pooling_mode_"))
            )
            own = facts.get("embedding_dimension") or facts.get("word_embedding_dimension") or dimension
            dimension = own * max(1, count) if own else None
            pools_prompt = bool(facts.get("include_prompt", True))
        elif module.name.endswith("_Dense"):
            dimension = facts.get("out_features", dimension)
    if not isinstance(dimension, int) or dimension < 1:
        raise ModelNotFoundError(f"model '{model_id}': {path} does not say how long its vectors are")
    return dimension, pools_prompt


def _window(config: dict[str, Any], sentence: dict[str, Any], tokenizer: dict[str, Any]) -> int:
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and config.get("model_type") in _OFFSET_FAMILIES:
        positions -= 2
    stated = sentence.get("max_seq_length") or tokenizer.get("model_max_length")
    limits = [limit for limit in (stated, positions) if isinstance(limit, int) and limit > 0]
    return min(limits) if limits else _DEFAULT_WINDOW


def _prompt(config: dict[str, Any], names: tuple[str, ...], others: tuple[str, ...]) -> str:
    """Return the first prompt of these names that says something, else the default one unless it is for the others.

    sentence-transformers fills names that a model does not have with ``""``, so that its own ``encode_document``
    overlooks a ``passage`` prompt behind an empty ``document``; such a model was trained with its passage prompt.
    """
    prompts = config.get("prompts") or {}
    given = [prompts[name] for name in names if name in prompts]
    default = config.get("default_prompt_name")
    if not given and default not in others:
        given = [prompts.get(default)]
    return next((str(prompt) for prompt in given if prompt), "")
