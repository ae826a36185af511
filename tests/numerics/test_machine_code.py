"""Machine code on disk: the same numbers as Numba's own functions, in a process without Numba."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lmmformula.numerics import compiled
from lmmformula.numerics.compiled import Kernel

SOURCE = """
import math
import numpy as np
from lmmformula.numerics.compiled import compiled

@compiled(bare=True)
def half(x):
    return 0.5 * x

@compiled(bare=True)
def scaled(first, last, by, x, out):
    own = np.zeros(x.shape[1], x.dtype)
    for i in range(first, last):
        for v in range(x.shape[1]):
            own[v] = half(by) * x[i, v]
            out[i, v] = own[v] + math.exp(own[v])

@compiled(bare=True)
def total(x):
    out = 0.0
    for i in range(len(x)):
        out += x[i]
    return out

@compiled(bare=True)
def inverse(x):
    if x[0] == 0.0:
        raise ZeroDivisionError("of nothing")
    return 1.0 / x[0]

@compiled(bare=True)
def quotient(by, x):
    return by / x[0]

@compiled(bare=True)
def doubled(x):
    return 2.0 * x
"""
FRESH = """
import sys
import numpy as np
sys.path.insert(0, {folder!r})
import loops
out = np.zeros((3, 2))
loops.scaled(0, 3, 3.0, np.arange(6.0).reshape(3, 2), out)
print("numba" in sys.modules, out.sum(), loops.total(np.arange(4.0)))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMMFORMULA_CACHE_DIR", str(tmp_path))
    (tmp_path / "loops.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


def imported(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("loops", folder / "loops.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "loops").glob("*.loop"))


@pytest.mark.parametrize("view", [np.asarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_of_all_layouts(cache: Path, view, dtype: type) -> None:
    loops = imported(cache)
    x, out = view(np.arange(6, dtype=dtype).reshape(3, 2)), np.zeros((3, 2))
    x.setflags(write=False)
    loops.scaled(1, np.int64(3), 3.0, x, out)
    wanted = 1.5 * x.astype(float)
    wanted += np.exp(wanted)
    wanted[0] = 0.0
    np.testing.assert_allclose(out, wanted, rtol=1e-6)
    assert len(kept(cache)) == 1


def test_another_process_does_without_numba(cache: Path) -> None:
    loops = imported(cache)
    out = np.zeros((3, 2))
    loops.scaled(0, 3, 3.0, np.arange(6.0).reshape(3, 2), out)
    assert loops.total(np.arange(4.0)) == 6.0
    code = FRESH.format(folder=str(cache))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(out.sum()), "6.0"]


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda _: b"a b c"]
)
def test_damaged_files_are_replaced(cache: Path, damage) -> None:
    imported(cache).total(np.arange(4.0))
    (file,) = kept(cache)
    file.write_bytes(damage(file.read_bytes()))
    assert imported(cache).total(np.arange(4.0)) == 6.0
    head, _, code = file.read_bytes().partition(b"\n")
    assert head.split()[0].decode() == sha256(code).hexdigest()


def test_errors_are_those_of_the_loop(cache: Path) -> None:
    loops = imported(cache)
    assert loops.inverse(np.array([4.0])) == 0.25
    with pytest.raises(ZeroDivisionError, match="of nothing"):
        loops.inverse(np.zeros(1))


def test_a_division_by_zero_is_infinite(cache: Path) -> None:
    assert imported(cache).quotient(1.0, np.zeros(1)) == np.inf


def test_what_returns_an_array_is_left_to_numba(cache: Path) -> None:
    loops = imported(cache)
    np.testing.assert_array_equal(loops.doubled(np.arange(3.0)), [0.0, 2.0, 4.0])
    (file,) = kept(cache)
    assert file.stat().st_size < 100
    np.testing.assert_array_equal(imported(cache).doubled(np.arange(3.0)), [0.0, 2.0, 4.0])


def test_another_text_or_another_folder_is_another_loop(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = imported(cache)
    before: Kernel = loops.total
    (cache / "loops.py").write_text(SOURCE.replace("0.5", "0.25"), encoding="utf-8")
    compiled._text.cache_clear()
    after = imported(cache)
    assert after.total.key != before.key
    assert after.scaled.key != loops.scaled.key
    monkeypatch.setenv("LMMFORMULA_CACHE_DIR", "")
    assert after.total(np.arange(4.0)) == 6.0
    assert not kept(cache)
