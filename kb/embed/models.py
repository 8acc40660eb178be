"""A model id becomes a folder of verified weights, and an encoder.

The order: a path; ``[models.NAME] path``; weights installed as a package; the local Hugging Face cache; a download
with a pinned revision. Nothing here imports torch or transformers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kb.embed.cache import sha256_of
from kb.embed.encoder import FINGERPRINT_AGREEMENT, REMOTE_AGREEMENT
from kb.embed.folder import StaticFolder, is_static, labels_of, read_facts, weights_of
from kb.embed.hashing import HashingEncoder
from kb.embed.known import KNOWN_MODELS, KnownModel, known_model
from kb.embed.remote import RemoteEncoder
from kb.embed.static import StaticEncoder
from kb.embed.weights import (
    download,
    hub_cache,
    hub_folder,
    package_folder,
    package_parts,
    unpack,
    unpacked_folder,
)
from kb.errors import KBError, ModelNotFoundError, nearest
from kb.model_config import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kb.embed.encoder import Encoder

__all__ = [
    "KNOWN_MODELS",
    "KnownModel",
    "ModelInfo",
    "ModelSettings",
    "ResolvedModel",
    "list_models",
    "open_encoder",
    "resolve",
]

Source = Literal["built-in", "path", "settings", "package", "cache", "download"]
Kind = Literal["hashing", "transformer", "static", "http", "reranker"]


@dataclass(frozen=True)
class ResolvedModel:
    """A model that was found.

    Attributes:
        id: The id that collections store.
        path: Its folder; None for the built-in model.
        source: Which step of the order found it.
        sha256: Checksum of its weights; empty for the built-in model.
        verified: True when the checksum is the one on record; None when none is on record.
        revision: Commit on the hub, where the folder says it.
    """

    id: str
    path: Path | None
    source: Source
    sha256: str
    verified: bool | None
    revision: str | None


@dataclass(frozen=True)
class ModelInfo:
    """One line of ``kb models``.

    Attributes:
        id: The model id.
        dimension: Length of its vectors; 0 when that cannot be told without the weights.
        window: Most tokens of one input; 0 likewise.
        size_bytes: Size of its weights.
        local: Whether it works without a download.
        verified: Whether its checksum is the one on record; None when it is not here, or none is on record.
        where: Its folder, the address of its server, or how to get it.
        kind: How it makes vectors; a transformer where that cannot be told without the weights.
    """

    id: str
    dimension: int
    window: int
    size_bytes: int
    local: bool
    verified: bool | None
    where: str
    kind: Kind = "transformer"


def resolve(
    model_id: str, settings: Mapping[str, ModelSettings] | None = None, *, download: bool = True
) -> ResolvedModel:
    """Find a model's weights and check them.

    Args:
        model_id: A path, a name of the settings, a known name, or ``organisation/name`` on the hub.
        settings: ``[models]`` of the configuration, by name.
        download: Whether to look on the hub for what is not here.

    Raises:
        ModelNotFoundError: Nothing usable was found, or the weights are not the ones they claim to be.
    """
    settings = settings or {}
    known = known_model(model_id)
    if known is not None and known.built_in:
        return ResolvedModel(known.id, None, "built-in", "", None, None)
    chosen = _settings_of(model_id, known, settings)
    found = _find_local(model_id, known, chosen)
    if found is None and not download:
        hint = known.install if known else ""
        raise ModelNotFoundError(f"the model '{model_id}' is not on this machine", hint=hint)
    found = found or _find_on_hub(model_id, known, chosen, settings)
    return _verified(model_id, known, *found)


def open_encoder(
    model_id: str, settings: Mapping[str, ModelSettings] | None = None, *, download: bool = True
) -> Encoder:
    """Open a model by its id; loads nothing heavy before the first text.

    Args:
        model_id: As for ``resolve``.
        settings: As for ``resolve``.
        download: As for ``resolve``.

    Raises:
        ModelNotFoundError: As ``resolve``; also when the weights and their description disagree.
    """
    chosen = _settings_of(model_id, known_model(model_id), settings or {})
    if chosen.server is not None:
        return RemoteEncoder(model_id, chosen)
    resolved = resolve(model_id, settings, download=download)
    if resolved.path is None:
        return HashingEncoder()
    facts = read_facts(resolved.path, resolved.id)
    if isinstance(facts, StaticFolder):
        return StaticEncoder(resolved.id, facts, chosen)
    if labels_of(resolved.path, resolved.id):
        what = f"the model '{resolved.id}' gives labels, not vectors"
        raise ModelNotFoundError(what, hint="a reranker cannot embed: use it with --rerank, and name another model")
    from kb.embed.transformer import TransformerEncoder

    return TransformerEncoder(resolved, chosen)


def least_agreement(encoder: Encoder) -> float:
    """Return the least cosine at which two fingerprints of a model count as one; see ``same_fingerprint``."""
    return REMOTE_AGREEMENT if isinstance(encoder, RemoteEncoder) else FINGERPRINT_AGREEMENT


def list_models(settings: Mapping[str, ModelSettings] | None = None) -> list[ModelInfo]:
    """Describe the known models, then those of the settings; looks at this machine only."""
    settings = settings or {}
    infos = [_info(known.id, known, _settings_of(known.id, known, settings)) for known in KNOWN_MODELS]
    others = [name for name in settings if known_model(name) is None]
    return infos + [_info(name, None, settings[name]) for name in others]


def _settings_of(model_id: str, known: KnownModel | None, settings: Mapping[str, ModelSettings]) -> ModelSettings:
    names = [model_id, *((known.id, *known.aliases) if known else ())]
    return next((settings[name] for name in names if name in settings), ModelSettings())


def _find_local(
    model_id: str, known: KnownModel | None, chosen: ModelSettings
) -> tuple[Path, Source, str | None] | None:
    path = _as_path(model_id)
    if path is not None:
        return path, "path", None
    if chosen.path is not None:
        return chosen.path.expanduser(), "settings", None
    revision = chosen.revision or (known.revision if known else None)
    # A revision in the settings means those weights and no others; what a package holds is the revision on record.
    if known is not None and chosen.revision in {None, known.revision}:
        packaged = package_folder(known)
        if packaged is None and (parts := package_parts(known)):
            packaged = unpack(known, parts)
        if packaged is not None:
            return packaged, "package", known.revision
    cached = hub_folder(known.id if known else model_id, revision, exact=chosen.revision is not None)
    return (cached[0], "cache", cached[1]) if cached else None


def _find_on_hub(
    model_id: str, known: KnownModel | None, chosen: ModelSettings, settings: Mapping[str, ModelSettings]
) -> tuple[Path, Source, str | None]:
    if known is None and "/" not in model_id and model_id not in settings:
        names = [*(model.id for model in KNOWN_MODELS), *settings]
        hint = nearest(model_id, names) + "; or give a folder, or organisation/name of a model on the hub"
        raise ModelNotFoundError(f"there is no model '{model_id}'", hint=hint)
    reply = download(known.id if known else model_id, chosen.revision or (known.revision if known else None))
    if not isinstance(reply, str):
        return reply[0], "download", reply[1]
    looked = [f"[models.{model_id}] path (not set)"]
    if known is not None and (known.package_folder or known.package_parts):
        looked.append("installed packages")
    looked += [f"Hugging Face cache {hub_cache()}", f"hub ({reply})"]
    ways = [known.install] if known and known.install else []
    ways.append(f'copy the model here and set path under [models."{model_id}"]')
    raise ModelNotFoundError(
        f"the weights of model '{model_id}' were not found; looked in: " + "; ".join(looked), hint=", or ".join(ways)
    )


def _as_path(model_id: str) -> Path | None:
    """Return the folder when the id is a path: it looks like one, or there is a model's folder of that name."""
    looks = model_id.startswith(("/", "./", "../", "~", f".{os.sep}")) or Path(model_id).is_absolute()
    path = Path(model_id).expanduser()
    if looks or model_id in {".", ".."}:
        if not path.is_dir():
            raise ModelNotFoundError(f"there is no model folder {model_id}", hint="correct the path")
        return path
    return path if (path / "config.json").is_file() else None


