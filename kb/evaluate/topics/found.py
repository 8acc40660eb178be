"""What a survey of topics has found."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TypicalDocument:
    """A document near the centre of its topic.

    Attributes:
        id: Of the document.
        title: Its field ``title``, else the first line of its text.
        score: The cosine of its vector and the centre.
    """

    id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        number: From 1, the largest topic first.
        words: Its most typical words, the most typical first.
        documents: Its most typical documents, the nearest to the centre first.
        size: How many documents it has.
        share: Of all documents, in [0, 1].
        cosine: The mean cosine of its documents and its centre: the higher, the closer together.
    """

    number: int
    words: tuple[str, ...]
    documents: tuple[TypicalDocument, ...]
    size: int
    share: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """A number of topics that was tried, with its silhouette in [-1, 1]: the higher, the better divided."""

    topics: int
    silhouette: float


@dataclass(frozen=True, slots=True)
class Point:
    """A document on the map: ``x`` and ``y`` in [0, 1]; its topic by number."""

    id: str
    title: str
    topic: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Map:
    """Documents in two dimensions, near each other where their meanings are.

    Attributes:
        method: ``t-SNE``, or ``PCA`` where there are too few documents for it.
        points: All documents, or a sample of them, by id.
    """

    method: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a collection.

    Attributes:
        collection: Its name.
        documents: How many documents there were to divide.
        topics: The largest first; empty where there are no documents.
        algorithm: ``KMeans``, ``MiniBatchKMeans``, or ``none`` where there was nothing to divide.
        attempts: The numbers of topics that were compared; empty where the number was given or there was no choice.
        map: None unless it was asked for.
        notes: What a reader should know about how this came about.
    """

    collection: str
    documents: int
    topics: tuple[Topic, ...]
    algorithm: str
    attempts: tuple[Attempt, ...]
    map: Map | None
    notes: tuple[str, ...]


def no_topics(collection: str, note: str, *, map: bool) -> Topics:
    """Return what there is to say of no documents; with an empty map if one was asked for."""
    return Topics(collection, 0, (), "none", (), Map("PCA", ()) if map else None, (note,))


def topic_color(number: int) -> str:
    """Return the colour of a topic as ``#rrggbb``: neighbours in the list differ, and it can be seen on any ground."""
    # The golden ratio never comes back to a hue it has used.
    hue = (0.58 + (number - 1) * 0.618034) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, (0.46, 0.56)[number % 2], 0.62)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
