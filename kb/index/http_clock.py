"""Gives chromadb's HTTP client the timeouts that it lacks: as it is, a server that hangs is waited for for ever.

Imported when a server is first asked: chromadb is loaded with it.
"""

from __future__ import annotations

import time
from typing import Any, Final

from chromadb.api import ServerAPI, fastapi
from chromadb.config import Settings
from chromadb.telemetry.product import ProductTelemetryClient, ProductTelemetryEvent

_AWAY: Final = frozenset({401, 403, 407, 408, 421, 425, 429, 502, 503, 504})
"""Answers that say nothing about the records: refused, too busy, or not the server itself."""

PAUSE_SECONDS: Final = 5.0
"""For how long a server that did not answer in time is not asked again: each search would wait as long."""

_hanging: Final[dict[str, float]] = {}


class _Settings(Settings):  # type: ignore[misc]
    """chromadb's settings, and the seconds that one request may take."""

    kb_timeout: float = 10.0
    kb_connect: float = 3.0


class AwayError(Exception):
    """A server that refuses to answer now, whatever is asked; ``where`` is its host and port."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where


class Clock(ProductTelemetryClient):  # type: ignore[misc]
    """Takes the place of chromadb's telemetry: the only part that is started between the client and its first request.

    It reports nothing to anybody.
    """

    @fastapi.override  # type: ignore[untyped-decorator]
    def capture(self, event: ProductTelemetryEvent) -> None:
        """Report nothing."""

    @fastapi.override  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Set the clock of the session before it is used."""
        super().start()
        settings: Any = self._system.settings
        session = self._session()
        session.timeout = fastapi.httpx.Timeout(
            settings.kb_timeout, connect=min(settings.kb_timeout, settings.kb_connect)
        )
        session.event_hooks = {"request": [_ask], "response": [_check]}

    @fastapi.override  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Close the connections, which chromadb leaves open."""
        super().stop()
        self._session().close()

    def _session(self) -> Any:
        api: Any = self._system.instance(ServerAPI)
        return api._session  # noqa: SLF001 - chromadb offers no other way


def clock(timeout: float, connect: float) -> Settings:
    """Return settings for a client whose requests end in time, in seconds."""
    return _Settings(
        anonymized_telemetry=False,
        chroma_product_telemetry_impl=f"{__name__}.{Clock.__name__}",
        kb_timeout=timeout,
        kb_connect=connect,
    )


def where_away(error: BaseException) -> str | None:
    """Return which server cannot be asked, where an error says that, rather than what is wrong with what was asked."""
    if isinstance(error, AwayError):
        return error.where
    if not isinstance(error, fastapi.httpx.TransportError):
        return None
    where = _where(error.request)
    note_away(where, error)
    return where


def note_away(where: str, error: BaseException) -> None:
    """Note that a server did not answer in time, so that others need not find that out as slowly."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, fastapi.httpx.TimeoutException):
            _hanging[where] = time.monotonic() + PAUSE_SECONDS
        cause = cause.__cause__ or cause.__context__


def _ask(request: Any) -> None:
    where = _where(request)
    if _hanging.get(where, 0.0) > time.monotonic():
        raise AwayError(where, "it did not answer in time a moment ago")


def _check(response: Any) -> None:
    if response.status_code in _AWAY:
        raise AwayError(_where(response.request), f"HTTP {response.status_code} {response.reason_phrase}")


def _where(request: Any) -> str:
    url = request.url
    return f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
