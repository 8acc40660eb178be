"""The topics as one HTML page that needs nothing but itself: a map beside a table."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from kb.evaluate.topics.found import topic_color

if TYPE_CHECKING:
    from kb.evaluate.topics.found import Point, Topic, Topics

_SIDE: Final = 1_000
_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def topic_page(topics: Topics) -> str:
    """Return the page. Whatever titles and words hold is shown as text, and only the page's own script may run.

    Args:
        topics: With a map.
    """
    assert topics.map is not None
    template = files("kb.evaluate.topics").joinpath("page.html").read_text(encoding="utf-8")
    script = _SCRIPT.search(template)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    shown, total = len(topics.map.points), len(topics.topics)
    of = f", {shown:,} of them on the map" if shown < topics.documents else ""
    parts = {
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "name": escape(topics.collection),
        "summary": f"{topics.documents:,} documents{of} · {total} topics · {topics.map.method}",
        "radius": f"{_radius(shown):g}",
        "colors": "".join(f".t{one.number}{{--own:{topic_color(one.number)}}}" for one in topics.topics),
        "points": "\n".join(map(_point, topics.map.points)),
        "rows": "\n".join(map(_row, topics.topics)),
        "notes": "".join(f"<p>{escape(note)}</p>" for note in topics.notes),
    }
    # All at once: a title that spells a placeholder is not one.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _radius(points: int) -> float:
    return round(min(9.0, max(3.0, 160 / math.sqrt(max(points, 1)))), 1)


def _point(point: Point) -> str:
    x, y = round(point.x * _SIDE), round((1 - point.y) * _SIDE)
    name = escape(point.title or point.id)
    return f'<circle class="t{point.topic}" data-topic="{point.topic}" cx="{x}" cy="{y}" data-title="{name}"/>'


def _row(topic: Topic) -> str:
    words = escape(", ".join(topic.words)) or "–"
    documents = "".join(f"<li>{escape(one.title or one.id)}</li>" for one in topic.documents)
    return (
        f'<tr class="t{topic.number}" data-topic="{topic.number}">'
        f'<td><button type="button" aria-pressed="false" data-topic="{topic.number}">'
        f'<span class="dot"></span>{topic.number}</button></td>'
        f"<td><b>{words}</b><ul>{documents}</ul></td>"
        f'<td class="n">{topic.size:,}</td><td class="n">{100 * topic.share:.1f} %</td>'
        f'<td class="n">{topic.cosine:.2f}</td></tr>'
    )
