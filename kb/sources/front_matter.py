"""The fields before the text of a Markdown file, in YAML or TOML. Imports yaml, and only inside functions."""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kb.sources.row import Limits

MAX_CHARACTERS: Final = 64 * 1024
_BLOCK: Final = re.compile(r"\ufeff?(---|\+\+\+)[ \t]*(?:\r\n?|\n)")
# What JSON calls numbers, and what YAML 1.2 calls true and null. 0123, 1_000, 12:30 and "no" are text, not 83, 1000,
# 45000 and false.
_SCALARS: Final = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", ("t", "T", "f", "F")),
    ("tag:yaml.org,2002:int", r"-?(?:0|[1-9][0-9]{0,39})", tuple("-0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)",
        tuple("-0123456789"),
    ),
)


def split_front_matter(text: str, limits: Limits) -> tuple[dict[str, object], str]:
    """Return the fields and the text that follows them.

    Fields stand between two lines ``---`` in YAML, or between two lines ``+++`` in TOML, at the very beginning. Dates
    and times come as ISO text, all else with its type; in YAML only what YAML 1.2 calls a number, true or null is one.

    Args:
        text: Of the whole file.
        limits: How many fields there may be, and how deep they may be nested.

    Raises:
        ValueError: The block is not closed, cannot be read, or holds what no document can hold.
    """
    opening = _BLOCK.match(text)
    if opening is None:
        return {}, text.removeprefix("\ufeff")
    fence = opening[1]
    ends = re.escape(fence) if fence == "+++" else r"(?:---|\.\.\.)"
    closing = re.compile(rf"^{ends}[ \t]*(?:\r\n?|\n|\Z)", re.MULTILINE).search(
        text.replace("\r\n", "\n\n").replace("\r", "\n") if "\r" in text else text, opening.end()
    )
    if closing is None:
        raise ValueError(f"the front matter that opens in line 1 with {fence} is not closed")
    block = text[opening.end() : closing.start()]
    if len(block) > MAX_CHARACTERS:
        raise ValueError(f"the front matter has {len(block):,} characters; the limit is {MAX_CHARACTERS:,}")
    try:
        return _fields(_yaml(block) if fence == "---" else _toml(block), limits), text[closing.end() :]
    except RecursionError:
        raise ValueError(f"the front matter is nested more than {limits.depth} levels deep") from None


def _fields(found: object, limits: Limits) -> dict[str, object]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError("the front matter is no list of fields: write name: value in each line")  # noqa: TRY004
    if len(found) > limits.columns:
        raise ValueError(f"the front matter has {len(found):,} fields; the limit is {limits.columns:,}")
    return {_name(key): _value(item, f"{key}", limits.depth - 1) for key, item in found.items()}


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the front matter names a field {key!r}, which is not text: put it in quotes")  # noqa: TRY004
    return key


def _value(value: Any, place: str, depth: int) -> object:
    if depth < 0:
        raise RecursionError
    if isinstance(value, dict):
        return {_name(key): _value(item, f"{place}.{key}", depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_value(item, f"{place}[{index}]", depth - 1) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: {value} is not a number that can be stored")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"{place}: a value of type {type(value).__name__} is not supported")


def _toml(block: str) -> object:
    try:
        return tomllib.loads(block.replace("\r\n", "\n"))
    except ValueError as error:
        raise ValueError(f"the front matter cannot be read: {error}") from None


def _yaml(block: str) -> object:
    import yaml

    try:
        loader = _loader()(block)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 2}"
        raise ValueError(f"the front matter cannot be read{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"the front matter cannot be read: {str(error).splitlines()[0]}") from None


@functools.cache
def _loader() -> Any:
    """Return the class that reads YAML without the liberties that PyYAML takes with repeated keys and with text."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the name that PyYAML looks for

        def compose_node(self, parent: Any, index: Any) -> Any:
            # A few of them expand to gigabytes.
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.MarkedYAMLError(problem="aliases (*) are not read", problem_mark=mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            names = [key.value for key, _ in node.value]
            for place, (key, _) in enumerate(node.value):
                if isinstance(key.value, str) and key.value in names[:place]:
                    raise yaml.MarkedYAMLError(
                        problem=f"the field '{key.value}' is there twice", problem_mark=key.start_mark
                    )
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    for tag, pattern, starts in _SCALARS:
        Loader.add_implicit_resolver(tag, re.compile(f"(?:{pattern})$"), list(starts))
    return Loader
