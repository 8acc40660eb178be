"""``kb reembed``."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from kb.cli import render
from kb.cli.options import Shared, shared
from kb.cli.running import exit_code, run_steps, working

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kb.catalog import Job, StoredGeneration
    from kb.collection import Collection
    from kb.evaluate import Gate
    from kb.generations import GenerationStatus
    from kb.knowledge_base import KnowledgeBase
    from kb.maintain import ReembedEstimate
    from kb.reembedding import ReembedRequest


P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class _Given:
    """What is asked for: a recipe, how it is built, or one of the other things that are done with generations."""

    model: str | None
    template: str | None
    chunks: tuple[int, int | None] | None
    max_rate: float | None
    sample: int | None
    dry_run: bool
    status: bool
    promote: bool
    rollback: bool
    discard: bool

    @property
    def others(self) -> list[str]:
        """The options that build nothing."""
        chosen = {
            "--status": self.status,
            "--promote": self.promote,
            "--rollback": self.rollback,
            "--discard": self.discard,
        }
        return [name for name, given in chosen.items() if given]


class _Chunks(click.ParamType[tuple[int, int | None]]):
    """``TOKENS`` or ``TOKENS/OVERLAP``."""

    name = "chunks"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int | None]:
        tokens, slash, overlap = str(value).partition("/")
        if not tokens.isdecimal() or (slash and not overlap.isdecimal()):
            self.fail(f"'{value}' is not TOKENS or TOKENS/OVERLAP, e.g. 256/32", param, ctx)
        return int(tokens), int(overlap) if slash else None


def _given(function: Callable[Concatenate[_Given, P], int]) -> Callable[P, int]:
    """Give the command its options; it takes them as one argument."""

    @click.option("--model", metavar="NAME", help="Another embedding model: kb models lists them.")
    @click.option("--template", metavar="TEXT", help="Another text template, e.g. '{title}: {body}'.")
    @click.option("--chunks", type=_Chunks(), metavar="N[/OVERLAP]", help="Tokens a chunk, and of overlap.")
    @click.option("--max-rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Most texts a second.")
    @click.option("--sample", type=click.IntRange(1), metavar="N", help="Try it on N documents; store nothing.")
    @click.option("--dry-run", is_flag=True, help="Only show what it would cost.")
    @click.option("--status", is_flag=True, help="Show the generations.")
    @click.option("--promote", is_flag=True, help="Let the generation that was built serve.")
    @click.option("--rollback", is_flag=True, help="Let the one that served before serve again.")
    @click.option("--discard", is_flag=True, help="Delete the one that was built, or is being built.")
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> int:
        given = _Given(**{name: options.pop(name) for name in _Given.__dataclass_fields__})
        return function(given, *args, **options)

    return wrapper


@click.command()
@_given
@shared
def reembed(options: Shared, given: _Given) -> int:
    """Make all vectors anew by another model, template or chunking.

    The new generation is built beside the one that serves: a job that can be
    stopped and resumed, while everybody searches and writes as before. Then
    the two are compared, and --promote lets the new one serve. Without a
    recipe, it goes on building, or does what config.toml declares now.

    \b
    Examples:
      kb reembed --model all-mpnet-base-v2 --dry-run
      kb reembed --promote
    """
    if len(given.others) > 1:
        raise click.UsageError(f"say one of {', '.join(given.others)}")
    if given.others and any((given.model, given.template, given.chunks, given.max_rate, given.sample, given.dry_run)):
        raise click.UsageError(f"{given.others[0]} builds nothing: leave the other options out")
    with options.open() as base:
        collection = base.stored_collection(options.collection)
        if given.status:
            _print_status(options, collection.generations())
        elif given.promote or given.rollback:
            _serve(options, base, collection, is_promotion=given.promote)
        elif given.discard:
            _print_discarded(options, collection.discard())
        else:
            return _build(options, base, collection, given)
    return 0


def _build(options: Shared, base: KnowledgeBase, collection: Collection, given: _Given) -> int:
    request = _request(base, collection, given)
    if given.sample is not None:
        with working(options, "embedding the sample"):
            gate = collection.try_reembed(request, given.sample)
        _print_gate(options, gate)
        options.note("nothing was stored")
        return 0
    with working(options, "looking at the documents"):
        estimate = collection.estimate_reembed(request)
    if given.dry_run:
        _print_estimate(options, estimate)
        return 0
    options.note(_told(estimate))
    job = run_steps(options, base, collection.reembed_steps(request))
    print_built(options, collection, job)
    return exit_code(job)


def _request(base: KnowledgeBase, collection: Collection, given: _Given) -> ReembedRequest:
    from kb.reembedding import ReembedRequest

    tokens, overlap = given.chunks or (None, None)
    request = ReembedRequest(given.model, given.template, tokens, overlap, given.max_rate)
    if request.names_a_recipe or any(str(one.generation.state) == "building" for one in collection.generations()):
        return request
    return replace(base.declared_recipe(collection.name), max_rate=given.max_rate)


def _serve(options: Shared, base: KnowledgeBase, collection: Collection, *, is_promotion: bool) -> None:
    from kb.first_config import write_recipe

    before = next(one.generation for one in collection.generations() if str(one.generation.state) == "active")
    with working(options, "taking over what is left"):
        now = collection.promote() if is_promotion else collection.rollback()
    keys = write_recipe(base.settings.root, collection.name, before.recipe, now.recipe)
    if options.format == "table":
        render.tell(f"{now.name} serves '{collection.name}' now: {_recipe(now)}")
    else:
        _print_one(options, _generation_object(now))
    if keys:
        options.note(f"config.toml: wrote {', '.join(keys)} of [collections.{collection.name}]")
    options.note(f"{before.name} is kept, and follows what is written: kb reembed --rollback lets it serve again")


def print_built(options: Shared, collection: Collection, job: Job) -> None:
    """Print the figures of a job that builds a generation, and how the generation compares with the one that serves."""
    status = next((one for one in collection.generations() if one.job is not None and one.job.id == job.id), None)
    gate = None if status is None else status.gate
    if options.format != "table":
        found = render.job_object(job) | {
            "generation": None if status is None else status.generation.name,
            "gate": None if gate is None else asdict(gate),
        }
        _print_one(options, found)
    else:
        name = "" if status is None else f" {status.generation.name}"
        render.tell(
            f"built{name}: {render.counted(job.counts.read, 'document')}, "
            f"{render.counted(job.counts.embedded, 'text')} embedded, {job.seconds:.1f} s, job {job.id}"
        )
        if gate is not None:
            _print_gate(options, gate)
    if str(job.status) == "cancelled":
        options.note("the job was cancelled; kb reembed goes on with what is built, kb reembed --discard deletes it")
    else:
        options.note("kb reembed --promote lets it serve; kb reembed --discard deletes it")


def _print_status(options: Shared, found: Sequence[GenerationStatus]) -> None:
    if options.format != "table":
        rows = [_status_object(one) for one in found]
        render.print_rows(rows, options.format, columns=list(rows[0]) if rows else ["name"])
        return
    made = render.table("generation", "state", "recipe", "waiting", "begun", right=["waiting"], wrap=["recipe"])
    for one in found:
        begun = one.generation.created[:16].replace("T", " ")
        made.add_row(one.generation.name, str(one.generation.state), _recipe(one.generation), f"{one.waiting:,}", begun)
    if found:
        render.console().print(made)
    for one in found:
        if one.gate is not None and str(one.generation.state) == "building":
            _print_gate(options, one.gate)


def _print_gate(options: Shared, gate: Gate) -> None:
    if options.format != "table":
        _print_one(options, asdict(gate))
        return
    if gate.reason:
        render.tell(f"not compared with the generation that serves: {gate.reason}")
        return
    kind = "judged" if gate.judged else "made"
    queries = "query" if gate.queries == 1 else "queries"
    print(f"compared on {render.counted(gate.documents, 'document')} by {gate.queries:,} {kind} {queries}:")
    print(f"  overlap@10   {gate.overlap:.3f}")
    what = "documents that answer" if gate.judged else "the ten that serve"
    print(f"  rank change  {gate.rank_change:+.2f} ({what})")
    if gate.ndcg_before is not None and gate.ndcg_after is not None:
        change = gate.ndcg_after - gate.ndcg_before
        print(f"  nDCG@10      {gate.ndcg_before:.3f} → {gate.ndcg_after:.3f} ({change:+.3f})")


def _print_estimate(options: Shared, estimate: ReembedEstimate) -> None:
    if options.format == "table":
        render.tell(_told(estimate))
    else:
        _print_one(options, asdict(estimate))


def _print_discarded(options: Shared, name: str) -> None:
    if options.format == "table":
        print(f"discarded {name}")
    else:
        _print_one(options, {"discarded": name})


def _print_one(options: Shared, found: dict[str, Any]) -> None:
    if options.format == "json":
        render.print_json(found)
    else:
        render.print_rows([found], options.format, columns=list(found))


def _told(estimate: ReembedEstimate) -> str:
    about = "about " if estimate.is_sampled else ""
    seconds = estimate.seconds or 0.0
    took = f"{seconds:,.0f} s" if seconds < 100 else f"{seconds / 60:,.0f} min"
    return (
        f"{render.counted(estimate.documents, 'document')}, {about}{render.counted(estimate.chunks, 'chunk')}, "
        f"{about}{render.counted(estimate.texts, 'text')} to embed in about {took}; needs about "
        f"{estimate.bytes_needed / 1e6:,.1f} MB of disk, {estimate.bytes_free / 1e6:,.1f} MB are free"
    )


def _recipe(generation: StoredGeneration) -> str:
    recipe = generation.recipe
    template = recipe.template.replace("\n", "\\n")  # as it is written in config.toml
    return f"{recipe.model}, chunks {recipe.chunk_tokens}/{recipe.chunk_overlap}, {render.short(template, 60)}"


def _generation_object(generation: StoredGeneration) -> dict[str, Any]:
    recipe = generation.recipe
    return {
        "name": generation.name,
        "state": str(generation.state),
        "model": recipe.model,
        "template": recipe.template,
        "chunk_tokens": recipe.chunk_tokens,
        "chunk_overlap": recipe.chunk_overlap,
        "dimension": generation.dimension,
        "created": generation.created,
        "changed": generation.changed,
    }


def _status_object(one: GenerationStatus) -> dict[str, Any]:
    return _generation_object(one.generation) | {
        "waiting": one.waiting,
        "job": None if one.job is None else one.job.id,
        "gate": None if one.gate is None else asdict(one.gate),
    }