def _verified(
    model_id: str, known: KnownModel | None, path: Path, source: Source, revision: str | None
) -> ResolvedModel:
    if not path.is_dir():
        raise ModelNotFoundError(f"model '{model_id}': there is no folder {path}", hint="correct the path")
    facts = read_facts(path, model_id)
    sha256 = sha256_of(weights_of(path, model_id))
    recorded = known.sha256 if known else None
    if known is not None and recorded is not None and sha256 != recorded:
        raise ModelNotFoundError(
            f"the weights in {path} are not those of model '{known.id}': "
            f"sha256 is {sha256}, the one on record is {recorded}",
            hint="install the model again, or give a changed model a name of its own under [models]",
        )
    if known is not None and facts.dimension != known.dimension:
        what = f"model '{known.id}' in {path} has {facts.dimension} dimensions instead of {known.dimension}"
        raise ModelNotFoundError(what, hint="install the model again")
    name = known.id if known else model_id
    return ResolvedModel(name, path, source, sha256, True if recorded else None, revision)


def _info(name: str, known: KnownModel | None, chosen: ModelSettings) -> ModelInfo:
    bare = ModelInfo(name, 0, 0, 0, local=False, verified=None, where="download from the hub")
    if known is not None:
        bare = replace(bare, dimension=known.dimension, window=known.window, size_bytes=known.size_bytes)
    if chosen.server is not None:
        server = chosen.server
        return replace(bare, dimension=server.dimension, window=server.window, where=server.url, kind="http")
    if known is not None and known.built_in:
        return replace(bare, local=True, where="built in", kind="hashing")
    if _only_packed(known, chosen):
        return replace(bare, local=True, where="installed package, unpacked at first use")
    try:
        found = _find_local(name, known, chosen)
        if found is None:
            return replace(bare, where=known.install) if known and known.install else bare
        resolved = _verified(name, known, *found)
        facts = read_facts(found[0], name)
        size = weights_of(found[0], name).stat().st_size
    except KBError as error:
        return replace(bare, verified=False, where=error.what)
    where = str(resolved.path)
    return ModelInfo(
        name,
        facts.dimension,
        facts.window,
        size,
        local=True,
        verified=resolved.verified,
        where=where,
        kind=_kind(found[0], name),
    )


def _kind(path: Path, model_id: str) -> Kind:
    if labels_of(path, model_id):
        return "reranker"
    return "static" if is_static(path, model_id) else "transformer"


def _only_packed(known: KnownModel | None, chosen: ModelSettings) -> bool:
    """Whether the model is installed, but using it would first unpack it: too slow for a list."""
    if known is None or chosen.path is not None or not known.package_parts or not package_parts(known):
        return False
    return not unpacked_folder(known).is_dir()
