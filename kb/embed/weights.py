"""Where a model's folder can be: an installed package, the local Hugging Face cache, the hub.

Each function returns a folder or None, and changes nothing outside the caches. Only ``download`` uses the network.
"""

from __future__ import annotations

import http.client
import importlib.util
import io
import logging
import os
import re
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kb.embed.cache import cache_dir, make_once
from kb.embed.folder import weights_in
from kb.embed.known import HUB_ORGANISATION
from kb.errors import ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.embed.known import KnownModel

_LOG = logging.getLogger("kb")
_WANTED_SUFFIXES = (".json", ".txt", ".safetensors")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REACH_SECONDS = 1.5
_COPY_SIZE = 1 << 20


def package_folder(known: KnownModel) -> Path | None:
    """Return the folder with the weights inside an installed package; imports nothing of the package."""
    if not known.package_folder:
        return None
    folder = _inside_package(known.package_folder)
    return folder if folder is not None and weights_in(folder) else None


def package_parts(known: KnownModel) -> list[Path]:
    """Return the parts of the model's zip inside installed packages, all of them or none."""
    parts = [_inside_package(part) for part in known.package_parts]
    found = [part for part in parts if part is not None and part.is_file()]
    return found if len(found) == len(known.package_parts) else []


def unpacked_folder(known: KnownModel) -> Path:
    """Return where the parts of the model's zip are unpacked to, whether they have been or not."""
    return cache_dir() / "models" / known.id


def unpack(known: KnownModel, parts: Sequence[Path]) -> Path:
    """Unpack a model from the parts of its zip, once.

    Raises:
        ModelNotFoundError: The parts are not the zip that they should be.
        LimitError: The disk is full.
    """

    def extract(draft: Path) -> None:
        _LOG.info("unpacking model %s, once", known.id)
        with _Joined(parts) as joined, zipfile.ZipFile(joined) as archive:
            for entry in archive.infolist():
                _extract(archive, entry, draft)

    try:
        return make_once(unpacked_folder(known), extract)
    except zipfile.BadZipFile as error:
        raise ModelNotFoundError(
            f"the installed parts of model '{known.id}' are damaged: {error}",
            hint=f"install them again: {known.install} --force-reinstall",
        ) from error


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, draft: Path) -> None:
    """Write one entry below ``draft`` without the archive's top folder; leave out what a model does not need."""
    parts = Path(entry.filename).parts[1:]
    if entry.is_dir() or not parts or ".." in parts or not entry.filename.endswith(_WANTED_SUFFIXES):
        return
    target = draft.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, target.open("wb") as sink:
        while block := source.read(_COPY_SIZE):
            sink.write(block)


def hub_folder(model_id: str, revision: str | None, *, exact: bool) -> tuple[Path, str] | None:
    """Return a folder of the local Hugging Face cache and its commit; needs no network and no huggingface_hub.

    Args:
        model_id: ``NAME`` or ``ORGANISATION/NAME``; a bare name is also looked for below ``sentence-transformers``.
        revision: The commit, tag or branch to prefer.
        exact: Whether only that revision will do.
    """
    for repository in repositories(model_id):
        base = hub_cache() / ("models--" + repository.replace("/", "--"))
        wanted = [revision] if exact else [revision, "main"]
        commits = [_commit(base, name) for name in wanted if name]
        if not exact:
            commits += sorted((item.name for item in _folders(base / "snapshots")), reverse=True)
        for commit in commits:
            folder = base / "snapshots" / commit
            if weights_in(folder):
                return folder, commit
    return None


def repositories(model_id: str) -> list[str]:
    """Return the repositories of the hub that a model id may mean."""
    return [model_id] if "/" in model_id else [f"{HUB_ORGANISATION}/{model_id}", model_id]


def hub_cache() -> Path:
    """Return the folder of the local Hugging Face cache, by the same variables as Hugging Face's own tools."""
    explicit = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "huggingface" / "hub"
    except RuntimeError:
        return cache_dir() / "huggingface" / "hub"


def _commit(base: Path, name: str) -> str:
    try:
        return name if _COMMIT.fullmatch(name) else (base / "refs" / name).read_text(encoding="utf-8").strip()
    except OSError:
        return name


def _folders(path: Path) -> list[Path]:
    try:
        return [item for item in path.iterdir() if item.is_dir()]
    except OSError:
        return []


def download(model_id: str, revision: str | None) -> tuple[Path, str] | str:
    """Download a model from the hub.

    Args:
        model_id: As for ``hub_folder``; of a bare name only the one below ``sentence-transformers`` is taken.
        revision: The commit to take; None takes the newest, whose commit is returned so that it can be recorded.

    Returns:
        The folder and its commit, or a short reason why there is none.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "not tried: HF_HUB_OFFLINE is set"
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if not _reachable(endpoint):
        return f"{urlsplit(endpoint).hostname} cannot be reached"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    repository = repositories(model_id)[0]
    _LOG.info("downloading model %s, revision %s", repository, revision or "main")
    # The repositories also hold the same weights for other runtimes, several times the size.
    others = ["onnx/*", "openvino/*"]
    try:
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=hub_cache(),
                endpoint=endpoint,
                allow_patterns=[f"*{suffix}" for suffix in _WANTED_SUFFIXES],
                ignore_patterns=others,
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        return f"{repository}: {str(error).strip().splitlines()[0]}"
    return folder, folder.name


def _reachable(endpoint: str) -> bool:
    """Whether the endpoint answers anything within 1.5 seconds, name resolution and proxies included.

    The hub's own client retries for half a minute before it gives up.
    """
    answered = threading.Event()
    done = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            with urllib.request.urlopen(request, timeout=_REACH_SECONDS):
                answered.set()
        except urllib.error.HTTPError as error:
            error.close()
            answered.set()
        except (OSError, ValueError, http.client.HTTPException):
            return
        finally:
            done.set()

    # In a thread of its own because a name server that does not answer cannot be timed out otherwise.
    threading.Thread(target=ask, daemon=True).start()
    done.wait(_REACH_SECONDS)
    return answered.is_set()


def _inside_package(path: str) -> Path | None:
    package, *rest = path.split("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0], *rest) if locations else None


class _Joined(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._files = [part.open("rb") for part in parts]
        self._sizes = [part.stat().st_size for part in parts]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: sum(self._sizes)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        wanted = max(0, sum(self._sizes) - self._position) if size is None or size < 0 else size
        blocks = []
        start = 0
        for file, length in zip(self._files, self._sizes, strict=True):
            inside = self._position - start
            if wanted and 0 <= inside < length:
                file.seek(inside)
                blocks.append(file.read(min(wanted, length - inside)))
                self._position += len(blocks[-1])
                wanted -= len(blocks[-1])
            start += length
        return b"".join(blocks)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
