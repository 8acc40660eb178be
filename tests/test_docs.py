"""The documentation names what there is."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from typing import TYPE_CHECKING

import click
import pytest

from kb import config
from kb.catalog import JobStatus
from kb.cli.importing import import_
from kb.cli.jobs import jobs
from kb.cli.main import COMMANDS
from kb.errors import KBError
from kb.filters import parse
from kb.import_config import IMPORT_KEYS
from kb.index_config import INDEX_KEYS
from kb.ingest import check_imports
from kb.model_config import MODEL_KEYS
from kb.schema import FieldType
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def readme() -> str:
    return (ROOT / "README.md").read_text()


def everything() -> str:
    return "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))])


def section(title: str) -> str:
    return readme().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", readme(), re.DOTALL | re.MULTILINE))


def words_in_code(text: str, pattern: str = r"\w+") -> set[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {word for span in re.findall(r"`([^`]+)`", prose) for word in re.findall(pattern, span)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert command in words_in_code(section("Commands"), r"[\w-]+")


def test_every_status_and_command_of_jobs_is_documented() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    diagram = page.partition("```\n")[2].partition("```")[0]
    assert [status for status in JobStatus if not re.search(rf"\b{status}\b", diagram)] == []
    assert [
        name for name in jobs.commands if f"| `kb jobs {name}" not in page and f"`kb jobs {name}`" not in page
    ] == []


@pytest.mark.parametrize(
    "key", ["storage", "index", *config._COLLECTION_KEYS, *config._FIELD_KEYS, *MODEL_KEYS, *INDEX_KEYS]
)
def test_every_key_of_the_configuration_is_documented(key: str) -> None:
    assert key in words_in_code(section("Configuration"))


def importing() -> str:
    return (ROOT / "docs" / "importing.md").read_text()


def evaluation() -> str:
    return (ROOT / "docs" / "evaluation.md").read_text()


@pytest.mark.parametrize("key", IMPORT_KEYS)
def test_every_key_of_an_import_is_documented(key: str) -> None:
    assert f"| `{key}` |" in importing()


@pytest.mark.parametrize("option", [option.opts for option in import_.params if isinstance(option, click.Option)])
def test_every_option_of_an_import_is_documented(option: list[str]) -> None:
    assert any(re.search(rf"[`/]{name}\b", importing() + section("Commands")) for name in option)


def test_the_imports_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    shown = re.findall(r"^```toml\n(\[imports.*?)^```", readme() + importing(), re.DOTALL | re.MULTILINE)
    assert len(shown) >= 2
    for example in shown:
        fields = (
            'title = "str"\nbody = "text"\npublished = "date"\ntags = "list[str]"\nsource = "str?"\nsummary = "str?"\n'
        )
        (tmp_path / "config.toml").write_text(f"[collections.articles.fields]\n{fields}\n{example}")
        check_imports(config.load_settings(tmp_path, {}))


@pytest.mark.parametrize(
    "name",
    [
        *("KB_HOME", "KB_STORAGE_PATH", "KB_CACHE", "KB_WHO", "KB_INDEX_TOKEN", "CHROMA_API_KEY"),
        *(f"KB_INDEX_{key.upper()}" for key in INDEX_KEYS),
    ],
)
def test_every_variable_is_documented(name: str) -> None:
    assert name in words_in_code(everything())


@pytest.mark.parametrize("type", [*FieldType, "list"])
def test_every_field_type_is_documented(type: str) -> None:
    assert type in words_in_code(section("Configuration"))


def test_every_exit_code_is_documented() -> None:
    codes = re.search(r"Exit codes: (.*?)\n\n", readme(), re.DOTALL)
    assert codes
    errors = {error.exit_code for error in all_errors(KBError)}
    assert errors | {0, 3, 130, 143} <= set(map(int, re.findall(r"\b\d+\b", codes[1])))


def all_errors(root: type[KBError]) -> list[type[KBError]]:
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def test_the_filters_of_the_readme_can_be_read() -> None:
    language = section("Five minutes").partition("The filter language:")[2].partition("```\n")[2].partition("```")[0]
    examples = [part for line in language.splitlines() for part in re.split(r" {3,}", line)]
    examples += re.findall(r"--where '([^']+)'", readme())
    assert len(examples) >= 12
    for example in examples:
        parse(example)


def test_every_command_of_the_readme_exists_with_its_options() -> None:
    shown = re.findall(r"^\$ kb ([\w-]+)(.*)$", blocks("console") + importing() + evaluation(), re.MULTILINE)
    assert shown
    for command, arguments in shown:
        module, attribute, _ = COMMANDS[command]
        getattr(import_module(module), attribute).make_context(command, shlex.split(arguments))  # raises when it is not


def test_links_inside_the_documentation_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    broken = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if not target.startswith(("http://", "https://", "mailto:")) and not (page.parent / target).exists()
    ]
    assert broken == []


def test_a_share_is_spelled_in_one_way() -> None:
    """``95 %``; without the space only where somebody types it, in code."""
    texts = [everything(), (ROOT / "CHANGELOG.md").read_text()]
    prose = [re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL) for text in texts]
    assert [line for text in prose for line in text.splitlines() if re.search(r"\d%", line)] == []
    code = [line for path in ROOT.glob("kb/**/*.py") for line in path.read_text().splitlines()]
    assert [line for line in code if re.search(r":\.\d%\}", line)] == []
