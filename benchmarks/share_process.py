"""Where the time of one fit goes, in a fresh interpreter: ``python -P share_process.py REQUEST``, the request as JSON.

The protocol of :mod:`benchmarks.speed_process`, under a profiler. With one thread its clock is the thread's processor time;
with two it is the wall's, and what the first of them does and waits for is seen. The last line of the output is
the measurement.
"""

from __future__ import annotations

import cProfile
import json
import sys
import threading
import time
import types
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CALLS = {("machine_code.py", "__call__"), ("machine_code.py", "kinds_of"), ("compiled.py", "__call__")}
_ACCOUNTS = ("share_process.py", "share_kinds.py")
_ROOT = str(Path(__file__).resolve().parent.parent)


def main(text: str) -> None:
    sys.path.insert(0, _ROOT)
    from benchmarks.exchange import read_frame
    from benchmarks.speed_cases import WORK
    from benchmarks.speed_process import MARK

    request = json.loads(text)
    warnings.simplefilter("ignore")
    frame, small = (read_frame(Path(request[name])) for name in ("folder", "small_folder"))
    import lmmformula

    problem = WORK[request["work"]].problem
    lmmformula.fit(request["small_formula"], small, method="ml")
    clock = time.perf_counter if request["threads"] > 1 else time.thread_time
    loops, profile = _Loops(clock), cProfile.Profile(clock)
    start = clock()
    profile.enable()
    model = lmmformula.fit(problem.formula, frame, family=problem.family, method="krylov")
    profile.disable()
    seconds = clock() - start - loops.counting
    found = {"seconds": seconds, "loglik": float(model.llf), "kinds": _shares(profile, loops, seconds)}
    print(MARK + json.dumps(found), flush=True)


class _Loops:
    """Seconds of compiled loops on this thread, without loading them, and what those of all threads move, by kind."""

    def __init__(self, clock: Callable[[], float]) -> None:
        from benchmarks.share_kinds import Moved, kind_of_loop, moved_by
        from lmmformula.numerics.compiled import Kernel

        self.seconds, self.counting = defaultdict[str, float](float), 0.0
        self.moved = defaultdict[str, Moved](Moved)
        here, turn, loading = threading.get_ident(), threading.Lock(), defaultdict[int, float](float)
        plain, finds = Kernel.__call__, Kernel._found

        def load(kernel: Any, *arguments: Any) -> Any:
            start = clock()
            out = finds(kernel, *arguments)
            loading[threading.get_ident()] += clock() - start
            return out

        def call(kernel: Any, *arguments: Any) -> Any:
            own = threading.get_ident()
            start = clock() - loading[own]
            out = plain(kernel, *arguments)
            end = clock()
            spent, kind = end - loading[own] - start, kind_of_loop(kernel.__name__)
            with turn:
                self.moved[kind] += moved_by(kernel.__name__, arguments)
                if own == here:
                    self.seconds[kind] += spent
                    self.counting += clock() - end
            return out

        Kernel.__call__, Kernel._found = call, load  # pyright: ignore[reportAttributeAccessIssue]


def _shares(profile: cProfile.Profile, loops: _Loops, seconds: float) -> dict[str, dict[str, float]]:
    """Seconds by kind of work, and bytes, lines and numbers that loops move."""
    from benchmarks.share_kinds import KINDS, REST, kind_of_function

    spent = defaultdict[str, float](float)
    for entry in profile.getstats():
        if not isinstance(entry.code, types.CodeType) or _is_library(entry.code):
            continue
        path, name = entry.code.co_filename, entry.code.co_name
        if path.endswith(_ACCOUNTS) or (Path(path).name, name) in _CALLS:
            continue  # loops have their own account, and what it takes is left out
        kind = kind_of_function(path, name)
        spent[kind] += entry.inlinetime
        for other in entry.calls or ():
            if isinstance(other.code, str):
                spent[kind] += other.inlinetime
            elif _is_library(other.code):  # a module's code imports others, which are seen by themselves
                spent[kind] += other.inlinetime if other.code.co_name == "<module>" else other.totaltime
    for kind, own in loops.seconds.items():
        spent[kind] += own
    spent[REST] += seconds - sum(spent.values())
    out = {}
    for kind in KINDS:
        moved = loops.moved[kind]
        out[kind] = {
            "seconds": spent[kind],
            "loops": loops.seconds[kind],
            "stream": moved.stream,
            "lines": moved.lines,
            "halves": moved.halves,
            "numbers": moved.numbers,
        }
    return out


def _is_library(code: types.CodeType) -> bool:
    """Whether it is a function of an array library's, which calls nothing of ours back."""
    path = code.co_filename
    return "site-packages" in path and not path.endswith("_ufunc_config.py")


if __name__ == "__main__":
    main(sys.argv[1])
