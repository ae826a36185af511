"""The table of the page that says where the seconds of crossed models by iterations go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.pql_figures import head, line
from benchmarks.share_kinds import KINDS, WAITING
from benchmarks.speed_cases import WORK

__all__ = ["floor_of", "shares"]

_RATES = {"stream": "stream", "lines": "gather", "halves": "halves", "numbers": "numbers"}
"""What is moved, and the machine's rate for it."""
LEAST = 0.005
"""Share of a fit below which a kind of work has no line of its own."""


def shares(record: Mapping[str, Any]) -> str:
    """A line for each kind of work of each fit."""
    moves = ("in order (GB)", "lines (10^6)", "numbers (10^6)")
    out = head(["work", "kind", "processor", "share", "clock", *moves, "at the machine's rates", "times"])
    for one in record.get("lines", []):
        rates = record["machine"]["rates"][str(one["levels"])]
        whole = sum(own["seconds"] for own in one["processor"].values())
        title = _title(one)
        for kind in KINDS:
            own, clock = one["processor"][kind], one["clock"][kind]
            if max(own["seconds"], clock if kind == WAITING else 0.0) < LEAST * whole:
                continue
            floor = floor_of(own, rates)
            cells = [title, kind, _seconds(own["seconds"]), f"{own['seconds'] / whole:.0%}", _seconds(clock)]
            lines = own["lines"] + own["halves"]
            cells += [_count(own["stream"], 1e9), _count(lines, 1e6), _count(own["numbers"], 1e6)]
            cells += [_seconds(floor), f"{own['seconds'] / floor:.1f}"] if floor else ["", ""]
            out.append(line(cells))
            title = ""
        floor = sum(floor_of(own, rates) for own in one["processor"].values())
        counted = sum(own["seconds"] for own in one["processor"].values() if floor_of(own, rates))
        cells = ["", "**all**", _seconds(whole), "", _seconds(sum(one["clock"].values())), "", "", ""]
        out.append(line([*cells, _seconds(floor), f"{counted / floor:.1f}"]))
    return "\n".join(out)


def floor_of(own: Mapping[str, float], rates: Mapping[str, float]) -> float:
    """Seconds that what is moved takes at the rates of the machine, one kind of memory after the other."""
    return sum(own[name] / rates[rate] for name, rate in _RATES.items())


def _title(one: Mapping[str, Any]) -> str:
    """What the line is called, and by how many rows it was looked at."""
    work = WORK[one["work"]]
    if one["rows"] == work.problem.rows:
        return work.title
    return f"{work.title} (by {one['rows']:,} rows, {one['levels']:,} x {one['levels']:,} levels)"


def _count(value: float, unit: float) -> str:
    return f"{value / unit:.3g}" if value else ""


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1.0 else f"{value * 1e3:.3g} ms"
