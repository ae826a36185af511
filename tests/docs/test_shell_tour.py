"""``lmmformula tour`` runs, and shows what it says."""

from __future__ import annotations

import pytest

from lmmformula.cli.process import main
from lmmformula.cli.tour import STEPS


def test_the_tour_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tour"]) == 0
    shown = capsys.readouterr().out
    assert all(f"[{i}/{len(STEPS)}]" in shown for i in range(1, len(STEPS) + 1))
    for said in ("Satterthwaite", "-871.81", "naivete", "this parenthesis is never closed"):
        assert said in shown
