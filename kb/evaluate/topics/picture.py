"""The map of topics as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kb.evaluate.plots import new_figure, to_png
from kb.evaluate.topics.found import topic_color

if TYPE_CHECKING:
    from kb.evaluate.topics.found import Map, Topics

_WORDS: Final = 3
_LABELLED: Final = 40
_APART: Final = 0.035
_NEAR: Final = 0.12


def topic_picture(topics: Topics) -> bytes:
    """Return the map of topics as a PNG file: a dot for each document, in its topic's colour, and the topics' words.

    Args:
        topics: With a map.
    """
    assert topics.map is not None
    figure, axes = new_figure(10, 8)
    points = topics.map.points
    places = np.array([(point.x, point.y) for point in points]).reshape(len(points), 2)
    size = float(np.clip(12_000 / max(len(points), 1), 5, 50))
    if points:
        colors = [topic_color(point.topic) for point in points]
        axes.scatter(places[:, 0], places[:, 1], c=colors, s=size, alpha=0.7, linewidths=0)
    for number, x, y in _label_places(topics.map):
        words = ", ".join(topics.topics[number - 1].words[:_WORDS])
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": topic_color(number), "alpha": 0.88}
        # A dollar sign would begin a formula.
        axes.text(x, y, f"{number}  {words}".replace("$", r"\$"), fontsize=8, ha="center", va="center", bbox=box)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_aspect("equal")
    axes.set_axis_off()
    shown = f"{topics.documents:,} documents"
    if len(points) < topics.documents:
        shown = f"{len(points):,} of {shown}"
    title = f"{topics.collection}: {shown}, {len(topics.topics)} topics ({topics.map.method})"
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=12, color="#334155")
    return to_png(figure)


def _label_places(of: Map) -> list[tuple[int, float, float]]:
    """Return where the name of each topic goes: where its documents are densest, moved up off the names below it."""
    numbers = sorted({point.topic for point in of.points})[:_LABELLED]
    middles = []
    for number in numbers:
        own = np.array([(point.x, point.y) for point in of.points if point.topic == number])
        # Where most of the others are near: the middle of two heaps is in neither.
        near = (np.linalg.norm(own[:, None] - own[None], axis=2) < _NEAR).sum(axis=1)
        x, y = own[near.argmax()]
        middles.append((number, float(x), float(y)))
    placed: list[tuple[int, float, float]] = []
    for number, x, middle in sorted(middles, key=lambda one: one[2]):
        y = middle
        for _, other_x, other_y in placed:
            if abs(other_x - x) < 0.3 and abs(other_y - y) < _APART:
                y = other_y + _APART
        placed.append((number, x, y))
    return placed
