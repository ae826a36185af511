"""Programs of JAX: numbers become arguments, what is the same otherwise is compiled once, and kept for other processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmmformula.numerics import kept_programs, programs
from lmmformula.numerics.hoisting import hoisted
from lmmformula.numerics.programs import in_slices, quick
from lmmformula.numerics.x64 import x64

X = jax.ShapeDtypeStruct((3,), np.float64)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMMFORMULA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(programs, "_made", type(programs._made)())


def density(scale: float, y: np.ndarray, codes: np.ndarray) -> Any:
    def value(x: Any) -> Any:
        rows = jnp.logaddexp(x[codes] * scale, 0.0) - y
        return -0.5 * (rows @ rows) - jnp.sinh(x).sum()

    return value


def by_hand(x: np.ndarray, scale: float, y: np.ndarray, codes: np.ndarray) -> float:
    rows = np.logaddexp(x[codes] * scale, 0.0) - y
    return float(-0.5 * (rows @ rows) - np.sinh(x).sum())


DATA = [
    (1.234, np.array([0.3, -1.2, 0.7, 2.0]), np.array([0, 1, 1, 2])),
    (7.77, np.array([1.3, 0.2, -0.7, 0.1]), np.array([2, 0, 1, 0])),
]


def test_what_differs_in_numbers_alone_is_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    real = programs.compiled_loops
    monkeypatch.setattr(programs, "compiled_loops", lambda *a, **k: (compiled.append(1), real(*a, **k))[1])
    x = np.array([0.3, -0.4, 1.1])
    for own in DATA:
        value, gradient = quick(jax.value_and_grad(density(*own)), 3)(x)
        assert float(value) == pytest.approx(by_hand(x, *own), rel=1e-14)
        for j, step in enumerate(1e-6 * np.eye(3)):
            slope = (by_hand(x + step, *own) - by_hand(x - step, *own)) / 2e-6
            assert gradient[j] == pytest.approx(slope, rel=1e-7)
    assert len(compiled) == 1
    shorter = (DATA[0][0], DATA[0][1][:3], DATA[0][2][:3])
    assert float(quick(density(*shorter), 3)(x)) == pytest.approx(by_hand(x, *shorter), rel=1e-14)
    assert len(compiled) == 2
    draws = np.random.default_rng(1).normal(size=(2, 150, 3))
    found = in_slices(lambda z: z * DATA[0][0], draws)
    np.testing.assert_array_equal(found, draws * DATA[0][0])


def test_texts_tell_programs_apart() -> None:
    with x64():
        one, other = (hoisted(density(*own), X) for own in DATA)
        assert one.text == other.text
        assert [n.shape for n in one.numbers] == [n.shape for n in other.numbers]
        different = (
            lambda x: jnp.sinh(x).sum(),
            lambda x: jnp.cosh(x).sum(),
            lambda x: 2.0 * jnp.sinh(x).sum(),
            lambda x: 3.0 * jnp.sinh(x).sum(),
            lambda x: jnp.sinh(x[::-1]).sum(),
            lambda x: jax.lax.fori_loop(0, 3, lambda i, s: s + x[i] * np.pi, 0.0),
            lambda x: jax.lax.fori_loop(0, 3, lambda i, s: s + x[i] * np.e, 0.0),
        )
        texts = [hoisted(one, X).text for one in different]
    assert len(set(texts)) == len(different)


def test_a_callback_has_no_text_and_is_evaluated_all_the_same() -> None:
    shape = jax.ShapeDtypeStruct((), np.float64)
    for factor in (2.5, 3.5):

        def function(x: Any, factor: float = factor) -> Any:
            return jax.pure_callback(lambda v: np.float64(factor * np.sum(v)), shape, x)

        with x64():
            assert hoisted(function, X).text is None
            assert float(jax.jit(function)(np.ones(3))) == 3.0 * factor
        assert quick(function, 3)(np.ones(3)) == 3.0 * factor


def test_programs_are_kept_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, own = np.array([0.3, -0.4, 1.1]), DATA[1]

    def factored(x: Any) -> Any:
        return density(*own)(x) + jnp.linalg.cholesky(jnp.outer(x, x) + 9.3 * jnp.eye(3)).sum()

    first = quick(factored, 3)(x)
    (file,) = (tmp_path / "programs").iterdir()
    programs._made.clear()
    monkeypatch.setattr(programs, "compiled_loops", lambda *a, **k: pytest.fail("compiled again"))
    assert quick(factored, 3)(x) == first
    monkeypatch.undo()
    monkeypatch.setenv("LMMFORMULA_CACHE_DIR", str(tmp_path))
    programs._made.clear()
    file.write_bytes(b"no program")
    assert quick(factored, 3)(x) == first
    assert file.stat().st_size > 1_000


def test_where_nothing_can_be_kept_programs_are_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file" / "below"), ""):
        monkeypatch.setenv("LMMFORMULA_CACHE_DIR", place)
        programs._made.clear()
        assert quick(lambda x: (x * 1.7).sum(), 3)(np.ones(3)) == pytest.approx(5.1)
    assert kept_programs.folder("programs") is None


def test_the_least_recently_used_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_programs, "MOST_BYTES", 1)
    quick(lambda x: (x * 1.7).sum(), 3)
    assert not list((tmp_path / "programs").glob("*.program"))
