"""Whether a change moved any number: a record of some 80 fits, written before it and compared after it.

    python -m benchmarks.golden write golden.json
    python -m benchmarks.golden compare golden.json
    python -m benchmarks.golden write golden.json --package ../before

``--package DIR`` takes lmmformula from another checkout, so that this file can write the record of one that lacks it.
``--only`` names cases, or parts of names; ``write`` then leaves the others as they are. ``compare`` prints what moved and exits
with 1 if a number did; texts and draws that differ are printed too, and count with ``--strict``. Draws are compared one by one;
where they differ, z of their means says whether the distribution is the same, and what follows from them moves with them.

A difference counts relative to the largest element of a short vector, or to the norm of a long one. Other kernels of BLAS on
another processor move some numbers by more than 1e-8, where an optimum is flat or a search ends at its tolerance.
``--floor FILE`` names a second record of the same code, written for example with ``OPENBLAS_CORETYPE=Nehalem``: what moves
between the two may move ten times as far. "deviance at" is the criterion at fixed covariance parameters, which no search
touches.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["compare", "main", "write"]

BAR = 1e-8
"""Relative difference up to which a number has not moved."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry that is not as it was.

    Attributes
    ----------
    case, entry : str
    what : {"numbers", "follows", "draws", "text", "missing"}
        "follows" are numbers of a posterior whose draws are others.
    size : float
        Relative difference; of draws, the largest z of a mean.
    bar : float
    about : str
    """

    case: str
    entry: str
    what: str
    size: float
    bar: float
    about: str

    @property
    def counts(self) -> bool:
        """Whether a number moved; texts and draws of the same distribution do not count."""
        return {"text": False, "follows": False, "draws": self.size > self.bar}.get(self.what, True)


def run(only: str, record: Record | None = None) -> dict[str, Any]:
    """Every entry of the cases chosen, at the covariance parameters of an earlier record."""
    from benchmarks.golden_cases import CASES
    from benchmarks.golden_record import record as record_of

    out: dict[str, Any] = {}
    for name, case in CASES.items():
        if chosen(name, only):
            known = {} if record is None else record.get(name, {})
            begun = time.perf_counter()
            try:
                out[name] = record_of(case, known.get("at"))
            except Exception as error:  # a fit that fails is a difference, not the end of the record
                out[name] = {
                    "at": known.get("at", []),
                    "entries": {},
                    "failed": f"{type(error).__name__}: {error}",
                }
            print(f"  {name:<28}{time.perf_counter() - begun:7.1f} s", file=sys.stderr, flush=True)
    return out


def chosen(name: str, only: str) -> bool:
    """Whether one of the comma-separated parts is in the name."""
    return any(part in name for part in only.split(","))


def write(path: Path, only: str) -> None:
    """The record of the lmmformula that is imported."""
    import lmmformula

    begun = time.perf_counter()
    fits = run(only)
    earlier = _fits(path) if only and path.exists() else {}
    record = {
        "package": lmmformula.__file__,
        "seconds": round(time.perf_counter() - begun, 1),
        "fits": {**earlier, **fits},
    }
    path.write_text(json.dumps(record, indent=0), encoding="utf-8")
    entries = [e for f in fits.values() for e in f["entries"].values()]
    refused = sum(e["is"] == "refused" for e in entries)
    failed = [f"{name}: {f['failed']}" for name, f in fits.items() if "failed" in f]
    print(
        f"{len(fits)} fits, {len(entries)} entries ({refused} refused), {record['seconds']} s -> {path}",
        *failed,
        sep="\n",
    )


def compare(before: Record, after: Record, floor: Record | None = None) -> Iterator[Difference]:
    """What differs between two records, the second of which may lack cases."""
    for case, now in after.items():
        if case not in before:
            continue
        if "failed" in now:
            yield Difference(case, "fit", "missing", math.inf, 0.0, now["failed"])
            continue
        earlier = before[case]["entries"]
        slacks = {} if floor is None else _slacks(earlier, floor.get(case, {"entries": {}})["entries"])
        found = [
            _entry(case, entry, old, now["entries"].get(entry), slacks) for entry, old in earlier.items()
        ]
        others = any(d.what == "draws" and d.about for d in found)
        for d in found:
            if d.size > d.bar or (d.what == "draws" and d.about):
                yield replace(d, what="follows") if others and d.what == "numbers" else d


def _slacks(before: Record, other: Record) -> dict[str, float]:
    """How far each entry of numbers lies from that of another processor."""
    return {
        entry: _difference("", "", old, other[entry], 0.0).size
        for entry, old in before.items()
        if entry in other and old["is"] == other[entry]["is"] == "numbers"
    }


def _entry(case: str, entry: str, old: Record, new: Record | None, slacks: Mapping[str, float]) -> Difference:
    if new is None:
        return Difference(case, entry, "missing", math.inf, 0.0, "no such entry")
    return _difference(case, entry, old, new, max(BAR, 10.0 * slacks.get(entry, 0.0)))


def _difference(case: str, entry: str, old: Record, new: Record, bar: float) -> Difference:
    if old["is"] != new["is"]:
        said = f"{old['is']} {old['values'][:1]} became {new['is']} {new['values'][:1]}"
        return Difference(case, entry, "missing", math.inf, bar, said)
    if old["is"] in ("text", "refused"):
        return _text_difference(case, entry, old["values"], new["values"])
    if len(old["values"]) != len(new["values"]):
        said = f"{len(old['values'])} numbers became {len(new['values'])}"
        return Difference(case, entry, "missing", math.inf, bar, said)
    if old["is"] == "draws":
        if all(_close(a, b) for a, b in zip(old["values"], new["values"], strict=True)):
            return Difference(case, entry, "draws", 0.0, 5.0, "")
        return Difference(
            case, entry, "draws", _z(old, new), 5.0, "other draws; size is the largest z of a mean"
        )
    sizes = [_relative(*each) for each in zip(old["values"], new["values"], old["scale"], strict=True)]
    worst = max(range(len(sizes)), key=sizes.__getitem__, default=None)
    if worst is None:
        return Difference(case, entry, "numbers", 0.0, bar, "")
    said = f"[{worst}] {old['values'][worst]!r} -> {new['values'][worst]!r}"
    return Difference(case, entry, "numbers", sizes[worst], bar, said)


def _text_difference(case: str, entry: str, old: list[str], new: list[str]) -> Difference:
    lines = [(a, b) for a, b in zip(old, new, strict=False) if a != b]
    if not lines and len(old) == len(new):
        return Difference(case, entry, "text", 0.0, 0.0, "")
    before, after = lines[0] if lines else (f"{len(old)} lines", f"{len(new)} lines")
    return Difference(case, entry, "text", 1.0, 0.0, f"{before.strip()!r} -> {after.strip()!r}")


def _relative(old: float, new: float, scale: float) -> float:
    if math.isnan(old) or math.isnan(new):
        return 0.0 if math.isnan(old) == math.isnan(new) else math.inf
    if old == new:
        return 0.0
    return abs(new - old) / scale if scale > 0.0 else abs(new - old)


def _close(old: float, new: float) -> bool:
    return math.isclose(old, new, rel_tol=BAR, abs_tol=1e-9) or (math.isnan(old) and math.isnan(new))


def _z(old: Record, new: Record) -> float:
    """Largest difference of means in units of its standard error."""
    sizes = [
        abs(a - b) / math.hypot(s, t)
        for a, b, s, t in zip(old["means"], new["means"], old["errors"], new["errors"], strict=True)
        if math.hypot(s, t) > 0.0
    ]
    return max(sizes, default=0.0)


def _worst(before: Record, after: Record) -> float:
    """The largest relative difference of any number of a fit."""
    return max(_slacks(before["entries"], after["entries"]).values(), default=0.0)


def show(before: Record, after: Record, found: list[Difference]) -> None:
    """A line for each fit that is not exactly as it was, and one for each entry that differs."""
    worst = {name: _worst(before[name], fit) for name, fit in after.items() if name in before}
    exact = [name for name, size in worst.items() if size == 0.0]
    print(
        f"{len(worst)} fits compared, {len(exact)} of them the same to the last digit; largest relative differences:"
    )
    for name, size in sorted(worst.items(), key=lambda item: -item[1]):
        if size > 0.0:
            print(f"  {name:<28}{size:9.1e}")
    for title, part in (
        ("MOVED", [d for d in found if d.counts]),
        ("numbers that follow from other draws, beyond the floor", [d for d in found if d.what == "follows"]),
        ("other draws, the same distribution", [d for d in found if d.what == "draws" and not d.counts]),
        ("other text", [d for d in found if d.what == "text"]),
    ):
        print(f"{title}: {len(part)}")
        for d in part:
            print(f"  {d.case:<25} {d.entry:<26} {d.what:<8}{d.size:9.1e}  {d.about[:150]}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.golden", description=__doc__)
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--package", type=Path, help="checkout whose lmmformula is used")
    parser.add_argument("--only", default="", help="parts of names of cases, separated by commas")
    parser.add_argument("--floor", type=Path, help="second record of the code that wrote FILE")
    parser.add_argument(
        "--with", dest="other", type=Path, help="compare FILE with this record and not with a new run"
    )
    parser.add_argument("--strict", action="store_true", help="other texts and draws count too")
    given = parser.parse_args()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if given.package is not None:
        sys.path.insert(0, str(given.package.resolve()))
    if given.what == "write":
        write(given.file, given.only)
        return 0
    before = _fits(given.file)
    after = run(given.only, before) if given.other is None else _fits(given.other)
    floor = None if given.floor is None else _fits(given.floor)
    found = list(compare(before, after, floor))
    show(before, after, found)
    return int(any(d.counts or given.strict for d in found))


def _fits(path: Path) -> Record:
    return json.loads(path.read_text(encoding="utf-8"))["fits"]


if __name__ == "__main__":
    raise SystemExit(main())
