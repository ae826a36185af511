"""The page of benchmarks, docs/benchmarks.md, from the records alone: ``python -m benchmarks.page``.

``python -m benchmarks.speed_runs`` makes the records. The same records give the same bytes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.page_shares import shares
from benchmarks.pages import insert
from benchmarks.pql_figures import STYLE, head, line
from benchmarks.pql_records import read_record
from benchmarks.speed_cases import WORK, Least, Work
from benchmarks.speed_runs import SPEED
from benchmarks.speed_shares import RECORD

__all__ = ["main"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
KINDS = SPEED.parent / "speed_kinds"
OURS = "lmmformula"
COLOURS = {OURS: "#0b5fa5", "before": "#8fb4d4"}
PEER = "#c77f0a"
OFF = 1e-3
"""What log-likelihoods may differ by: the default stopping rules of good optimisers leave that much."""
Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the page and its record."""

    work: Work
    record: Mapping[str, Any]

    def runs(self, who: str) -> list[Run]:
        return [r for r in self.record["runs"] if r["who"] == who]

    @property
    def programs(self) -> list[str]:
        return list(dict.fromkeys(r["who"] for r in self.record["runs"]))

    def median(self, who: str, what: str) -> float | None:
        """Over the rounds."""
        found = [r[what] for r in self.runs(who) if r["status"] == "ok" and r.get(what) is not None]
        return statistics.median(found) if found else None

    def ratio(self, who: str, what: str) -> float | None:
        """Theirs over ours."""
        theirs, ours = self.median(who, what), self.median(OURS, what)
        return theirs / ours if theirs and ours else None

    @property
    def load(self) -> tuple[float, float]:
        """Least and largest number of processes that wanted a core, these included."""
        loads = [x for r in self.record["runs"] for x in r.get("load", [])]
        return (min(loads), max(loads)) if loads else (0.0, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=SPEED, help="folder of the records")
    parser.add_argument("--kinds", type=Path, default=KINDS, help="folder of the records by kind of work")
    parser.add_argument("--page", type=Path, default=PAGE, help="page whose tables are replaced")
    options = parser.parse_args(arguments)
    lines = [
        Line(work, record)
        for name, work in WORK.items()
        if (record := read_record(options.results / f"{name}.json"))
    ]
    tables = {"programs": _programs(lines), "arithmetic": _arithmetic(lines), "plans": _plans(lines)}
    tables["shares"] = shares(read_record(options.results / RECORD.name))
    insert(options.page, tables | {"kinds": _kinds(options.kinds)})
    for path in _draw(lines, options.page.parent / "figures"):
        print(path)
    return 0


# -- tables --------------------------------------------------------------------------------------------------------------


def _programs(lines: Sequence[Line]) -> str:
    """Every program on every line."""
    names = [
        "work",
        "program",
        "seconds",
        "processor",
        "times ours",
        "memory added (MB)",
        "log-likelihood",
        "load",
    ]
    out = head(names)
    for one in lines:
        reference = one.median(OURS, "loglik")
        for k, who in enumerate(one.programs):
            first = one.work.title if k == 0 else ""
            out.append(line(_row(one, who, first, reference)))
    return "\n".join(out)


def _row(one: Line, who: str, title: str, reference: float | None) -> list[str]:
    runs = one.runs(who)
    good = [r for r in runs if r["status"] == "ok"]
    version = next((r["version"] for r in runs if r.get("version")), "")
    name = who if who == "before" else f"{who} {version}".strip()
    if not good:
        return [title, name, runs[-1]["status"], "", "", "", "", ""]
    errors = one.median(who, "errors") if who in (OURS, "before") else None
    seconds = _seconds(one.median(who, "seconds")) + (f" + {_seconds(errors)}" if errors else "")
    ratio = " / ".join(
        "" if (x := one.ratio(who, what)) is None else f"{x:.2g}" for what in ("seconds", "cpu")
    )
    memory, before, loglik = (one.median(who, what) for what in ("memory", "before", "loglik"))
    added = f"{memory - before:,.0f}" if memory is not None and before is not None else ""
    off = (
        loglik is not None and reference is not None and abs(loglik - reference) > OFF + 1e-9 * abs(reference)
    )
    value = "" if loglik is None else f"{loglik:.3f}" + (" *" if off else "")
    least, most = one.load
    share = "" if who != OURS else f"{least:.1f} - {most:.1f}"
    return [
        title,
        name,
        seconds,
        _seconds(one.median(who, "cpu")),
        "" if who == OURS else ratio,
        added,
        value,
        share,
    ]


