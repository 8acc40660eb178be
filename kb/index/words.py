"""The index of words: one Tantivy index per collection, ranked by BM25.

Only this module and its two neighbours talk to tantivy. What a user types never reaches its query parser: queries are
built from analysed words.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kb.errors import DamagedError
from kb.index.word_query import WordQuery, analyser, parse, surface
from kb.index.word_records import ANALYSER, FOLDER, WordRecord, as_document, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tantivy import Query, Searcher

WRITER_BYTES: Final = 48_000_000
PAGE: Final = 50_000
SPARE: Final = 16
"""How many documents beyond the limit are fetched at first, to see where those of one score end."""


class WordMatches(NamedTuple):
    """Documents that hold words of a query.

    Attributes:
        seqs: Row numbers, best first, equal scores by number; shape (n,), int64.
        scores: BM25, above 0; shape (n,), float64.
        total: How many documents match in all.
    """

    seqs: np.ndarray
    scores: np.ndarray
    total: int


@dataclass(frozen=True, slots=True)
class OpenWords:
    """An index of words that is up to date, and why it is not the one on disk, if it is not."""

    index: WordIndex
    degraded: str | None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn whatever tantivy raises into an error that says what to do; a panic of its core is no ``Exception``."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if not isinstance(error, (ValueError, OSError)) and type(error).__module__ != "pyo3_runtime":
            raise
        raise DamagedError(
            f"the index of words cannot be {what}: {type(error).__name__}: {error}",
            unchanged="the catalog, which holds every document, is untouched",
            hint=f"end every kb process and move the folder '{FOLDER}' away: the next write builds it again",
        ) from error


class WordIndex:
    """The words of one collection's documents. What tantivy fails at is a ``DamagedError``.

    Readers in other processes are safe beside one writer. A score is the same whatever the index has been through, up
    to the last few of its digits, which are rounded off.
    """

    def __init__(self, folder: Path | None, language: str, *, create: bool = False) -> None:
        """Open the index in a folder for reading; the first write opens it for writing.

        Args:
            folder: Where it lies; None for one in memory.
            language: Whose stems; ``none`` for words as they are.
            create: Whether to make a new one where there is none.

        Raises:
            DamagedError: There is none, or what is there cannot be read.
        """
        import tantivy

        self._analyser = analyser(language)
        self._schema = schema()
        self._folder = folder
        self._guard = threading.RLock()
        self._writer: tantivy.IndexWriter | None = None
        self._boosts: dict[str, float] = {}
        with _translated("opened"):
            if folder is None:
                self._index = tantivy.Index(self._schema)
            elif create:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._index = tantivy.Index(self._schema, path=str(folder))
            elif not tantivy.Index.exists(str(folder)):
                raise FileNotFoundError(f"there is none in {folder}")
            else:
                self._index = tantivy.Index.open(str(folder))
            self._index.register_tokenizer(ANALYSER, self._analyser)
            # What is searched changes when this object says so, not when a merge ends.
            self._index.config_reader("manual")
            self.refresh()

    def parse(self, text: str) -> WordQuery:
        """Return what a user's text asks for: its words, and phrases in double quotes; nothing else is syntax."""
        return parse(self._analyser, text)

    def search(
        self, query: WordQuery, limit: int, *, among: Sequence[int] | None = None, all_phrases: bool = False
    ) -> WordMatches:
        """Return the best documents that hold a word of the query.

        Args:
            query: From ``parse``.
            limit: How many at the most; at least 1.
            among: Only these documents.
            all_phrases: Only documents that hold every phrase, its words one after the other.
        """
        searcher = self._searcher
        most = searcher.num_docs if among is None else min(searcher.num_docs, len(among))
        if not query.words or most == 0:
            return WordMatches(np.empty(0, dtype=np.int64), np.empty(0), 0)
        with _translated("asked"):
            built = self._any_word(searcher, query, among, all_phrases=all_phrases)
            wanted = limit + SPARE
            while True:
                result: Any = searcher.search(built, min(wanted, most))  # its type lacks the count
                scores = _rounded([score for score, _ in result.hits])
                # Which documents of the last score are proposed is tantivy's choice: all of them are needed.
                if len(scores) <= limit or len(scores) in (most, result.count) or scores[-1] < scores[limit - 1]:
                    break
                wanted *= 8
            seqs = self._seqs(searcher, result.hits)
        order = np.lexsort((seqs, -scores))[:limit]
        return WordMatches(seqs[order], scores[order], int(result.count))

    def score(self, query: WordQuery, seqs: Sequence[int]) -> np.ndarray:
        """Return the BM25 of documents in the order given, shape (n,), float64; 0 where no word matches."""
        scores = np.zeros(len(seqs))
        if len(seqs):
            found = self.search(query, len(seqs), among=seqs)
            known = dict(zip(found.seqs.tolist(), found.scores.tolist(), strict=True))
            scores[:] = [known.get(int(seq), 0.0) for seq in seqs]
        return scores

    def holding(self, phrase: tuple[str, ...], *, among: Sequence[int] | None = None) -> set[int]:
        """Return the documents that hold all words of a phrase, wherever they stand."""
        searcher = self._searcher
        if not phrase or searcher.num_docs == 0:
            return set()
        from tantivy import Occur

        parts = [(Occur.Must, self._word(word)) for word in phrase]
        if among is not None:
            parts.append((Occur.Must, self._one_of(among)))
        with _translated("asked"):
            return set(self._seqs(searcher, self._all_hits(searcher, parts)).tolist())

    def frequencies(self, query: WordQuery) -> list[int]:
        """Return how many documents hold each word of the query, in the order of its words."""
        searcher = self._searcher
        with _translated("asked"):
            return [self._living(searcher, word) for word in query.words]

    def matched(self, query: WordQuery, text: str) -> tuple[str, ...]:
        """Return which of the query's words a text holds, as they stand in it."""
        return surface(self._analyser, frozenset(query.words), text)

    def replace(self, documents: Iterable[WordRecord], gone: Iterable[str]) -> None:
        """Delete documents by id, then write others in place of those with the same id, as one commit.

        Args:
            documents: The new versions.
            gone: What is deleted first. A document that comes back under a new number is among them.

        Raises:
            DamagedError: The index does not take them; it is as it was.
        """
        with self._writing() as writer:
            for key in gone:
                writer.delete_documents_by_term("key", key)
            newest = self._newest()
            for record in documents:
                # To look for what cannot be there takes as long as the rest of it.
                if record.seq <= newest:
                    writer.delete_documents_by_term("key", record.key)
                writer.add_document(as_document(record))

    def rewrite(self, documents: Iterable[WordRecord]) -> None:
        """Write documents in place of everything, as one commit: nothing of former versions stays behind.

        Raises:
            DamagedError: The index does not take them; it is as it was.
        """
        from tantivy import Query

        with self._writing() as writer:
            # tantivy's delete_all_documents would take effect when a merge ends, before the commit.
            writer.delete_documents_by_query(Query.all_query())
            for record in documents:
                writer.add_document(as_document(record))

    def refresh(self) -> None:
        """Search what has been committed by now, by whichever process."""
        with self._guard, _translated("read"):
            self._index.reload()
            self._searcher: Searcher = self._index.searcher()
            self._boosts = {}

    @property
    def documents(self) -> int:
        """How many documents it holds."""
        return int(self._searcher.num_docs)

    @property
    def is_worn(self) -> bool:
        """Whether former versions have piled up, so that a rewriting pays: they are part of the mean length."""
        former = int(self._searcher.doc_freq("any", True)) - self.documents
        return former > 10 + self.documents // 4

    def marks(self, among: Sequence[int] | None = None) -> dict[int, int]:
        """Return the mark of every document, or of those among some, by row number."""
        from tantivy import FieldType, Occur, Query

        searcher = self._searcher
        found: dict[int, int] = {}
        with _translated("read"):
            if among is not None:
                hits = self._all_hits(searcher, [(Occur.Must, self._one_of(among))])
                return dict(zip(self._seqs(searcher, hits).tolist(), _values(searcher, "mark", hits), strict=True))
            first = 0
            while len(found) < searcher.num_docs:
                page = Query.range_query(self._schema, "seq", FieldType.Unsigned, first, first + PAGE - 1)
                hits = self._all_hits(searcher, [(Occur.Must, page)])
                found.update(zip(_values(searcher, "seq", hits), _values(searcher, "mark", hits), strict=True))
                first += PAGE
        return found

    def close(self) -> None:
        """End the writer after its merges; reading goes on."""
        with self._guard:
            if self._writer is not None:
                writer, self._writer = self._writer, None
                with _translated("closed"):
                    writer.wait_merging_threads()

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        with self._guard, _translated("written"):
            writer = self._writer = self._writer or self._new_writer()
            try:
                yield writer
                writer.commit()
            except BaseException:  # half of it must not go with the next commit; raised again
                self._writer = None
                with suppress(Exception):
                    writer.rollback()
                with suppress(Exception):  # gives its lock back: the error that is raised keeps the writer alive
                    writer.wait_merging_threads()
                raise
            self.refresh()

    def _new_writer(self) -> Any:
        """Return the one writer of the index, after clearing away what a killed one has left.

        A kill in the middle of a commit leaves files that no segment knows. The next commit has the same number, and
        cannot make a file of the same name.
        """
        # One thread: the same writes make the same index.
        writer = self._index.writer(WRITER_BYTES, 1)
        writer.garbage_collect_files()
        if self._folder is not None:
            for path in self._folder.glob(".tmp*"):
                path.unlink(missing_ok=True)
        return writer

    def _newest(self) -> int:
        """Return the highest row number in the index."""
        from tantivy import Order, Query

        newest = self._searcher.search(Query.all_query(), 1, order_by_field="seq", order=Order.Desc).hits
        return int(self._seqs(self._searcher, newest)[0]) if newest else 0

    def _any_word(
        self, searcher: Searcher, query: WordQuery, among: Sequence[int] | None, *, all_phrases: bool
    ) -> Query:
        from tantivy import Occur, Query

        counted = zip(query.words, query.counts, strict=True)
        any_word = Query.boolean_query([(Occur.Should, self._weighted(searcher, *one)) for one in counted])
        parts = [(Occur.Must, any_word)]
        if among is not None:
            parts.append((Occur.Must, self._one_of(among)))
        if all_phrases:
            parts += [(Occur.Must, Query.const_score_query(self._phrase(p), 0.0)) for p in query.phrases]
        return any_word if len(parts) == 1 else Query.boolean_query(parts)

    def _weighted(self, searcher: Searcher, word: str, count: int) -> Query:
        """Return the query for a word with the weight that it would have without the former versions.

        A document that is replaced or deleted is counted by tantivy until a merge takes it out: a rare word of a text
        that is edited often would lose most of its weight.
        """
        from tantivy import Query

        if word not in self._boosts:
            self._boosts[word] = self._boost(searcher, word)
        boost = count * self._boosts[word]
        return self._word(word) if boost == 1.0 else Query.boost_query(self._word(word), boost)

    def _boost(self, searcher: Searcher, word: str) -> float:
        counted, documents = searcher.doc_freq("any", True), searcher.num_docs
        with_word = searcher.doc_freq("text", word)
        if counted == documents or with_word == 0:
            return 1.0
        return _idf(documents, self._living(searcher, word)) / _idf(counted, with_word)

    def _living(self, searcher: Searcher, word: str) -> int:
        """Return how many documents hold a word, former versions left out."""
        with_word = int(searcher.doc_freq("text", word))
        if with_word == 0 or searcher.doc_freq("any", True) == searcher.num_docs:
            return with_word
        found: Any = searcher.search(self._word(word), 1)  # its type lacks the count
        return int(found.count)

    def _word(self, word: str) -> Query:
        from tantivy import Query

        return Query.term_query(self._schema, "text", word)

    def _phrase(self, phrase: tuple[str, ...]) -> Query:
        from tantivy import Query

        return self._word(phrase[0]) if len(phrase) == 1 else Query.phrase_query(self._schema, "text", list(phrase))

    def _one_of(self, seqs: Sequence[int]) -> Query:
        from tantivy import Query

        return Query.const_score_query(Query.term_set_query(self._schema, "seq", [int(seq) for seq in seqs]), 0.0)

    def _all_hits(self, searcher: Searcher, parts: list[Any]) -> Any:
        from tantivy import Query

        query = Query.const_score_query(Query.boolean_query(parts), 1.0)
        return searcher.search(query, max(1, searcher.num_docs), count=False).hits

    def _seqs(self, searcher: Searcher, hits: Any) -> np.ndarray:
        return np.array(_values(searcher, "seq", hits), dtype=np.int64)


def _values(searcher: Searcher, name: str, hits: Any) -> list[Any]:
    return searcher.fast_field_values(name, [address for _, address in hits])


def _idf(documents: int, with_word: int) -> float:
    return math.log1p((documents - with_word + 0.5) / (with_word + 0.5))


def _rounded(scores: Sequence[float]) -> np.ndarray:
    """Return scores with 17 bits: sums of float32 differ in the last few with the order of their terms."""
    mantissas, exponents = np.frexp(np.array(scores, dtype=np.float64))
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissas, 17)), exponents - 17))
