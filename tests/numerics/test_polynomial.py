"""Polynomials by least squares against ones that are known, and their errors against those of fits without each value."""

from typing import Any

import numpy as np
import pytest

from lmmformula.numerics.polynomial import Polynomial, degrees, fit_polynomial


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def fitted(*arguments: Any) -> Polynomial:
    """One that the places determine."""
    found = fit_polynomial(*arguments)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("d", "every", "paired", "size"), [(3, 2, 2, 10), (2, 3, 5, 21), (4, 1, 2, 15), (9, 3, 3, 220)]
)
def test_sizes_are_those_of_the_binomials(d, every, paired, size):
    assert len(set(degrees(d, every, paired))) == len(degrees(d, every, paired)) == size


def test_a_cubic_comes_back(rng):
    def cubic(z):
        return 1.0 + z[:, 0] - 2.0 * z[:, 0] * z[:, 1] * z[:, 2] + 0.5 * z[:, 2] ** 3

    z = rng.standard_normal((60, 3))
    found = fitted(z, cubic(z), rng.uniform(0.1, 1.0, 60), degrees(3, 3, 3))
    new = 2.0 * rng.standard_normal((50, 3))
    np.testing.assert_allclose(found(new)[0], cubic(new), rtol=1e-9, atol=1e-9)
    assert found.error < 1e-10


def test_its_error_is_that_of_fits_without_each_value(rng):
    z, w = rng.standard_normal((40, 2)), rng.uniform(0.1, 1.0, 40)
    f, basis = np.exp(z[:, 0] - z[:, 1]), degrees(2, 2, 3)
    found = fitted(z, f, w, basis)
    missed = [
        fitted(np.delete(z, i, 0), np.delete(f, i), np.delete(w, i), basis)(z[[i]])[0][0] - f[i]
        for i in range(40)
    ]
    assert found.error == pytest.approx(np.sqrt(np.average(np.square(missed), weights=w)), rel=1e-8)


def test_its_leverages_are_those_of_the_weighted_basis(rng):
    z, w = rng.standard_normal((30, 2)), rng.uniform(0.1, 1.0, 30)
    found = fitted(z, z[:, 0], w, degrees(2, 2, 2))
    assert w @ found(z)[1] == pytest.approx(6.0)  # the trace of a projection
    assert found(z + 10.0)[1].min() > 100.0


def test_places_that_do_not_determine_it(rng):
    z = rng.standard_normal((30, 2))
    z[:, 1] = z[:, 0]
    assert fit_polynomial(z, z[:, 0], np.ones(30), degrees(2, 2, 2)) is None
    assert fit_polynomial(z[:5], z[:5, 0], np.ones(5), degrees(2, 2, 2)) is None


def test_slopes_count_as_values_do(rng):
    """A cubic of 20 coefficients from seven places, and the error of leaving a place out with its slopes."""

    def cubic(z):
        return z[:, 0] ** 3 - 2.0 * z[:, 0] * z[:, 1] * z[:, 2]

    def slopes(z):
        return np.column_stack(
            [3.0 * z[:, 0] ** 2 - 2.0 * z[:, 1] * z[:, 2], -2.0 * z[:, 0] * z[:, 2], -2.0 * z[:, 0] * z[:, 1]]
        )

    z, basis = rng.standard_normal((7, 3)), degrees(3, 3, 3)
    found = fitted(z, cubic(z), np.ones(7), basis, slopes(z))
    new = rng.standard_normal((20, 3))
    np.testing.assert_allclose(found(new)[0], cubic(new), rtol=1e-8, atol=1e-8)
    assert fit_polynomial(z, cubic(z), np.ones(7), basis) is None

    z, w, basis = rng.standard_normal((20, 3)), rng.uniform(0.1, 1.0, 20), degrees(3, 2, 2)
    found = fitted(z, cubic(z), w, basis, slopes(z))
    keep = [np.delete(np.arange(20), i) for i in range(20)]
    missed = [
        fitted(z[k], cubic(z[k]), w[k], basis, slopes(z[k]))(z[[i]])[0][0] - cubic(z[[i]])[0]
        for i, k in enumerate(keep)
    ]
    assert found.error == pytest.approx(np.sqrt(np.average(np.square(missed), weights=w)), rel=1e-6)
