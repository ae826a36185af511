"""The notebook of the documentation runs, and says what is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TOUR = Path(__file__).parent.parent / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def namespace() -> dict[str, Any]:
    """What the notebook's cells leave behind; an expression at the end of a cell is shown, as a notebook would."""
    names: dict[str, Any] = {}
    for cell in _cells("code"):
        source = "".join(cell["source"])
        before, _, last = source.rpartition("\n")
        try:
            shown = compile(last, str(TOUR), "eval")
        except SyntaxError:
            exec(compile(source, str(TOUR), "exec"), names)
            continue
        exec(compile(before, str(TOUR), "exec"), names)
        value = eval(shown, names)
        if value is not None:
            html = getattr(value, "_repr_html_", None)
            assert str(value) if html is None else html()
    return names


def _cells(kind: str) -> list[dict[str, Any]]:
    return [
        cell for cell in json.loads(TOUR.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind
    ]


def test_no_outputs_are_stored() -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in _cells("code"))


def test_the_tour_runs(namespace: dict[str, Any]) -> None:
    assert namespace["m"].llf == pytest.approx(-871.8141, abs=1e-3)
    assert namespace["m"].params["Days"] == pytest.approx(10.467, abs=1e-3)
    assert all(namespace[name].converged for name in ("m", "g", "exact", "q", "by_krylov"))


def test_what_it_says_of_methods(namespace: dict[str, Any]) -> None:
    both = namespace["both"]
    spreads = [fit.varcorr().set_index("grp")["sdcor"] for fit in (both.fits["pql"], both.fits["laplace"])]
    assert (spreads[0][["id", "item"]] < spreads[1][["id", "item"]]).all()
    by_krylov, exactly = namespace["by_krylov"], namespace["exactly"]
    assert abs(by_krylov.llf - exactly.llf) < max(4 * by_krylov.llf_stderr, 1e-3)


def test_links_lead_somewhere() -> None:
    text = "".join(line for cell in _cells("markdown") for line in cell["source"])
    for page in ("results.md", "cli.md", "interfaces.md"):
        assert f"({page})" in text
        assert (TOUR.parent / page).is_file()
