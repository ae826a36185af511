"""What a problem says of itself."""

from __future__ import annotations

import pytest

from lmmformula import build, load_dataset


@pytest.mark.parametrize(
    ("arguments", "linear"),
    [
        ({}, True),
        ({"family": "gaussian(link='log')"}, False),
        ({"dispformula": "~ 1"}, False),
        ({"dispformula": "~ Days"}, False),
        ({"family": "lognormal"}, False),
        ({"family": "gamma"}, False),
    ],
)
def test_linear_is_a_gaussian_response_with_one_profiled_sigma(arguments, linear) -> None:
    problem = build("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"), **arguments)
    assert problem.is_linear is linear
