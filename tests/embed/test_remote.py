"""A model behind a server: a real one on this machine, which speaks the protocol and is told how to fail."""

from __future__ import annotations

import json
import logging
import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kb
from kb.cli.main import run
from kb.config import load_settings
from kb.embed import HashingEncoder, ModelSettings, estimate, list_models, open_encoder
from kb.embed.endpoint import Pause
from kb.embed.remote import RemoteEncoder
from kb.errors import ConfigError, EncoderError, ModelMismatchError
from kb.model_config import ServerSettings

KEY = "sk-a-very-secret-key"
HASHING = HashingEncoder()

Reply = Callable[["Handler", dict[str, Any]], None]


@dataclass
class Server:
    """What a test sees of the server: the questions it got, and how it answers the next ones (in the end: well)."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    always: Reply | None = None
    questions: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        told: Server = self.server.told
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/embeddings"
        told.questions.append(question)
        told.keys.append(self.headers["Authorization"])
        reply = told.replies.pop(0) if told.replies else told.always or well
        reply(self, question)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def data_for(question: dict[str, Any]) -> list[dict[str, Any]]:
    vectors = HASHING.encode_documents(question["input"]) * 3
    return [{"object": "embedding", "index": n, "embedding": v.tolist()} for n, v in enumerate(vectors)]


def answer(data: object) -> bytes:
    return json.dumps({"object": "list", "data": data, "usage": {"total_tokens": 1}}).encode()


def well(handler: Handler, question: dict[str, Any]) -> None:
    handler.send(200, answer(data_for(question)))


def status(code: int, body: object = None, **headers: str) -> Reply:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler, _: handler.send(code, content, **headers)


def changed(change: Callable[[list[dict[str, Any]]], object]) -> Reply:
    return lambda handler, question: handler.send(200, answer(change(data_for(question))))


def cut(handler: Handler, question: dict[str, Any]) -> None:
    handler.send(200, answer(data_for(question))[:-40])


def hung_up(handler: Handler, question: dict[str, Any]) -> None:
    # With a linger of nothing, closing resets the connection.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def promised_more(handler: Handler, question: dict[str, Any]) -> None:
    body = answer(data_for(question))
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) + 10))
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def silent(handler: Handler, question: dict[str, Any]) -> None:
    handler.server.told.released.wait(20)
    handler.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.handle_error = lambda *_: None  # type: ignore[method-assign]
    told = Server(f"http://127.0.0.1:{listening.server_address[1]}/v1")
    listening.told = told  # type: ignore[attr-defined]
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    yield told
    told.released.set()
    listening.shutdown()
    listening.server_close()


@dataclass
class Clock:
    """Time that passes only when it is slept."""

    time: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.time += seconds

    def pause(self) -> Pause:
        return Pause(lambda: self.time, self.sleep, lambda: 1.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., RemoteEncoder]


@pytest.fixture
def opened(server: Server, clock: Clock) -> Iterator[Open]:
    made: list[RemoteEncoder] = []

    def open_(*, query_prompt: str | None = None, document_prompt: str | None = None, **changes: Any) -> RemoteEncoder:
        own = ServerSettings(server.url, "embedder-3", 256, window=8191, key_env="EMBEDDING_KEY")
        settings = ModelSettings(
            query_prompt=query_prompt, document_prompt=document_prompt, server=replace(own, **changes)
        )
        made.append(RemoteEncoder("remote", settings, clock.pause()))
        return made[-1]

    yield open_
    for encoder in made:
        encoder.close()


def refusal(encoder: RemoteEncoder, *texts: str) -> EncoderError:
    with pytest.raises(EncoderError) as caught:
        encoder.encode_documents(texts or ("one text",))
    for part in (str(caught.value), caught.value.hint, caught.value.unchanged, repr(caught.value)):
        assert KEY not in part
    assert caught.value.unchanged == "nothing was stored"
    assert caught.value.hint
    return caught.value


# What is asked and answered


def test_texts_become_unit_vectors_in_their_order(server: Server, opened: Open) -> None:
    encoder = opened()
    vectors = encoder.encode_documents(["glaciers melt", "tides rise"])
    assert np.allclose(vectors, HASHING.encode_documents(["glaciers melt", "tides rise"]), atol=1e-6)
    assert vectors.dtype == np.float32
    assert server.questions == [{"model": "embedder-3", "input": ["glaciers melt", "tides rise"]}]
    assert server.keys == [f"Bearer {KEY}"]
    assert encoder.encode_documents([]).shape == (0, 256)
    assert len(server.questions) == 1


def test_prompts_come_before_documents_and_queries(server: Server, opened: Open) -> None:
    encoder = opened(query_prompt="query: ", document_prompt="passage: ")
    encoder.encode_documents(["a"])
    encoder.encode_query("b")
    encoder.fingerprint()
    assert [question["input"] for question in server.questions[:2]] == [["passage: a"], ["query: b"]]
    assert server.questions[2]["input"][0].startswith("The committee")
    assert encoder.fingerprint().shape == (3, 256)
    assert len(server.questions) == 3


def test_the_dimension_is_sent_where_that_is_wanted(server: Server, opened: Open) -> None:
    opened(send_dimension=True).encode_query("a")
    assert server.questions == [{"model": "embedder-3", "input": ["a"], "dimensions": 256}]


def test_a_server_without_a_key_gets_none(server: Server, opened: Open) -> None:
    opened(key_env=None).encode_query("a")
    assert server.keys == [None]


def test_batches_keep_to_the_count_and_to_the_characters(server: Server, opened: Open) -> None:
    texts = ["aa", "bb", "cc", "d" * 50, "ee"]
    vectors = opened(batch_texts=2, batch_characters=20).encode_documents(texts)
    assert [question["input"] for question in server.questions] == [["aa", "bb"], ["cc"], ["d" * 50], ["ee"]]
    assert np.allclose(vectors, HASHING.encode_documents(texts), atol=1e-6)


def test_the_index_of_an_answer_decides_its_order(server: Server, opened: Open) -> None:
    server.replies = [changed(lambda data: data[::-1])]
    assert np.allclose(opened().encode_documents(["a b", "c d"]), HASHING.encode_documents(["a b", "c d"]), atol=1e-6)


# What passes


def test_a_server_that_is_asked_too_often_is_left_alone_as_long_as_it_wants(
    server: Server, opened: Open, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server.replies = [status(429, {"error": {"message": "slow down"}}, Retry_After="7")]
    with caplog.at_level(logging.WARNING):
        opened().encode_query("a")
    assert clock.slept == [7.5]
    assert caplog.messages == [
        "model remote: its server answered 429 (slow down); try 2 of 6 follows in 7.5 s",
    ]


def test_a_wait_until_a_date_is_understood(server: Server, opened: Open, clock: Clock) -> None:
    server.replies = [
        status(503, None, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        status(503, None, Retry_After="soon"),
        status(503, None, Retry_After="nan"),
    ]
    opened().encode_query("a")
    assert clock.slept == [0.5, 1.0, 2.0]


def test_nobody_waits_for_an_hour(server: Server, opened: Open, clock: Clock) -> None:
    server.replies = [status(429, None, Retry_After="3600")]
    error = refusal(opened())
    assert str(error) == (
        "the model 'remote' gave no vectors: its server answered 429 and wants to be asked again only in 3,600 s"
    )
    assert clock.slept == []


@pytest.mark.parametrize("fault", [status(500), status(502), status(503), status(408), hung_up, promised_more])
def test_what_may_pass_is_tried_again(server: Server, opened: Open, clock: Clock, fault: Reply) -> None:
    server.replies = [fault, fault]
    assert np.allclose(opened().encode_query("tides"), HASHING.encode_query("tides"), atol=1e-6)
    assert clock.slept == [0.5, 1.0]
    assert len(server.questions) == 3


def test_the_tries_are_bounded_and_the_pauses_grow(server: Server, opened: Open, clock: Clock) -> None:
    server.always = status(500, {"error": "out of order"})
    error = refusal(opened(tries=9))
    assert str(error) == (
        "the model 'remote' gave no vectors: its server answered 500 (out of order), also at try 9 of 9"
    )
    assert len(server.questions) == 9
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_pauses_differ_from_client_to_client(server: Server) -> None:
    clock = Clock()
    settings = ServerSettings(server.url, "m", 256)
    encoder = RemoteEncoder("m", ModelSettings(server=settings), replace(clock.pause(), chance=lambda: 0.0))
    server.replies = [status(500)]
    encoder.encode_query("a")
    encoder.close()
    assert clock.slept == [0.25]


def test_a_server_that_does_not_answer_in_time(server: Server, opened: Open, clock: Clock) -> None:
    server.always = silent
    error = refusal(opened(timeout=0.05, tries=2))
    assert str(error) == (
        "the model 'remote' gave no vectors: its server did not answer within 0.05 s, also at try 2 of 2"
    )
    assert clock.slept == [0.5]


def test_a_server_that_answers_drop_by_drop(server: Server, opened: Open, clock: Clock) -> None:
    def slowly(handler: Handler, question: dict[str, Any]) -> None:
        clock.time += 61
        well(handler, question)

    server.replies = [slowly]
    opened().encode_query("a")
    assert len(server.questions) == 2


def test_a_server_that_is_not_there(opened: Open, clock: Clock) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    error = refusal(opened(url=url, tries=2))
    assert str(error).startswith("the model 'remote' gave no vectors: its server cannot be reached (")
    assert len(clock.slept) == 1


# What does not pass


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_not_tried_again(server: Server, opened: Open, clock: Clock, code: int) -> None:
    server.replies = [status(code, {"error": {"message": f"Incorrect API key provided: {KEY}"}})]
    error = refusal(opened())
    assert str(error) == f"the server of the model 'remote' refused the access ({code})"
    assert error.hint == "put a key that may use this model into EMBEDDING_KEY"
    assert len(server.questions) == 1
    server.replies = [status(code)]
    assert refusal(opened(key_env=None)).hint == 'name the variable that holds the key: key_env, in [models."remote"]'


def test_what_a_server_says_is_told_on_one_line_without_the_key(server: Server, opened: Open) -> None:
    server.replies = [status(400, {"error": {"message": f"too\nlong \x1b[31m{KEY} " + "x" * 500}})]
    error = refusal(opened())
    assert str(error).startswith("the model 'remote' gave no vectors: its server answered 400 (too long [31m*** xxx")
    assert len(str(error)) < 300
    assert "\x1b" not in str(error)


def test_an_account_that_is_used_up_is_not_tried_again(server: Server, opened: Open) -> None:
    server.replies = [status(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})]
    error = refusal(opened())
    assert str(error) == "the model 'remote' gave no vectors: its server answered 429 (You exceeded your quota)"
    assert error.hint == "the account is used up: look at the provider's billing page"


def test_a_redirect_is_not_followed(server: Server, opened: Open) -> None:
    server.replies = [status(307, None, Location="http://elsewhere.example/v1/embeddings")]
    error = refusal(opened())
    assert str(error) == (
        "the server of the model 'remote' redirects to http://elsewhere.example/v1/embeddings, where no key is sent"
    )
    assert error.hint == 'correct url in [models."remote"], if that is the right place'


def test_a_certificate_that_is_none(server: Server, opened: Open, clock: Clock) -> None:
    error = refusal(opened(url=server.url.replace("http:", "https:")))
    assert str(error).startswith("the server of the model 'remote' cannot be trusted: ")
    assert error.hint == "correct the url, or name the certificate of its authority in SSL_CERT_FILE"
    assert clock.slept == []


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (cut, " bytes that are no whole JSON"),
        (status(200, b"<html>"), "6 bytes that are no whole JSON"),
        (status(200, []), 'no list of objects under "data"'),
        (status(200, {"data": ["x"]}), 'no list of objects under "data"'),
        (changed(lambda data: data[:-1]), "1 vectors for 2 texts"),
        (changed(lambda data: [*data, data[0]]), "3 vectors for 2 texts"),
        (changed(lambda data: [data[0], data[0]]), 'vectors whose "index" is not each of 0 to 1 once'),
        (changed(lambda data: [data[0], {**data[1], "index": 7}]), 'vectors whose "index" is not each of 0 to 1 once'),
        (changed(lambda data: [{"embedding": [1.0]}] * 2), 'vectors whose "index" is not each of 0 to 1 once'),
        (changed(lambda data: [{**d, "embedding": "AAAA"} for d in data]), "no list of numbers for text 0 of 2"),
        (changed(lambda data: [{**d, "embedding": ["1"] * 256} for d in data]), "no list of numbers for text 0 of 2"),
        (
            changed(lambda data: [{**d, "embedding": d["embedding"][:8]} for d in data]),
            "vectors of 8 dimensions where its settings say 256",
        ),
        (changed(lambda data: [{**d, "embedding": [math.nan] * 256} for d in data]), "NaN or infinite vector"),
        (changed(lambda data: [{**d, "embedding": [0] * 256} for d in data]), "zero vector for text 0 of 2"),
        (changed(lambda data: [{**d, "embedding": [10**400] + [0] * 255} for d in data]), "no array of numbers"),
        (status(200, b"[" * 50_000), "50,000 bytes that are no whole JSON"),
    ],
)
def test_faults_H1_an_answer_that_makes_no_sense(server: Server, opened: Open, reply: Reply, said: str) -> None:
    server.replies = [reply]
    with pytest.raises(EncoderError) as caught:
        opened().encode_documents(["a b", "c d"])
    assert said in str(caught.value)
    assert caught.value.unchanged == "nothing was stored"
    assert len(server.questions) == 1


def test_an_answer_without_an_end_is_not_read(server: Server, opened: Open) -> None:
    server.replies = [status(200, b" " * 200_000)]
    assert str(refusal(opened())) == "the server of the model 'remote' answered more than 75,776 bytes"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "is not set"),
        ("  ", "is not set"),
        ("two words", "holds something else"),
        ("ключ", "holds something else"),
    ],
)
def test_a_key_that_is_none_is_never_sent(
    server: Server, opened: Open, monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    monkeypatch.delenv("EMBEDDING_KEY")
    if value is not None:
        monkeypatch.setenv("EMBEDDING_KEY", value)
    error = refusal(opened())
    assert str(error) == f"the model 'remote' needs a key in the environment variable EMBEDDING_KEY, which {said}"
    assert error.hint == "export EMBEDDING_KEY=…"
    assert server.questions == []


def test_the_key_is_in_no_log(server: Server, opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    server.replies = [status(500, {"error": f"I know {KEY}"}), hung_up]
    with caplog.at_level(logging.DEBUG):
        encoder = opened()
        encoder.encode_query("a")
    assert "***" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(vars(encoder))


# The pace


def test_requests_are_spread_over_the_minute(server: Server, opened: Open, clock: Clock) -> None:
    opened(requests_per_minute=30, batch_texts=1).encode_documents(["a", "b", "c"])
    assert clock.slept == [2.0, 2.0]


def test_tokens_are_spread_over_the_minute(server: Server, opened: Open, clock: Clock) -> None:
    # A text of 4 letters counts as 4 tokens, 2 of them special.
    opened(tokens_per_minute=8, batch_texts=10).encode_documents(["abcd"] * 5)
    assert [len(question["input"]) for question in server.questions] == [2, 2, 1]
    assert clock.slept == [60.0, 60.0]


# Tokens and cost


def test_tokens_are_estimated_from_signs(opened: Open) -> None:
    encoder = opened(query_prompt="query: ", document_prompt="passage: ")
    text = "Tide API 42, 東é"
    found = encoder.token_spans(text)
    assert [text[start:end] for start, end in found] == [
        *("Tide", "API"[:2], "I", "4", "2", ",", "東", "東", "é"),
    ]
    assert encoder.query_tokens("Tide") == 1 + 3 + 2
    assert encoder.reserved == 4 + 2


@pytest.mark.model
def test_the_estimate_is_above_what_a_real_tokeniser_counts(opened: Open) -> None:
    real, encoder = open_encoder("all-MiniLM-L6-v2"), opened()
    with (Path(__file__).parents[2] / "data" / "articles.csv").open() as file:
        lines = file.read().splitlines()
    texts = ["\n".join(lines[start : start + 20]) for start in range(0, len(lines), 20)]
    shares = [len(encoder.token_spans(text)) / len(real.token_spans(text)) for text in texts]
    assert min(shares) > 1.2
    assert sum(shares) / len(shares) < 1.7


def test_the_cost_is_a_matter_of_tokens(opened: Open) -> None:
    found = estimate(opened(price_per_million_tokens=0.5), ["abc def"] * 500_000)
    assert found is not None
    assert (found.tokens, found.dollars) == (2_000_000, 1.0)
    assert str(found) == "about 2.0 million tokens, about $1.00"
    assert str(found.scaled(0.001)) == "about 2,000 tokens, under $0.01"
    assert estimate(opened(), ["a"]) is None
    assert estimate(HASHING, ["a"]) is None


# In a knowledge base


def declare(tmp_path: Path, url: str, more: str = "") -> Path:
    (tmp_path / "config.toml").write_text(
        f'[collections.a]\nmodel = "remote"\n[collections.a.fields]\nbody = "text"\n'
        f'[models.remote]\nurl = "{url}"\ndimension = 256\nkey_env = "EMBEDDING_KEY"\n{more}'
    )
    (tmp_path / "rows.csv").write_text("id,body\n" + "".join(f"r{n},word{n} tides rise\n" for n in range(30)))
    return tmp_path


def test_a_collection_lives_on_a_server(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = declare(tmp_path, server.url, "price_per_million_tokens = 100\n")
    monkeypatch.chdir(folder)
    assert run(["import", "rows.csv", "--dry-run"]) == 0
    cost = "embedding with remote: about 290 tokens, about $0.03\n"
    assert cost in capsys.readouterr().err
    assert run(["import", "rows.csv"]) == 0
    assert cost in capsys.readouterr().err
    # Nothing to embed costs nothing.
    assert run(["import", "rows.csv"]) == 0
    assert capsys.readouterr().err.count("about") == 0
    assert run(["search", "word7 tides rise", "--mode", "semantic", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == "r7"
    embedded = [text for question in server.questions for text in question["input"] if text.startswith("word")]
    assert len(embedded) == 31


def test_a_model_that_has_changed_on_the_server_is_refused(server: Server, tmp_path: Path) -> None:
    folder = declare(tmp_path, server.url)
    with kb.open(folder) as base:
        base.collection("a").import_file(folder / "rows.csv")

    def turned(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**item, "embedding": item["embedding"][1:] + item["embedding"][:1]} for item in data]

    def rounded(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        noise = np.random.default_rng(1).normal(0, 0.004, (len(data), 256))
        return [
            {**item, "embedding": (np.array(item["embedding"]) + 3 * row).tolist()}
            for item, row in zip(data, noise, strict=True)
        ]

    server.always = changed(rounded)
    with kb.open(folder) as base:
        assert base.collection("a").search("word7", mode="semantic").report.returned == 10
    server.always = changed(turned)
    with kb.open(folder) as base, pytest.raises(ModelMismatchError):
        base.collection("a").search("word7", mode="semantic")


def test_an_import_that_the_server_ends_can_go_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = declare(tmp_path, server.url, "tries = 1\n")
    with kb.open(folder) as base:
        collection = base.collection("a")
        collection.import_file(folder / "rows.csv")
        (folder / "more.csv").write_text("id,body\nn1,new winds\n")
        server.always = status(401)
        with pytest.raises(EncoderError):
            collection.import_file(folder / "more.csv")
        assert collection.count() == 30
        server.always = None
        assert collection.import_file(folder / "more.csv").counts.new == 1


def test_the_list_shows_a_server(server: Server, tmp_path: Path) -> None:
    settings = load_settings(declare(tmp_path, server.url), {}).models
    info = next(info for info in list_models(settings) if info.id == "remote")
    assert (info.dimension, info.window, info.size_bytes, info.local, info.verified) == (256, 512, 0, False, None)
    assert (info.kind, info.where) == ("http", server.url)
    assert server.questions == []


# The settings


def config_refusal(tmp_path: Path, text: str) -> tuple[str, str]:
    (tmp_path / "config.toml").write_text(f"[models.m]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {})
    said = f"{caught.value} {caught.value.hint} {caught.value.unchanged}"
    assert "hunter2" not in said
    return str(caught.value).removeprefix(f"{tmp_path}/config.toml: "), caught.value.hint


FINE = 'url = "https://api.example/v1/"\ndimension = 8\n'


def test_every_key_of_a_server_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        f'[models.m]\n{FINE}model = "n"\nwindow = 100\nkey_env = "A_KEY"\nsend_dimension = true\nbatch_texts = 2\n'
        "batch_characters = 3\ntimeout = 4\ntries = 5\nrequests_per_minute = 6\ntokens_per_minute = 7.5\n"
        'price_per_million_tokens = 0.02\nquery_prompt = "q: "\n'
    )
    server = ServerSettings("https://api.example/v1", "n", 8, 100, "A_KEY", True, 2, 3, 4.0, 5, 6.0, 7.5, 0.02)
    assert load_settings(tmp_path, {}).models == {"m": ModelSettings(query_prompt="q: ", server=server)}
    (tmp_path / "config.toml").write_text(f"[models.m]\n{FINE}")
    assert load_settings(tmp_path, {}).models["m"].server == ServerSettings("https://api.example/v1", "m", 8)


@pytest.mark.parametrize("name", ["key", "api_key", "API_KEY", "token", "password"])
def test_a_key_in_the_file_is_refused(tmp_path: Path, name: str) -> None:
    assert config_refusal(tmp_path, f'{FINE}{name} = "hunter2"') == (
        f"[models.m] holds a secret, '{name}': the file may be read and copied by others",
        'take it out, put it into an environment variable, and name that: key_env = "OPENAI_API_KEY"',
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{FINE}key_env = "sk-hunter2"', "models.m.key_env must be the name of an environment variable, in capitals"),
        (f"{FINE}key_env = 1", "models.m.key_env must be the name of an environment variable, in capitals"),
        ('dimension = 8\nurl = "https://me:hunter2@api.example/v1"', "models.m.url holds a name or a password"),
        ('dimension = 8\nurl = "ftp://api.example/hunter2"', "models.m.url must be an address"),
        ('dimension = 8\nurl = "https://[::hunter2/"', "models.m.url must be an address"),
        ('dimension = 8\nurl = "https://a.example/v1?key=hunter2"', "models.m.url must be an address"),
        ("dimension = 8\nurl = 3", "models.m.url must be an address"),
        (
            'dimension = 8\nurl = "http://api.example/v1"\nkey_env = "K"',
            "models.m.url would send the key over the network unencrypted",
        ),
        ('url = "https://api.example/v1"', "[models.m] does not say the dimension of its vectors"),
        ("window = 3", "[models.m] sets window, which is for a model behind a server, but no url"),
        (f'{FINE}path = "x"', "[models.m] sets both url and path"),
        (f"{FINE}tries = 0", "models.m.tries must be a whole number from 1, not 0"),
        (f"{FINE}tries = true", "models.m.tries must be a whole number from 1, not True"),
        (f"{FINE}timeout = inf", "models.m.timeout must be a number above 0, not inf"),
        (f'{FINE}model = ""', "models.m.model must be a string, not ''"),
        (f"{FINE}send_dimension = 1", "models.m.send_dimension must be true or false, not 1"),
    ],
)
def test_faults_I19_settings_of_a_server_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    assert config_refusal(tmp_path, text)[0] == message


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:80"])
def test_a_key_may_stay_on_this_machine_unencrypted(tmp_path: Path, host: str) -> None:
    (tmp_path / "config.toml").write_text(f'[models.m]\nurl = "http://{host}/v1"\ndimension = 8\nkey_env = "K"\n')
    assert load_settings(tmp_path, {}).models["m"].server is not None
