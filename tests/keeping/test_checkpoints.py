"""Checkpoints: a search that is stopped, by whatever means, goes on where it stood, and ends where it would have ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chunked import chunked
from streamed import streamed

import lmmformula.keeping.checkpoint as checkpoints
from lmmformula import (
    ArgumentError,
    LmmformulaError,
    PlanError,
    build,
    compare_methods,
    fit,
    load,
    load_dataset,
    plan,
)
from lmmformula.cli import main
from lmmformula.errors import LmmformulaWarning
from lmmformula.keeping.checkpoint import Checkpoint, Kept
from lmmformula.keeping.fingerprint import fingerprint
from lmmformula.methods.planning import make_plan
from lmmformula.typing import Record

SLEEP = "Reaction ~ Days + (Days | Subject)"
CROSSED = "r2 ~ Anger + situ + (1 | id) + (1 | item)"
SEARCHES: list[tuple[str, str, Record, float]] = [
    (SLEEP, "sleepstudy", {}, 1e-8),
    ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", {"method": "krylov"}, 1e-5),
    (CROSSED, "VerbAgg", {"family": "binomial"}, 1e-6),
    (CROSSED, "VerbAgg", {"family": "binomial", "method": "krylov", "seed": 3}, 1e-4),
    (CROSSED, "VerbAgg", {"family": "binomial", "method": "pql"}, 0.0),
    (CROSSED, "VerbAgg", {"family": "binomial", "method": "pql", "traces": "diagonal"}, 0.0),
    (CROSSED, "VerbAgg", {"family": "binomial", "method": "pql", "correction": "laplace"}, 0.0),
    (
        "incidence/size ~ period + (1 | herd)",
        "cbpp",
        {"family": "binomial", "weights": "size", "nagq": 9},
        1e-6,
    ),
    (
        "incidence/size ~ period + (1 | herd)",
        "cbpp",
        {"family": "binomial", "weights": "size", "nagq": 0},
        1e-6,
    ),
    ("count ~ mined + (1 | site)", "Salamanders", {"family": "nbinom2", "method": "pql"}, 0.0),
]
"""Formula, data, arguments, and how near the estimates of a search that was stopped come, relative; 0 for the same digits."""


class StoppedError(Exception):
    """In place of a crash."""


def stops_after(steps: int) -> Callable[[int, float, float], None]:
    """What to give as `progress`: it ends the fit in the middle of a step."""
    left = [steps]

    def report(iteration: int, value: float, change: float) -> None:
        left[0] -= 1
        if not left[0]:
            raise StoppedError

    return report


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state that is offered is written."""
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)


def same(one: Any, other: Any, tolerance: float) -> None:
    for name in ("params", "theta"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=1e-12 * bool(tolerance)
        )
    np.testing.assert_allclose(
        one.ranef()["condval"], other.ranef()["condval"], atol=100.0 * tolerance * one.sigma
    )


@pytest.mark.parametrize(("formula", "data", "options", "tolerance"), SEARCHES, ids=str)
@pytest.mark.usefixtures("always")
def test_a_search_that_was_stopped_again_and_again_ends_where_it_would_have(
    tmp_path: Path, formula: str, data: str, options: Record, tolerance: float
) -> None:
    frame, path = load_dataset(data), tmp_path / "fit.ckpt"
    whole: Any = fit(formula, frame, **options)
    for _ in range(3):
        with pytest.raises(StoppedError):
            fit(formula, frame, checkpoint=path, progress=stops_after(2), **options)
    m: Any = fit(formula, frame, checkpoint=path, **options)
    same(m, whole, tolerance)
    assert m.diagnostics["continued"] == 3
    assert abs(m.diagnostics["evaluations"] - whole.diagnostics["evaluations"]) <= 2
    assert "Continued from a checkpoint 3 times: " in str(m.summary())
    assert os.listdir(tmp_path) == ["fit.ckpt"]


