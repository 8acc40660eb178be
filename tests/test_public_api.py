"""What users of the package may rely on."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import kb
from kb import errors

ROOT = Path(__file__).parents[1]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def test_the_public_names_are_these():
    assert kb.__all__ == [
        *("Collection", "Document", "FieldMapping", "ImportRequest", "KBError", "KnowledgeBase", "Policy", "Reading"),
        *("ReembedRequest", "Text", "__version__", "field", "inspect", "open"),
    ]
    assert all(getattr(kb, name) is not None for name in kb.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'kb' has no attribute 'opne'$"):
        kb.opne  # noqa: B018


def test_the_methods_of_a_collection_are_these():
    assert sorted(name for name in dir(kb.Collection) if not name.startswith("_")) == [
        "add",
        "apply_plan",
        "apply_steps",
        "ask",
        "ask_all",
        "bench_index",
        "calibrate",
        "calibrate_steps",
        "calibration",
        "change",
        "count",
        "declaration",
        "delete",
        "deleted",
        "discard",
        "entries",
        "entry",
        "estimate_import",
        "estimate_reembed",
        "evaluate",
        "evaluate_steps",
        "export",
        "facets",
        "filter",
        "forget_judgements",
        "generations",
        "get",
        "history",
        "import_file",
        "import_frame",
        "import_request",
        "import_steps",
        "judge",
        "judged_queries",
        "judgements",
        "keys",
        "list",
        "model",
        "plan_import",
        "prepare_queries",
        "preview_import",
        "promote",
        "reembed",
        "reembed_steps",
        "restore",
        "resume_reembed",
        "rollback",
        "run_import",
        "schema",
        "search",
        "similar",
        "target",
        "to_frame",
        "topics",
        "try_reembed",
        "update",
        "upsert",
    ]


def test_every_error_says_how_surfaces_show_it():
    found = {
        name: (cls.code, cls.exit_code, cls.http_status)
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, errors.KBError)
    }
    assert found == {
        "KBError": ("error", 1, 500),
        "UsageError": ("usage", 2, 422),
        "ConfigError": ("config", 2, 422),
        "SchemaError": ("schema", 2, 422),
        "FilterError": ("filter", 2, 422),
        "QueryError": ("query", 2, 422),
        "SourceError": ("source", 1, 400),
        "SourceChangedError": ("source_changed", 1, 409),
        "DocumentError": ("document", 1, 422),
        "EncoderError": ("encoder", 1, 500),
        "ConflictError": ("conflict", 1, 409),
        "SupersededError": ("superseded", 1, 409),
        "NotFoundError": ("not_found", 4, 404),
        "NoKnowledgeBaseError": ("no_knowledge_base", 10, 404),
        "LockedError": ("locked", 11, 423),
        "ReadOnlyError": ("read_only", 1, 403),
        "UnreachableError": ("unreachable", 11, 503),
        "DamagedError": ("damaged", 12, 500),
        "CatalogDamagedError": ("catalog_damaged", 12, 500),
        "MismatchError": ("mismatch", 13, 409),
        "ModelMismatchError": ("model_mismatch", 13, 409),
        "SchemaMismatchError": ("schema_mismatch", 13, 409),
        "NewerCatalogError": ("newer_catalog", 13, 409),
        "ModelNotFoundError": ("model_not_found", 13, 424),
        "LimitError": ("limit", 14, 507),
    }
    assert [name for name in found if name not in (errors.__doc__ or "")] == []


def definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    """Yield the public functions and classes of a module, and the public methods of its public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition) and not child.name.startswith("_"):
            overload = any(ast.unparse(decorator) == "overload" for decorator in child.decorator_list)
            if not overload:
                yield f"{prefix}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from definitions(child, f"{prefix}.{child.name}")


def test_everything_public_has_a_docstring():
    missing = []
    for path in sorted((ROOT / "kb").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        tree = ast.parse(path.read_text())
        found = [(module, tree), *definitions(tree, module)]
        missing += [name for name, node in found if not ast.get_docstring(node)]
    assert missing == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("titel", "did you mean 'title'? valid: title, body"),
        ("TITLE", "did you mean 'title'? valid: title, body"),
        ("xyz", "valid: title, body"),
    ],
)
def test_the_nearest_name_is_suggested(name, hint):
    assert errors.nearest(name, ["title", "body"]) == hint
    assert errors.nearest(name, []) == ""


def test_at_most_20_names_are_listed():
    names = [f"n{number}x" for number in range(30)]
    assert errors.nearest("zzz", names) == "valid: " + ", ".join(names[:20]) + ", …"
