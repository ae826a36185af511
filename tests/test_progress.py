"""Progress on a terminal, elsewhere, and for whoever asks."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextvars import copy_context
from typing import Any

import pytest

import lmmformula.progress
from lmmformula import fit, load_dataset
from lmmformula.backends.pql_search import Search
from lmmformula.cli import main
from lmmformula.interrupts import undisturbed
from lmmformula.progress import CHAINS, LIKELIHOOD, QUASI, expected, passed, passing, reporting, stage

SLEEP = "Reaction ~ Days + (Days | Subject)"
CROSSED = "r2 ~ Anger + situ + (1 | id) + (1 | item)"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_terminal(monkeypatch: pytest.MonkeyPatch, wait: float | None = None) -> Terminal:
    """Standard error as a terminal, for the test that calls: a fixture's would be captured."""
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    if wait is not None:
        monkeypatch.setattr(lmmformula.progress, "WAIT", wait)
    return out


def left_on(terminal: Terminal) -> str:
    """What a reader still sees: after a carriage return the line is written anew."""
    seen = ""
    for part in terminal.getvalue().split("\r"):
        seen = part + seen[len(part) :]
    return seen.strip()


def test_a_short_fit_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset("sleepstudy")
    fit(SLEEP, data)  # what has to be imported first may take a second
    terminal = at_terminal(monkeypatch)
    fit(SLEEP, data)
    assert terminal.getvalue() == ""


def test_a_short_fit_does_not_import_tqdm() -> None:
    code = (
        "import sys\n"
        "from lmmformula import fit, load_dataset\n"
        f"fit({SLEEP!r}, load_dataset('sleepstudy'))\n"
        "sys.stderr.isatty = lambda: True\n"
        f"fit({SLEEP!r}, load_dataset('sleepstudy'))\n"
        "print('tqdm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("formula", "data", "options", "label"),
    [
        (SLEEP, "sleepstudy", {}, "evaluation 1, deviance 17"),
        ("y ~ trt + (1 | ID)", "bacteria", {"family": "binomial"}, "evaluation 1, deviance 2"),
        (CROSSED, "VerbAgg", {"family": "binomial", "method": "pql"}, "outer iteration 2, dispersion 0."),
    ],
)
def test_a_long_fit_shows_a_line_and_clears_it(
    monkeypatch: pytest.MonkeyPatch,
    formula: str,
    data: str,
    options: dict[str, Any],
    label: str,
) -> None:
    terminal = at_terminal(monkeypatch, 0.0)
    fit(formula, load_dataset(data), **options)
    assert label in terminal.getvalue()
    assert left_on(terminal) == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_line_is_cleared_after_an_error(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    terminal = at_terminal(monkeypatch)

    def work() -> None:
        with reporting(True, LIKELIHOOD) as report:
            assert report is not None
            report(3, 1.5, 1e-3)
            assert "evaluation 3, deviance 1.5000, still to gain 1.0e-03" in terminal.getvalue()
            raise error

    with pytest.raises(error):
        work()
    assert left_on(terminal) == ""


def test_the_line_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    clock = [0.0]
    monkeypatch.setattr(lmmformula.progress.time, "time", lambda: clock[0])
    with reporting(None, QUASI) as report:
        assert report is not None
        report(1, 1.0, 1.0)
        assert terminal.getvalue() == ""
        clock[0] = 2.0
        report(2, 0.9, 0.5)
        assert "outer iteration 2, dispersion 0.9000, change of the fits 5.0e-01" in terminal.getvalue()


def test_without_a_terminal_only_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(lmmformula.progress, "WAIT", 0.0)
    fit(SLEEP, load_dataset("sleepstudy"))
    assert out.getvalue() == ""
    model = fit(SLEEP, load_dataset("sleepstudy"), progress=True)
    lines = out.getvalue().splitlines()
    assert all(line.startswith("[00:0") for line in lines)
    told = [line for line in lines if "] search: evaluation " in line]
    assert 1 <= len(told) <= model.estimate.convergence.evaluations
    assert [line[8:] for line in lines if line not in told] == ["reading the data", "planning", "search"]


def test_false_is_silent_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch, 0.0)
    fit(SLEEP, load_dataset("sleepstudy"), progress=False)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("missing", [None, "closed"])
def test_no_standard_error_at_all(monkeypatch: pytest.MonkeyPatch, missing: str | None) -> None:
    out = None
    if missing == "closed":
        out = io.StringIO()
        out.close()
    monkeypatch.setattr(sys, "stderr", out)
    with reporting(None, LIKELIHOOD) as report:
        assert report is None


def test_a_callable_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    seen: list[tuple[int, float, float]] = []
    model = fit(
        CROSSED,
        load_dataset("VerbAgg"),
        family="binomial",
        method="pql",
        traces="diagonal",
        progress=lambda *step: seen.append(step),
    )
    ended = model.estimate.convergence
    assert [outer for outer, _, _ in seen] == list(range(1, ended.evaluations + 1))
    assert seen[-1][1] == pytest.approx(model.dispersion["phi"], rel=1e-6)
    assert seen[-1][2] == ended.decrement
    assert terminal.getvalue() == ""


