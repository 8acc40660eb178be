"""Pictures, as PNG files in memory; drawn without a display."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kb.evaluate.bench_index import IndexBench, Measured

_DPI: Final = 160
_INK: Final = "#334155"
_FAINT: Final = "#94a3b8"
_COLORS: Final = {
    "exact": "#0f766e",
    "Chroma HNSW": "#c2410c",
    "FAISS FlatIP": "#7c3aed",
    "FAISS IVFFlat": "#2563eb",
}
_MARKS: Final = {"exact": "s", "Chroma HNSW": "D", "FAISS FlatIP": "^", "FAISS IVFFlat": "o"}


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty picture of so many inches, with quiet axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: it keeps every figure, and asks for a display.
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(which="both", colors=_INK, labelsize=9, length=3)
    return figure, axes


def to_png(figure: Figure) -> bytes:
    """Return a picture as a PNG file that is the same for the same picture."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def recall_plot(bench: IndexBench) -> bytes:
    """Return a picture of recall against time per query, fast to the left and good at the top, as a PNG file."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, axes = new_figure(8, 4.8)
    axes.set_xscale("log")
    for name in _COLORS:
        _draw(axes, name, [one for one in bench.measured if one.index == name])
    lowest = min(one.recall for one in bench.measured)
    axes.set_ylim(max(0.0, lowest - max(0.02, 0.08 * (1 - lowest))), 1 + max(0.005, 0.04 * (1 - lowest)))
    times = [one.p50 for one in bench.measured]
    axes.set_xlim(min(times) / 1.6, max(times) * 1.6)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("milliseconds per query, median (one thread)", color=_INK)
    axes.set_ylabel(f"recall@{bench.k} against exact search", color=_INK)
    axes.set_title(
        f"{bench.collection}: {bench.vectors:,} vectors of {bench.dimension} dimensions, {bench.queries:,} queries",
        loc="left",
        color=_INK,
        fontsize=11,
    )
    axes.legend(frameon=False, labelcolor=_INK, loc="lower right")
    return to_png(figure)


def _draw(axes: Axes, name: str, points: Sequence[Measured]) -> None:
    if not points:
        return
    x, y = [one.p50 for one in points], [one.recall for one in points]
    line = "-" if len(points) > 1 else ""
    label = f"{name}, by nprobe" if any(one.setting for one in points) else name
    axes.plot(x, y, marker=_MARKS[name], linestyle=line, color=_COLORS[name], label=label, markersize=7, clip_on=False)
    for one in points:
        if one.setting:
            axes.annotate(
                one.setting.removeprefix("nprobe "),
                (one.p50, one.recall),
                (6, -11),
                textcoords="offset points",
                fontsize=8,
                color=_COLORS[name],
            )
