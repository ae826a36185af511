"""The BLAS gets one thread for small work and all of them for large."""

from __future__ import annotations

from lmmformula.numerics.threads import LARGE, blas_threads


def threads() -> list[int]:
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_small_work_gets_one_thread_and_gives_it_back() -> None:
    before = threads()
    for side in (0, 100):
        with blas_threads(side):
            assert set(threads()) == {1}
    with blas_threads(LARGE):
        inside = threads()
    assert sorted(inside)[: len(before)] == sorted(before)[: len(inside)]