def test_the_line_comes_and_its_clock_goes_on_while_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long first step, in which no one reports."""
    terminal = at_terminal(monkeypatch, 0.0)
    monkeypatch.setattr(lmmformula.progress, "TICK", 0.01)
    with reporting(None, LIKELIHOOD, time.time() - 75.0):
        stage("factorising")
        expected(200.0)
        for _ in range(500):
            if "planned" in terminal.getvalue():
                break
            time.sleep(0.01)
    assert "factorising [01:15, about 3 min planned]" in terminal.getvalue()
    assert left_on(terminal) == ""


def test_chains_tell_the_total_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch, 0.0)
    clock = [1000.0]
    monkeypatch.setattr(lmmformula.progress.time, "time", lambda: clock[0])
    with reporting(True, CHAINS) as report:
        assert report is not None
        stage("2 chains, the first 100 of them warm-up", total=1_100, parts=2)
        clock[0] += 20.0
        threads = [threading.Thread(target=report, args=(done, 871.2, 0.85)) for done in (100, 300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert "2 chains, the first 100 of them warm-up: iteration 100 of 1,100" in terminal.getvalue()
        report(300, 871.2, 0.85)
    shown = terminal.getvalue()
    assert "iteration 100 of 1,100, -log density 871.2, acceptance 0.85, about" in shown
    assert "left" in shown


def test_passes_over_rows_tell_their_number_rows_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From whichever thread reads them; the line keeps what the search told before."""
    terminal = at_terminal(monkeypatch, 0.0)
    clock = [1000.0]
    monkeypatch.setattr(lmmformula.progress.time, "time", lambda: clock[0])
    passed(10, 80)  # nobody looks
    with reporting(True, QUASI) as report:
        assert report is not None
        stage("search")
        passing(100_000)
        passed(100_000, 1_000)
        report(1, 1.5, 0.25)
        passing(100_000)
        clock[0] += 2.0
        readers = [
            threading.Thread(target=copy_context().run, args=(passed, 30_000, 240_000_000)) for _ in "ab"
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        clock[0] += 10.0  # of which nothing is told: the speed is that of the reading
        report(2, 1.25, 0.125)
    told = "search: outer iteration 2, dispersion 1.2500, change of the fits 1.2e-01; pass 2, 60,000 of 100,000 rows, 240 MB/s"
    assert told in terminal.getvalue()
    assert left_on(terminal) == ""


def test_a_pass_that_has_seen_all_rows_is_followed_by_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(True, QUASI) as report:
        assert report is not None
        passing(3_000)
        for _ in range(7):
            passed(1_000)
        report(1, 1.5, 0.25)
    assert capsys.readouterr().err.rstrip().endswith("; pass 3, 1,000 of 3,000 rows")


def test_passes_of_an_unknown_number_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed with the next step, not line by line."""
    with reporting(True, QUASI) as report:
        assert report is not None
        passed(2_000)
        passed(1_000)
        report(1, 1.5, 0.25)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("change of the fits 2.5e-01; pass 1, 3,000 rows")


def test_standard_errors_show_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit("y ~ trt + (1 | ID)", load_dataset("bacteria"), family="binomial")
    quiet = fit("y ~ trt + (1 | ID)", load_dataset("bacteria"), family="binomial", progress=False)
    terminal = at_terminal(monkeypatch, 0.0)
    _ = model.bse
    assert "standard errors: 4 of 4" in terminal.getvalue()
    assert left_on(terminal) == ""
    silent = at_terminal(monkeypatch, 0.0)
    _ = quiet.bse
    assert silent.getvalue() == ""


@pytest.mark.filterwarnings("ignore:the fit is singular")
def test_an_interrupt_after_the_search_keeps_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is tried whether variances near zero are zero, the estimates are there already."""
    from lmmformula.criteria.profiled import Profiled

    data, evaluate, pressed = load_dataset("Dyestuff2"), Profiled.__call__, []
    expected = fit("Yield ~ 1 + (1 | Batch)", data, start=[1e-3])

    def interrupted(self: Profiled, theta: Any, **options: Any) -> Any:
        if theta[0] == 0.0 and not pressed:
            pressed.append(theta)
            raise KeyboardInterrupt
        return evaluate(self, theta, **options)

    monkeypatch.setattr(Profiled, "__call__", interrupted)
    kept = fit("Yield ~ 1 + (1 | Batch)", data, start=[1e-3])
    assert kept.converged
    assert pressed
    assert kept.llf == pytest.approx(expected.llf, abs=1e-6)


def test_an_interrupt_ends_a_bootstrap_by_pql(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a fit for its own sake as it stands, not one of many."""
    model = fit(
        "y ~ trt + (1 | ID)", load_dataset("bacteria"), family="binomial", method="pql", dispersion="fixed"
    )
    calls, inner = [0], Search._solved

    def interrupted(self: Search, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        return inner(self, *arguments)

    monkeypatch.setattr(Search, "_solved", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.bootstrap(20, seed=1)
    assert calls[0] == 9


def test_an_interrupt_during_standard_errors_leaves_the_estimates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lmmformula.backends import laplace

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(laplace, "joint_vcov", interrupted)
    model = fit("y ~ trt + (1 | ID)", load_dataset("bacteria"), family="binomial")
    assert "interrupted before the standard errors were there" in repr(model)
    assert f"(Intercept)  {model.params.iloc[0]:.6g}" in repr(model)
    command = ["fit", "y ~ trt + (1 | ID)", "--data", "bacteria", "--family", "binomial"]
    assert main(command) == 130
    assert "Log-likelihood" in capsys.readouterr().out
    assert main([*command, "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["params"] == pytest.approx(model.params.to_dict())


def test_an_interrupt_waits_for_what_must_not_be_disturbed() -> None:
    done = []

    def compiling() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        done.append(True)

    with pytest.raises(KeyboardInterrupt):
        undisturbed(compiling)
    assert done == [True]
    assert undisturbed(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        undisturbed(lambda: 1 // 0)
