"""Measure lmmformula and its peers: ``python -m benchmarks.run --help``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.adapters import PEERS
from benchmarks.exchange import write_frame
from benchmarks.measure import Measurement
from benchmarks.problems import PROBLEMS, Problem
from benchmarks.processes import environment
from benchmarks.table import Rounds, details, expected_loglik, ratios
from benchmarks.worker import MARK

_ROOT = Path(__file__).resolve().parent.parent
_HUGE = ("binary5m",)
_SLOW = ("insteval", "crossed1m", "binary36k", "binary113k", *_HUGE)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How each measurement is made.

    Attributes
    ----------
    repeats, budget
        See `benchmarks.measure.measure`.
    timeout : float
        Seconds after which a process is given up.
    interpreters : mapping
        Interpreter of each peer; those not named run in this one.
    threads : int or None
        Threads for every numerical library; None leaves the environment as it is.
    """

    repeats: int
    budget: float
    timeout: float
    interpreters: Mapping[str, str]
    threads: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    settings = Settings(
        options.repeats, options.budget, options.timeout, _interpreters(options.python), options.threads
    )
    problems = [PROBLEMS[name] for name in options.problems]
    peers = [options.baseline, *(peer for peer in options.peers if peer != options.baseline)]
    rounds = _measure_all(problems, peers, options.rounds, settings)
    expected = {p.name: expected_loglik(rounds, p.name, p.loglik) for p in problems}
    print(ratios(rounds, expected, options.baseline))
    print(f"Times over {options.baseline}'s, whose column is the median of a fit.")
    print("* log-likelihood off by more than 0.001")
    if options.details:
        print("\n" + details(rounds, expected))
    if options.json:
        options.json.write_text(
            json.dumps(_as_json(rounds, expected, settings), indent=1) + "\n", encoding="utf-8"
        )
    return 0


def _measure_all(problems: Sequence[Problem], peers: Sequence[str], count: int, settings: Settings) -> Rounds:
    """Rounds in which the peers take turns, so that a machine that slows down slows all of them."""
    found: dict[tuple[str, str], list[Measurement]] = {(p.name, peer): [] for p in problems for peer in peers}
    with tempfile.TemporaryDirectory(prefix="lmmformula-benchmark-") as temporary:
        for problem in problems:
            folder = Path(temporary) / problem.name
            folder.mkdir()
            write_frame(problem.data(), folder)
            for number in range(count):
                for peer in peers if number % 2 == 0 else peers[::-1]:
                    so_far = found[problem.name, peer]
                    if so_far and so_far[-1].status != "ok":
                        continue  # it will not do better next time
                    print(f"{problem.name}: {peer}, round {number + 1} of {count}", file=sys.stderr)
                    so_far.append(_measure(problem, peer, folder, settings))
            for file in folder.iterdir():
                file.unlink()
    return found


def _measure(problem: Problem, peer: str, folder: Path, settings: Settings) -> Measurement:
    """One measurement in a process of its own."""
    command = [settings.interpreters.get(peer, sys.executable), "-m", "benchmarks.worker"]
    command += [peer, problem.name, str(folder), str(settings.repeats), str(settings.budget)]
    try:
        done = subprocess.run(
            command,
            cwd=_ROOT,
            env=environment(settings.threads),
            capture_output=True,
            text=True,
            timeout=settings.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Measurement("timeout", f"more than {settings.timeout:g} s")
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            return Measurement(**json.loads(line.removeprefix(MARK)))
    last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return Measurement("failed", last[0][:200])


def _interpreters(given: Sequence[str]) -> dict[str, str]:
    """Interpreters by peer: ``--python`` first, then LMMFORMULA_BENCH_PYTHON_<PEER>, then ..._PYTHON."""
    # lmmformula and the drivers of Rscript run here unless they are named themselves.
    foreign = [
        peer for peer in PEERS if peer not in ("lmmformula", "glmmtmb") and not peer.startswith("lme4")
    ]
    chosen = dict.fromkeys(foreign, os.environ.get("LMMFORMULA_BENCH_PYTHON", sys.executable))
    for peer in PEERS:
        variable = f"LMMFORMULA_BENCH_PYTHON_{peer.upper().replace('-', '_')}"
        if variable in os.environ:
            chosen[peer] = os.environ[variable]
    for pair in given:
        peer, _, path = pair.partition("=")
        chosen |= dict.fromkeys(foreign if peer == "peers" else [peer], path)
    return chosen


def _as_json(rounds: Rounds, expected: Mapping[str, float | None], settings: Settings) -> dict[str, object]:
    return {
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "settings": {k: v for k, v in dataclasses.asdict(settings).items() if k != "interpreters"},
        "expected_loglik": dict(expected),
        "measurements": [
            {"problem": problem, "peer": peer, "round": number, **dataclasses.asdict(m)}
            for (problem, peer), measurements in rounds.items()
            for number, m in enumerate(measurements, start=1)
        ],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    quick = [name for name in PROBLEMS if name not in _SLOW]
    known = f"of {', '.join(PROBLEMS)}; default: the quick ones; all: but {', '.join(_HUGE)}"
    parser.add_argument("--problems", type=_names(PROBLEMS), default=quick, help=known)
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--baseline", choices=PEERS, default="lmmformula", help="whose time is 1")
    parser.add_argument("--repeats", type=int, default=5, help="timed fits per process")
    parser.add_argument("--rounds", type=int, default=3, help="processes per peer and problem")
    parser.add_argument(
        "--budget", type=float, default=20.0, help="seconds after which no further fit starts"
    )
    parser.add_argument(
        "--timeout", type=float, default=900.0, help="seconds after which a process is given up"
    )
    parser.add_argument("--threads", type=int, help="threads for every numerical library")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="interpreter of a peer, or of all: peers=PATH",
    )
    parser.add_argument(
        "--details", action="store_true", help="also print seconds, memory and log-likelihoods"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement")
    return parser


def _names(known: Sequence[str] | Mapping[str, object]):
    def parse(text: str) -> list[str]:
        chosen = [name for name in known if name not in _HUGE] if text == "all" else text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            message = f"{', '.join(unknown)}: choose from {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return chosen

    return parse


if __name__ == "__main__":
    sys.exit(main())
