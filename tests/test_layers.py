"""A module imports only from the layers below its own, and each third-party package has one home."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    ["kb.child", "kb.disk", "kb.errors", "kb.failpoints"],
    ["kb.file_lock", "kb.schema", "kb.toml_tables"],
    ["kb.import_config", "kb.index_config", "kb.model_config"],
    ["kb.config"],
    ["kb.sources", "kb.filters", "kb.chunks"],
    ["kb.embed", "kb.catalog", "kb.index"],
    ["kb.write"],
    ["kb.ingest", "kb.search", "kb.curate", "kb.maintain", "kb.evaluate", "kb.declaration"],
    ["kb.wiring", "kb.reembedding"],
    ["kb.searching"],
    ["kb.analysis", "kb.judging"],
    ["kb.recipes"],
    ["kb.generations"],
    ["kb.collection", "kb.jobs"],
    ["kb.opened", "kb.upkeep", "kb.cleaning"],
    ["kb.knowledge_base", "kb.first_config"],
    ["kb.opening", "kb.model_trials", "kb.restoring", "kb.serving"],
    ["kb.cli"],
    ["kb.__main__"],
]
"""From the lowest up; ``kb/collection.py`` stands just below ``kb/knowledge_base.py``."""

LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}

HOMES = {
    **dict.fromkeys(("pandas", "pyarrow", "openpyxl", "zstandard", "yaml"), "kb.sources"),
    "lark": "kb.filters",
    **dict.fromkeys(
        ("sentence_transformers", "torch", "transformers", "tokenizers", "huggingface_hub", "httpx"), "kb.embed"
    ),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript", "safetensors"), "kb.embed"),
    **dict.fromkeys(("sqlalchemy", "alembic"), "kb.catalog"),
    **dict.fromkeys(("chromadb", "tantivy"), "kb.index"),
    **dict.fromkeys(("click", "rich"), "kb.cli"),
    **dict.fromkeys(("faiss", "matplotlib", "sklearn", "threadpoolctl"), "kb.evaluate"),
    "tomlkit": "kb.first_config",
    **dict.fromkeys(("pydantic", "annotated_types"), "kb.schema"),
}
"""The only package that may import each; ``TYPE_CHECKING`` imports do not count."""


@dataclass(frozen=True)
class Import:
    """One import: who, what, where, and whether it is there for type checkers only."""

    module: str
    target: str
    line: int
    typing: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted((ROOT / "kb").rglob("*.py"))}


MODULES = modules()


def visit(node: ast.AST, module: str, *, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for statement in child.body:
                yield from visit(ast.Module([statement], []), module, typing=True)
            for statement in child.orelse:
                yield from visit(ast.Module([statement], []), module, typing=typing)
        elif isinstance(child, ast.Import):
            for name in child.names:
                yield Import(module, name.name, child.lineno, typing)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}:{child.lineno} is a relative import"
            for name in child.names:
                inner = f"{child.module}.{name.name}"
                yield Import(module, inner if inner in MODULES else str(child.module), child.lineno, typing)
        else:
            yield from visit(child, module, typing=typing)


IMPORTS = [
    found for module, path in MODULES.items() for found in visit(ast.parse(path.read_text()), module, typing=False)
]


def package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_every_module_has_a_layer():
    assert {package(module) for module in MODULES} - {"kb"} == set(LEVEL)


def test_the_imports_are_seen():
    assert len(IMPORTS) > 300
    assert any(found.target == "sqlalchemy" and not found.typing for found in IMPORTS)
    assert any((i.module, i.target, i.typing) == ("kb.wiring", "kb.knowledge_base", True) for i in IMPORTS)
    assert any(found.module == "kb.index.connect" and found.target == "chromadb" for found in IMPORTS)


def test_a_module_imports_only_from_layers_below():
    upward = [
        str(found)
        for found in IMPORTS
        if not found.typing
        and found.target.startswith("kb.")
        and package(found.module) != package(found.target)
        and package(found.module) != "kb"
        and LEVEL[package(found.target)] >= LEVEL[package(found.module)]
    ]
    assert upward == []


def test_the_package_itself_imports_nothing_but_what_is_asked_for():
    assert {found.target for found in IMPORTS if found.module == "kb" and not found.typing} == {
        *("__future__", "importlib", "typing"),
    }


@pytest.mark.parametrize("name", sorted(HOMES))
def test_a_third_party_package_is_imported_in_one_place(name):
    elsewhere = [
        str(found)
        for found in IMPORTS
        if found.target.split(".")[0] == name and not found.typing and package(found.module) != HOMES[name]
    ]
    assert elsewhere == []


def test_no_other_third_party_package_is_imported():
    known = {*sys.stdlib_module_names, *HOMES, "kb", "numpy"}
    others = [str(found) for found in IMPORTS if not found.typing and found.target.split(".")[0] not in known]
    assert others == []


def test_nothing_unpickles():
    forbidden = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
    assert [str(found) for found in IMPORTS if found.target.split(".")[0] in forbidden] == []


def test_no_file_is_longer_than_400_lines():
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > 400} == {}
