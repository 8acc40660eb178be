"""One embedding server: a question is posted until it is answered, a bounded number of times, and never too often.

What may pass is tried again with growing pauses: too many requests (429), faults of the server (5xx), no answer in
time, broken connections. What will not pass is an error at once: a refused key, a redirect, a certificate, an answer
that is no JSON. The key is read from the environment for each request; it is in no message, no log and no attribute.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from kb.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from kb.model_config import ServerSettings

_LOG = logging.getLogger("kb")
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
LONGEST_WAIT: Final = 120.0
"""Seconds: a server that asks for more is not waited for."""
_PASSING: Final = frozenset({408, 409, 425, 429})
_MAX_QUOTED: Final = 200
_NOTHING: Final = "nothing was stored"


@dataclass(frozen=True, slots=True)
class Pause:
    """How an endpoint tells the time and waits; tests put their own in place.

    Attributes:
        now: Seconds that only grow.
        sleep: Waits so many seconds.
        chance: A number in [0, 1), so that many clients do not come back at one moment.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


class _Passing(Exception):  # noqa: N818 - a failure that is tried again, and becomes an error only in the end
    """One try failed, another may not; ``wait`` is how long the server wants to be left alone."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.what = what
        self.wait = wait


class Endpoint:
    """The address that one model is asked at. Safe to use from several threads; one request at a time."""

    def __init__(self, model_id: str, settings: ServerSettings, pause: Pause | None = None) -> None:
        self._id = model_id
        self._settings = settings
        self._pause = pause or Pause()
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._free_at = float("-inf")

    def post(self, body: Mapping[str, object], *, tokens: int, most_bytes: int) -> Any:
        """Post a question and return the answer, read as JSON.

        Args:
            body: The question.
            tokens: How many it is about, for the limit on tokens per minute.
            most_bytes: How long the answer may be.

        Raises:
            EncoderError: There is no answer, after all tries or because none would help.
        """
        content = json.dumps(body).encode()
        number = 0
        with self._lock:
            while True:
                number += 1
                self._keep_pace(tokens)
                try:
                    return self._once(content, most_bytes)
                except _Passing as failure:
                    if number == self._settings.tries or failure.wait > LONGEST_WAIT:
                        raise self._given_up(failure, number) from None
                    self._wait(failure, number)

    def close(self) -> None:
        """Close the connections; a later question opens new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _keep_pace(self, tokens: int) -> None:
        wait = self._free_at - self._pause.now()
        if wait > 0:
            self._pause.sleep(wait)
        requests, many = self._settings.requests_per_minute, self._settings.tokens_per_minute
        needs = max(60 / requests if requests else 0.0, 60 * tokens / many if many else 0.0)
        self._free_at = max(self._pause.now(), self._free_at) + needs

    def _wait(self, failure: _Passing, number: int) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (number - 1)) * (0.5 + self._pause.chance() / 2)
        # Never before the time that the server has named.
        seconds = failure.wait + pause if failure.wait else pause
        tries = f"try {number + 1} of {self._settings.tries}"
        _LOG.warning("model %s: %s; %s follows in %.1f s", self._id, failure.what, tries, seconds)
        self._pause.sleep(seconds)

    def _given_up(self, failure: _Passing, number: int) -> EncoderError:
        if failure.wait > LONGEST_WAIT:
            what = f"{failure.what} and wants to be asked again only in {failure.wait:,.0f} s"
            hint = "come back then; what is stored by then is not embedded again"
        else:
            what = f"{failure.what}, also at try {number} of {self._settings.tries}"
            hint = "come back later, or look at the provider's status and limits; what is stored is not embedded again"
        return EncoderError(f"the model '{self._id}' gave no vectors: {what}", unchanged=_NOTHING, hint=hint)

    def _once(self, content: bytes, most_bytes: int) -> Any:
        import httpx

        key = self._key()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        deadline = self._pause.now() + self._settings.timeout
        address = f"{self._settings.url}/embeddings"
        try:
            if self._client is None:
                self._client = httpx.Client(timeout=self._settings.timeout, follow_redirects=False)
            with self._client.stream("POST", address, content=content, headers=headers) as response:
                body = self._read(response, deadline, most_bytes)
        except httpx.TimeoutException:
            raise self._late() from None
        except httpx.HTTPError as error:
            raise self._broken(error, key) from None
        except (httpx.InvalidURL, OSError, ValueError) as error:
            what = f"the model '{self._id}' cannot be asked at its url: {_clean(str(error), key)}"
            raise EncoderError(what, unchanged=_NOTHING, hint=self._correct("url")) from None
        if response.status_code == HTTPStatus.OK:
            return self._json(body)
        raise self._refusal(response, body, key)

    def _read(self, response: httpx.Response, deadline: float, most_bytes: int) -> bytes:
        """Read an answer to its end; a server that sends it drop by drop does not hold us for ever."""
        blocks, length = [], 0
        for block in response.iter_bytes():
            length += len(block)
            if length > most_bytes:
                what = f"the server of the model '{self._id}' answered more than {most_bytes:,} bytes"
                raise EncoderError(what, unchanged=_NOTHING, hint=self._correct("url and model"))
            if self._pause.now() > deadline:
                raise self._late()
            blocks.append(block)
        return b"".join(blocks)

    def _late(self) -> _Passing:
        return _Passing(f"its server did not answer within {self._settings.timeout:g} s")

    def _broken(self, error: httpx.HTTPError, key: str) -> Exception:
        """Return what to raise for a request that brought no answer."""
        import ssl

        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return EncoderError(
                    f"the server of the model '{self._id}' cannot be trusted: {_clean(str(cause), key)}",
                    unchanged=_NOTHING,
                    hint="correct the url, or name the certificate of its authority in SSL_CERT_FILE",
                )
            cause = cause.__cause__ or cause.__context__
        return _Passing(f"its server cannot be reached ({_clean(str(error) or type(error).__name__, key)})")

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            what = f"the server of the model '{self._id}' answered {len(body):,} bytes that are no whole JSON"
            raise EncoderError(what, unchanged=_NOTHING, hint=self._correct("url")) from None

    def _refusal(self, response: httpx.Response, body: bytes, key: str) -> Exception:
        """Return what to raise for an answer that is no success."""
        status = response.status_code
        said, code = _words(body, key)
        told = f"its server answered {status}{f' ({said})' if said else ''}"
        exhausted = code == "insufficient_quota"
        if (status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR) and not exhausted:
            return _Passing(told, _retry_after(response.headers.get("Retry-After")))
        what, hint = f"the model '{self._id}' gave no vectors: {told}", self._correct("url and model")
        variable = self._settings.key_env
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            # Servers repeat parts of the key here: what they say is left out.
            what = f"the server of the model '{self._id}' refused the access ({status})"
            wanted = f"name the variable that holds the key: key_env, in [models.{json.dumps(self._id)}]"
            hint = f"put a key that may use this model into {variable}" if variable else wanted
        elif exhausted:
            hint = "the account is used up: look at the provider's billing page"
        elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            target = _clean(response.headers.get("Location", "nowhere"), key)
            what = f"the server of the model '{self._id}' redirects to {target}, where no key is sent"
            hint = self._correct("url") + ", if that is the right place"
        elif status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY):
            hint = f"lower batch_texts, window or chunk_tokens if it is too long; else {self._correct('model')}"
        return EncoderError(what, unchanged=_NOTHING, hint=hint)

    def _key(self) -> str:
        variable = self._settings.key_env
        if variable is None:
            return ""
        key = os.environ.get(variable, "").strip()
        if key and key.isascii() and key.isprintable() and " " not in key:
            return key
        what = f"the model '{self._id}' needs a key in the environment variable {variable}, which "
        what += "holds something else" if key else "is not set"
        raise EncoderError(what, unchanged=_NOTHING, hint=f"export {variable}=…")

    def _correct(self, what: str) -> str:
        return f"correct {what} in [models.{json.dumps(self._id)}]"


def _retry_after(value: str | None) -> float:
    """Return the seconds that a server asks to wait, given as a number or as a date; 0 where it asks for none."""
    if value is None:
        return 0.0
    from email.utils import parsedate_to_datetime

    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    # A NaN compares with nothing.
    return seconds if seconds > 0 else 0.0


def _words(body: bytes, key: str) -> tuple[str, str]:
    """Return what an error of a server says, on one line, and its code."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = found.get("error", found.get("detail", found.get("message"))) if isinstance(found, dict) else None
    if isinstance(error, dict):
        return _clean(str(error.get("message", "")), key), str(error.get("code") or error.get("type") or "")
    return _clean(error, key) if isinstance(error, str) else "", ""


def _clean(text: str, key: str) -> str:
    """Return a text from outside fit for a message: one line, not long, without the key."""
    text = text.replace(key, "***") if key else text
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= _MAX_QUOTED else line[: _MAX_QUOTED - 1] + "…"