@pytest.mark.parametrize("options", [{}, {"method": "pql", "correction": "laplace"}], ids=str)
@pytest.mark.usefixtures("always")
def test_searches_over_rows_in_files_go_on_too(tmp_path: Path, options: Record) -> None:
    frame, path = load_dataset("VerbAgg"), tmp_path / "fit.ckpt"
    for i, start in enumerate((0, 3_000, 6_000)):
        frame.iloc[start : start + 3_000].to_parquet(tmp_path / f"{i}.parquet")
    options = {"family": "binomial", **options}
    rows = str(tmp_path / "*.parquet")
    with pytest.raises(StoppedError):
        fit(CROSSED, rows, checkpoint=path, progress=stops_after(3), **options)
    with pytest.raises(PlanError, match="the response is not the same"):  # in another order
        fit(CROSSED, frame, checkpoint=path, **options)
    m: Any = fit(CROSSED, rows, checkpoint=path, **options)
    assert m.problem.held is not None
    assert m.diagnostics["continued"] == 1
    whole: Any = fit(CROSSED, rows, **options)
    np.testing.assert_allclose(m.params, whole.params, rtol=1e-8)
    np.testing.assert_allclose(m.theta, whole.theta, rtol=1e-8)


@pytest.mark.parametrize("options", [{}, {"method": "pql"}])
def test_a_finished_fit_comes_back_at_once_and_the_same(
    tmp_path: Path, options: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, path = load_dataset("VerbAgg"), tmp_path / "fit.ckpt"
    m: Any = fit(CROSSED, frame, family="binomial", checkpoint=path, **options)
    assert "Continued" not in str(m.summary())
    monkeypatch.setattr(type(m.backend), "fit", None)  # there is no search
    again: Any = fit(CROSSED, frame, family="binomial", checkpoint=path, **options)
    assert str(again.summary()) == str(m.summary())
    assert again.params.equals(m.params)
    pd.testing.assert_series_equal(again.predict(frame.head(5)), m.predict(frame.head(5)))


def changed(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    out = frame.copy()
    out.loc[17, column] = value
    return out


@pytest.mark.usefixtures("always")
def test_another_call_is_refused_by_what_differs(tmp_path: Path) -> None:
    frame, path = load_dataset("sleepstudy"), tmp_path / "fit.ckpt"
    frame = frame.assign(w=1.0, v=np.linspace(1.0, 2.0, len(frame)))
    with pytest.raises(StoppedError):
        fit(SLEEP, frame, method="ml", checkpoint=path, progress=stops_after(2))
    kept = path.read_bytes()
    others: list[tuple[str, pd.DataFrame, Record, str]] = [
        (
            "Reaction ~ Days + (1 | Subject)",
            frame,
            {},
            r"formula: Reaction ~ Days \+ \(Days \| Subject\) in the checkpoint, ",
        ),
        (SLEEP, changed(frame, "Reaction", 300.0), {}, "another fit: the response is not the same. Make"),
        (
            SLEEP,
            changed(frame, "Days", 2.5),
            {},
            "values of the fixed effects are not the same; values of .Days",
        ),
        (
            SLEEP,
            changed(frame, "Subject", "308"),
            {},
            "rows of the levels of .Days | Subject. are not the same",
        ),
        (SLEEP, frame.head(170), {}, "number of rows: 180 in the checkpoint, 170 in this call"),
        (SLEEP, frame, {"weights": "v"}, "weights are in this call only"),
        (SLEEP, frame, {"offset": "v"}, "the offset is in this call only"),
        (SLEEP, frame, {"method": "reml"}, "reml: False in the checkpoint, True in this call"),
        (SLEEP, frame, {"tolerance": 1e-6}, "tolerance: 1e-09 in the checkpoint, 1e-06 in this call. Make"),
        (SLEEP, frame, {"engine": "dense"}, "engine: blocked in the checkpoint, dense in this call"),
        (SLEEP, frame, {"start": [1.0, 0.0, 0.2]}, "start"),
        (SLEEP, frame.assign(Reaction=np.log(frame["Reaction"])), {"family": "student"}, "family: gaussian"),
        ("Reaction ~ Days + (Days || Subject)", frame, {}, "formula"),
        ("Reaction ~ Days + cs(Days | Subject)", frame, {}, r"cs\(Days \| Subject\) in this call. Make"),
    ]
    for formula, data, options, said in others:
        with pytest.raises(PlanError, match=said) as caught:
            fit(formula, data, checkpoint=path, **{"method": "ml", **options})
        assert str(path) in str(caught.value)
        assert path.read_bytes() == kept
    fit(
        SLEEP, frame, method="ml", checkpoint=path
    )  # columns that the formula does not use, and other names, do not matter
    fit(
        SLEEP,
        frame.drop(columns=["w", "v"]),
        method="ml",
        checkpoint=path,
        memory_limit="8 GB",
        progress=False,
    )


@pytest.mark.filterwarnings("ignore::lmmformula.errors.ConvergenceWarning")
def test_seeds_are_told_apart_and_a_random_one_is_kept(tmp_path: Path) -> None:
    frame, path = load_dataset("Dyestuff"), tmp_path / "fit.ckpt"
    options: Record = {"method": "hmc", "sampler": "importance", "draws": 100}
    first: Any = fit("Yield ~ 1 + (1 | Batch)", frame, checkpoint=path, **options)
    with pytest.raises(PlanError, match="seed: None in the checkpoint, 5 in this call"):
        fit("Yield ~ 1 + (1 | Batch)", frame, checkpoint=path, seed=5, **options)
    again: Any = fit("Yield ~ 1 + (1 | Batch)", frame, checkpoint=path, **options)
    np.testing.assert_array_equal(again.posterior.x, first.posterior.x)


def test_the_fingerprint_is_that_of_the_rows_wherever_they_are() -> None:
    problem = build(
        "incidence/size ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial", weights="size"
    )
    planned = make_plan(problem)
    whole, elsewhere = fingerprint(problem, planned), fingerprint(streamed(problem, 50, 90), planned)
    assert fingerprint(streamed(problem, 11, 30), planned) == elsewhere
    swapped = replace(problem, y=problem.y[::-1].copy())
    assert [n for n, v in fingerprint(streamed(swapped), planned).items() if v != elsewhere[n]] == [
        "rows of the values"
    ]
    assert whole["the response"].startswith("#")
    for size in (1, 7, 56):
        assert fingerprint(chunked(problem, size), planned) == whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a checkpoint: it is empty"),
        (b"x,y\n1,2\n", "begins with b'x,y"),
        (b"PK\x03\x04..", "truncated or damaged"),
    ],
)
def test_files_that_are_something_else_are_left_alone(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(LmmformulaError, match=said):
        fit(SLEEP, "sleepstudy", checkpoint=path)
    assert path.read_bytes() == content


def test_saved_fits_and_checkpoints_are_told_apart(tmp_path: Path) -> None:
    saved, kept = tmp_path / "fit.lmm", tmp_path / "fit.ckpt"
    fit(SLEEP, "sleepstudy", checkpoint=kept).save(saved)
    content = saved.read_bytes()
    with pytest.raises(LmmformulaError, match=r"fit\.lmm is a saved fit, not a checkpoint"):
        fit(SLEEP, "sleepstudy", checkpoint=saved)
    assert saved.read_bytes() == content
    with pytest.raises(LmmformulaError, match=r"fit\.ckpt is a checkpoint, not a saved fit"):
        load(kept)


def test_a_path_that_cannot_be_written_is_known_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fit(SLEEP, "sleepstudy", checkpoint=tmp_path / "none" / "fit.ckpt", progress=stops_after(1))


@pytest.mark.usefixtures("always")
def test_a_disk_that_is_full_later_on_costs_the_checkpoint_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, path = checkpoints.write_archive, tmp_path / "fit.ckpt"
    written: list[object] = []

    def full(*arguments: Any) -> None:
        written.append(arguments)
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(checkpoints, "write_archive", full)
    with pytest.warns(
        LmmformulaWarning, match="could not be written .*No space left.*: the fit goes on"
    ) as seen:
        m: Any = fit(SLEEP, "sleepstudy", checkpoint=path)
    assert len(seen) == 1
    assert len(written) > 3
    assert m.converged


def test_it_is_written_when_a_minute_would_be_exceeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, written = [100.0], list[float]()
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoints, "write_archive", lambda *_: written.append(clock[0]))
    kept = Checkpoint(tmp_path / "fit.ckpt", {}, Kept())
    for _ in range(20):  # steps of 25 seconds
        clock[0] += 25.0
        kept.offer("search", lambda: {"x": 1.0}, at_once=False)
    assert written[:4] == [125.0, 175.0, 225.0, 275.0]  # by the next step 75 seconds would have passed
    kept.flush()
    assert written[-1] == 600.0
    count = len(written)
    kept.flush()  # nothing new
    assert len(written) == count
    kept.offer("search", lambda: {"x": 2.0}, at_once=True)
    assert len(written) == count + 1


