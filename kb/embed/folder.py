"""What a model's folder says about itself: kind, dimension, window, prompts. Reads JSON only; loads no weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kb.errors import ModelNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "model.safetensors"
# sentence-transformers keeps the weights of some static models below the folder.
_PLACES = (WEIGHTS, f"0_StaticEmbedding/{WEIGHTS}")
_NEEDED = ("config.json", "tokenizer.json")
_PICKLED = ("pytorch_model.bin", "model.pt", "model.pth", "pytorch_model.pt")
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_DEFAULT_WINDOW = 512
UNLIMITED = 1 << 20
"""The window of a model that reads all of a text, however long: its vector is the mean over the tokens."""
STATIC_WEIGHTS = ("embedding.weight", "embeddings")
"""The names under which sentence-transformers and model2vec keep the vectors of the tokens."""
_LONGEST_HEAD = 1 << 20
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


@dataclass(frozen=True)
class StaticFolder:
    """The facts of one folder with a vector for each token, in the layout of sentence-transformers or of model2vec.

    Attributes:
        weights: The file with the vectors.
        dimension: Their length.
        window: Most tokens of one input: ``UNLIMITED``, or where the tokeniser's file cuts.
        query_prompt: As in ``ModelFolder``.
        document_prompt: As in ``ModelFolder``.
    """

    weights: Path
    dimension: int
    window: int
    query_prompt: str
    document_prompt: str


def read_facts(path: Path, model_id: str) -> ModelFolder | StaticFolder:
    """Read the facts of a model folder of either kind; as ``read_folder`` and ``read_static``."""
    return read_static(path, model_id) if is_static(path, model_id) else read_folder(path, model_id)


def is_static(path: Path, model_id: str) -> bool:
    """Whether a folder holds a static model.

    Raises:
        ModelNotFoundError: What it says of itself cannot be read.
    """
    modules = _modules(path, model_id)
    if modules:
        return modules[0] == "StaticEmbedding"
    return _read(path / "config.json", model_id).get("model_type") == "model2vec"


def read_static(path: Path, model_id: str) -> StaticFolder:
    """Read the facts of a folder with a static model.

    Args:
        path: The folder.
        model_id: Only for messages.

    Raises:
        ModelNotFoundError: A file is missing or unreadable, or more is done with the vectors than their mean.
    """
    weights = weights_of(path, model_id)
    tokeniser = weights.with_name("tokenizer.json")
    if not tokeniser.is_file():
        raise ModelNotFoundError(f"model '{model_id}' is incomplete: there is no {tokeniser}", hint="install it again")
    others = set(_modules(path, model_id)) - {"StaticEmbedding", "Normalize"}
    if others:
        what = f"the static model '{model_id}' also needs {', '.join(sorted(others))}, which kb does not compute"
        raise ModelNotFoundError(what, hint="use a model of StaticEmbedding and Normalize only")
    cut = _read(tokeniser, model_id).get("truncation")
    longest = cut.get("max_length") if isinstance(cut, dict) else None
    prompts = _read(path / "config_sentence_transformers.json", model_id)
    return StaticFolder(
        weights=weights,
        dimension=_width(weights, model_id),
        window=longest if isinstance(longest, int) and longest > 0 else UNLIMITED,
        query_prompt=_prompt(prompts, _QUERY_PROMPTS, _DOCUMENT_PROMPTS),
        document_prompt=_prompt(prompts, _DOCUMENT_PROMPTS, _QUERY_PROMPTS),
    )


def _modules(path: Path, model_id: str) -> list[str]:
    """Return the names of the classes that a model is made of; empty when it does not say."""
    file = path / "modules.json"
    if not file.exists():
        return []
    try:
        return [str(module["type"]).rpartition(".")[2] for module in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelNotFoundError(f"model '{model_id}': {file} cannot be read: {error}") from error


def _width(weights: Path, model_id: str) -> int:
    """Return the length of the vectors from the head of their file: how long it is, then what the file holds."""
    try:
        with weights.open("rb") as stream:
            head = json.loads(stream.read(min(_LONGEST_HEAD, int.from_bytes(stream.read(8), "little"))))
        name = next(name for name in STATIC_WEIGHTS if name in head)
        _, width = head[name]["shape"]
    except (OSError, ValueError, TypeError, KeyError, StopIteration) as error:
        what = f"model '{model_id}': {weights} does not hold the vectors of a static model"
        raise ModelNotFoundError(what, hint="install the model again") from error
    return int(width)


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


def labels_of(path: Path, model_id: str) -> int:
    """Return how many numbers a model gives for a pair of texts; 0 for one that makes vectors.

    Raises:
        ModelNotFoundError: What it says of itself cannot be read.
    """
    config = _read(path / "config.json", model_id)
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not str(architectures[:1]).endswith("ForSequenceClassification']"):
        return 0
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, dict) else 2


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
    weights = weights_in(path)
    if weights is not None:
        return weights
    what = f"model '{model_id}' has no {WEIGHTS} in {path}"
    if any((path / name).exists() for name in _PICKLED):
        hint = "its weights are a pickle, which can run code when loaded; get or convert them to safetensors"
        raise ModelNotFoundError(f"{what}, only pickled weights", hint=hint)
    raise ModelNotFoundError(what, hint="install the model again, or correct the path")


def weights_in(path: Path) -> Path | None:
    """Return the weights file of a folder, or None."""
    return next((path / place for place in _PLACES if (path / place).is_file()), None)


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
