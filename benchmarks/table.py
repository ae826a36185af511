"""Measurements of several rounds, put into tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.measure import Measurement

__all__ = ["Rounds", "details", "expected_loglik", "ratios", "wrong"]

Rounds = Mapping[tuple[str, str], Sequence[Measurement]]
"""Measurements of (problem, peer), a round each."""

LOGLIK_ABS = 1e-3


def expected_loglik(rounds: Rounds, problem: str, known: float | None) -> float | None:
    """The known log-likelihood; otherwise lme4's; otherwise the median over the peers."""
    if known is not None:
        return known
    found = {
        peer: m.loglik for (p, peer), ms in rounds.items() if p == problem for m in ms if m.loglik is not None
    }
    if "lme4" in found:
        return found["lme4"]
    return statistics.median_low(found.values()) if found else None


def wrong(loglik: float | None, expected: float | None) -> bool:
    """Whether a log-likelihood is off by more than the default stopping rules of good optimisers leave."""
    return (
        loglik is None or expected is None or not abs(loglik - expected) <= LOGLIK_ABS + 1e-9 * abs(expected)
    )


def ratio(peer: Sequence[Measurement], base: Sequence[Measurement]) -> float | None:
    """Median over rounds of the ratio of times; each ratio compares neighbours in time."""
    pairs = [(a.seconds, b.seconds) for a, b in zip(peer, base, strict=False)]
    return statistics.median(a / b for a, b in pairs if a and b) if any(a and b for a, b in pairs) else None


def ratios(rounds: Rounds, expected: Mapping[str, float | None], baseline: str) -> str:
    """One row per problem: seconds of the baseline, then each peer's time over the baseline's."""
    problems = list(dict.fromkeys(problem for problem, _ in rounds))
    peers = [peer for peer in dict.fromkeys(peer for _, peer in rounds) if peer != baseline]
    rows = [["problem", baseline, *peers]]
    for problem in problems:
        base = rounds.get((problem, baseline), [])
        cells = [problem, _cell(base, None, expected[problem])]
        for peer in peers:
            theirs = rounds[problem, peer]
            cells.append(_cell(theirs, ratio(theirs, base), expected[problem]))
        rows.append(cells)
    return _aligned(rows)


def details(rounds: Rounds, expected: Mapping[str, float | None]) -> str:
    """One row per problem and peer."""
    rows = [
        ["problem", "peer", "version", "median", "first", "peak MB", "before", "logLik", "off by", "note"]
    ]
    for (problem, peer), measurements in rounds.items():
        last = measurements[-1]
        if last.status != "ok":
            rows.append([problem, peer, "", "", "", "", "", "", "", f"{last.status}: {last.note}"])
            continue
        seconds = [m.seconds for m in measurements if m.seconds is not None]
        target, loglik = expected[problem], last.loglik
        off = "" if target is None or loglik is None else f"{loglik - target:+.1e}"
        fits = sum(m.fits for m in measurements)
        numbers = [_time(statistics.median(seconds)), _time(last.first), _mb(last.memory), _mb(last.before)]
        text = "" if loglik is None else f"{loglik:.6f}"
        rows.append([problem, peer, last.version, *numbers, text, off, f"{fits} fits"])
    return _aligned(rows)


def _cell(measurements: Sequence[Measurement], share: float | None, expected: float | None) -> str:
    if not measurements:
        return ""
    good = [m for m in measurements if m.status == "ok"]
    if not good:
        return measurements[-1].status
    mark = " *" if any(wrong(m.loglik, expected) for m in good) else ""
    if share is None:
        return _time(statistics.median(m.seconds for m in good if m.seconds is not None)) + mark
    return f"{share:.3g}x" + mark


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
