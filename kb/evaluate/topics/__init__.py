"""What the documents of a collection are about: topics found among their vectors, named by their words."""

from __future__ import annotations

from kb.evaluate.topics.found import Attempt, Map, Point, Topic, Topics, TypicalDocument, no_topics
from kb.evaluate.topics.page import topic_page
from kb.evaluate.topics.picture import topic_picture
from kb.evaluate.topics.surveying import Source, Wanted, survey

__all__ = [
    "Attempt",
    "Map",
    "Point",
    "Source",
    "Topic",
    "Topics",
    "TypicalDocument",
    "Wanted",
    "no_topics",
    "survey",
    "topic_page",
    "topic_picture",
]
