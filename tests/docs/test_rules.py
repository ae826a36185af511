"""The picture of the planner's rules is what the planner says: asked again, where asking is cheap."""

from __future__ import annotations

import json

import pytest

from benchmarks.site.rules import FAMILIES, RECORD, asked

KEPT = json.loads(RECORD.read_text(encoding="utf-8"))
CHEAP = [one for one in KEPT if one["rows"] == 10_000]


def test_the_record_has_every_way_that_sizes_call_for() -> None:
    assert {one["family"] for one in KEPT} == set(FAMILIES)
    assert {"exact", "iterated"} <= {one["way"] for one in KEPT}


@pytest.mark.parametrize("one", CHEAP, ids=lambda one: f"{one['family']}-{one['levels']}")
def test_the_planner_still_says_so(one: dict[str, object]) -> None:
    again = asked(str(one["family"]), int(str(one["rows"])), int(str(one["levels"])))
    assert again.way == one["way"], "run python -m benchmarks.site.rules"