def test_what_killed_runs_left_half_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        ".fit.ckpt.ab12_xyz.ckpt",
        ".fit.ckpt.ab12_xyz.lmm",
        ".fit.ckpt.mine.ckpt",
        ".other.ckpt.ab12_xyz.ckpt",
    ]
    for name in (*names, ".fit.ckpt.new12345.ckpt"):
        (tmp_path / name).write_bytes(b"half")
    for name in names:
        os.utime(tmp_path / name, (1e9, 1e9))
    fit(SLEEP, "sleepstudy", checkpoint=tmp_path / "fit.ckpt")
    left = set(os.listdir(tmp_path))
    assert left == {
        "fit.ckpt",
        *names[1:],
        ".fit.ckpt.new12345.ckpt",
    }  # the last may be another process's at work


def pressed(*_: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_keeps_the_state_as_it_is(tmp_path: Path) -> None:
    """Although a minute has not passed."""
    frame, path = load_dataset("VerbAgg"), tmp_path / "fit.ckpt"
    with pytest.raises(KeyboardInterrupt):
        fit(
            CROSSED,
            frame,
            family="binomial",
            checkpoint=path,
            progress=lambda n, *_: pressed() if n > 2 else None,
        )
    m: Any = fit(CROSSED, frame, family="binomial", checkpoint=path)
    assert m.diagnostics["continued"] == 1
    same(m, fit(CROSSED, frame, family="binomial"), 1e-6)


def test_after_ctrl_c_the_same_call_goes_on_with_what_came_back(tmp_path: Path) -> None:
    frame, path = load_dataset("VerbAgg"), tmp_path / "fit.ckpt"
    options: Record = {"family": "binomial", "method": "pql", "checkpoint": path}
    with pytest.warns(LmmformulaWarning, match="stopped by the user"):
        first: Any = fit(CROSSED, frame, progress=lambda n, *_: pressed() if n == 3 else None, **options)
    assert first.diagnostics["outer_iterations"] == 3
    m: Any = fit(CROSSED, frame, **options)
    assert m.converged
    same(m, fit(CROSSED, frame, family="binomial", method="pql"), 0.0)


def test_other_calls(tmp_path: Path) -> None:
    path = tmp_path / "fit.ckpt"
    assert plan(SLEEP, "sleepstudy", checkpoint=path).method == "reml"
    assert not path.exists()
    with pytest.raises(ArgumentError, match="A checkpoint is of one fit"):
        compare_methods(SLEEP, "sleepstudy", ["reml", "ml"], checkpoint=path)
    m: Any = fit(SLEEP, "sleepstudy", checkpoint=path)
    kept = path.read_bytes()
    m.update(method="ml")
    m.update("~ . - Days")
    m.bootstrap(2, seed=1)
    assert path.read_bytes() == kept


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "fit.ckpt")
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--checkpoint", path]) == 0
    first = capsys.readouterr().out
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--checkpoint", path]) == 0
    assert capsys.readouterr().out == first
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--checkpoint", path, "--method", "ml"]) == 1
    assert "reml: True in the checkpoint, False in this call" in capsys.readouterr().err
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--checkpoint", str(tmp_path / "no" / "x")]) == 1
    assert "--checkpoint" in capsys.readouterr().err
