"""Compiled functions are kept on disk where that is possible, and work where it is not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import config

from lmmformula.errors import LmmformulaWarning
from lmmformula.numerics import compiled as module

SOURCE = """
from lmmformula.numerics.compiled import compiled

@compiled()
def twice(x, out):
    for i in range(len(x)):
        out[i] = 2.0 * x[i]
"""


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_told", set())


def doubled(folder: Path) -> None:
    """Import the function from a file anew, call it, check it."""
    path = folder / "doubling.py"
    if not path.exists():  # numba tells an old file by its time
        path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("doubling", path)
    assert spec is not None
    assert spec.loader is not None
    doubling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(doubling)
    out = np.zeros(3)
    doubling.twice(np.arange(3.0), out)
    np.testing.assert_array_equal(out, [0.0, 2.0, 4.0])


def test_what_was_compiled_is_kept(tmp_path: Path) -> None:
    doubled(tmp_path)
    assert len(list(tmp_path.rglob("*.nbc"))) == 1
    doubled(tmp_path)
    assert len(list(tmp_path.rglob("*.nbc"))) == 1


@pytest.mark.parametrize("suffix", [".nbc", ".nbi"])
def test_a_damaged_file_is_told_once_and_replaced(tmp_path: Path, suffix: str) -> None:
    doubled(tmp_path)
    (damaged,) = tmp_path.rglob(f"*{suffix}")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(LmmformulaWarning, match="is damaged .* Each process compiles them anew") as seen:
        doubled(tmp_path)
    assert len(seen) == 1
    doubled(tmp_path)  # it is whole again, and nothing warns


@pytest.mark.skipif(not hasattr(config, "CACHE_LOCATOR_CLASSES"), reason="folders cannot be chosen")
def test_without_a_folder_to_write_to(tmp_path: Path) -> None:
    """A container whose package folder and home cannot be written."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    code = (
        "import numpy as np, warnings\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    from lmmformula.numerics import kernels, row_kernels\n"
        "    out = np.zeros((1, 1))\n"
        "    one = np.array([0, 1]), *np.zeros((2, 1), dtype=np.int32), np.array([0, 1]), np.zeros(1, dtype=np.int32)\n"
        "    kernels.ragged_gram(0, 1, 1, *one, np.array([[3.0]]), out)\n"
        "    row_kernels.rows_by_level(*[np.zeros(1, dtype=np.int64)], 1, *np.zeros((2, 2), dtype=np.int64))\n"
        "print(len(seen), seen[0].category.__name__, out[0, 0], seen[0].message)\n"
    )
    home = {"HOME": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path / "file")}
    environment = {
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator",
        "PYTHONPATH": ":".join(sys.path),
        **home,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(
        "1 LmmformulaWarning -9.0 compiled functions are not kept on disk: no folder"
    )
    assert "Set NUMBA_CACHE_DIR" in done.stdout
