"""Progress on a terminal, elsewhere, and for whoever asks."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest

import lmmformula.progress
from lmmformula import fit, load_dataset
from lmmformula.progress import LIKELIHOOD, QUASI, reporting

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
    terminal = at_terminal(monkeypatch)
    fit(SLEEP, load_dataset("sleepstudy"))
    assert terminal.getvalue() == ""


def test_a_short_fit_does_not_import_tqdm() -> None:
    code = (
        "import sys\n"
        "sys.stderr.isatty = lambda: True\n"
        "from lmmformula import fit, load_dataset\n"
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
    assert 1 <= len(lines) <= model.estimate.convergence.evaluations
    assert all(line.startswith("evaluation ") for line in lines)


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