def _arithmetic(lines: Sequence[Line]) -> str:
    """What could not be left out, at the rates of the machine, beside our time."""
    out = head(["work", "what is counted", "at the machine's rates", "ours, processor / cores", "times"])
    for one in lines:
        if one.work.least is None:
            continue
        rates = one.record["machine"]["rates"]
        floor, cpu = one.work.least.seconds(rates), one.median(OURS, "cpu")
        if cpu is None:
            continue
        ours = cpu / rates["threads"]
        cells = [one.work.title, one.work.least.words, _seconds(floor), _seconds(ours), f"{ours / floor:.1f}"]
        out.append(line(cells))
    return "\n".join(out)


def _kinds(folder: Path) -> str:
    """Processor seconds by kind of work, beside what each needs at the machine's rates."""
    out = head(["work", "kind", "calls", "processor", "at the machine's rates", "times"])
    for record in filter(None, (read_record(folder / f"{name}.json") for name in WORK)):
        for which, title in (("kinds", record["title"]), ("errors", "the same: standard errors")):
            for k, row in enumerate(record.get(which, ())):
                floor = Least("", row["stream"], row["gather"], row["flops"]).seconds(record["rates"])
                times = f"{row['cpu'] / floor:.1f}" if floor else ""
                cells = [title if k == 0 else "", row["kind"], f"{row['calls']:,}" if row["calls"] else ""]
                out.append(line([*cells, _seconds(row["cpu"]), _seconds(floor or None), times]))
    return "\n".join(out)


def _plans(lines: Sequence[Line]) -> str:
    """What the plan promised."""
    out = head(["work", "planned", "measured", "processor / cores", "planned / measured"])
    for one in lines:
        planned, seconds, cpu = (one.median(OURS, what) for what in ("planned", "seconds", "cpu"))
        if planned is None or seconds is None or cpu is None:
            continue
        half = cpu / one.record["machine"]["rates"]["threads"]
        cells = [one.work.title, *map(_seconds, (planned, seconds, half)), f"{planned / seconds:.2f}"]
        out.append(line(cells))
    return "\n".join(out)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


# -- figures -------------------------------------------------------------------------------------------------------------


def _draw(lines: Sequence[Line], folder: Path) -> Iterator[Path]:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    for name, draw in (("benchmarks", _bars), ("benchmarks_plans", _promised)):
        path = folder / f"{name}.svg"
        with mpl.rc_context(STYLE):
            figure = draw(plt, lines)
            figure.savefig(path, metadata={"Date": None, "Creator": None})
            plt.close(figure)
        yield path


def _bars(plt: Any, lines: Sequence[Line]) -> Any:
    """Processor seconds of every program, line under line."""
    bars = [
        (one.work.name if k == 0 else "", who, cpu)
        for one in lines
        for k, who in enumerate(one.programs)
        if (cpu := one.median(who, "cpu")) is not None
    ]
    figure, ax = plt.subplots(figsize=(8.4, 0.26 * len(bars) + 1.0), layout="constrained")
    at = range(len(bars))
    ax.barh(at, [b[2] for b in bars], color=[COLOURS.get(b[1], PEER) for b in bars], height=0.75)
    for k, (_, who, cpu) in enumerate(bars):
        ax.annotate(f" {who} {_seconds(cpu)}", (cpu, k), va="center", fontsize=7)
    ax.set_yticks(list(at), [b[0] for b in bars], fontsize=8)
    ax.set(xscale="log", xlabel="processor seconds of one fit")
    ax.margins(x=0.25, y=0.01)
    ax.invert_yaxis()
    return figure


def _promised(plt: Any, lines: Sequence[Line]) -> Any:
    """Planned against measured seconds, with the band of a factor of two."""
    found = [(one.median(OURS, "planned"), one.median(OURS, "seconds"), one.work.name) for one in lines]
    points = [(p, s, name) for p, s, name in found if p and s]
    figure, ax = plt.subplots(figsize=(4.8, 4.2), layout="constrained")
    ends = [min(s for _, s, _ in points) / 3, max(s for _, s, _ in points) * 3] if points else [0.1, 1.0]
    ax.fill_between(ends, [e / 2 for e in ends], [e * 2 for e in ends], color="0.9", linewidth=0)
    ax.plot(ends, ends, color="0.6", linewidth=1)
    ax.plot([s for _, s, _ in points], [p for p, _, _ in points], "o", color=COLOURS[OURS], markersize=4)
    for planned, seconds, name in points:
        ax.annotate(f" {name}", (seconds, planned), fontsize=7, va="center")
    ax.set(xscale="log", yscale="log", xlabel="seconds measured", ylabel="seconds planned")
    return figure


if __name__ == "__main__":
    sys.exit(main())
