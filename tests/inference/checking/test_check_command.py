"""Checks on the command line and in reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmmformula import fit, load_dataset, report
from lmmformula.cli import main

SLEEP = "Reaction ~ Days + (Days | Subject)"


def test_a_model_is_fitted_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", SLEEP, "--data", "sleepstudy", "--time", "Days", "--seed", "3"]) == 0
    text = capsys.readouterr().out
    assert text.rstrip() == str(fit(SLEEP, load_dataset("sleepstudy")).check(3, time="Days"))
    assert "autocorrelation in time: neighbours in time within Subject" in text


def test_a_saved_fit_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "sleep.lmm"
    fit(SLEEP, load_dataset("sleepstudy")).save(saved)
    assert main(["check", str(saved), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {"check", "verdict", "statistic", "p", "found"} <= set(records[0])
    assert records[0]["verdict"] == "doubtful"


def test_a_model_without_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", SLEEP]) == 1
    assert "--data is missing" in capsys.readouterr().err


def test_a_report_has_the_findings(tmp_path: Path) -> None:
    model = fit(SLEEP, load_dataset("sleepstudy"))
    html = report(model, tmp_path / "page.html", plots=False).read_text(encoding="utf-8")
    assert "Model checks" in html
    assert "m.check(seed=0)" in html
    assert html.count("<details") >= 2
