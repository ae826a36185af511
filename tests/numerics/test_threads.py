"""The BLAS gets one thread for small work and all of them for large."""

from __future__ import annotations

import scipy.linalg  # noqa: F401 - its BLAS is one of those counted
from threadpoolctl import threadpool_info, threadpool_limits

from lmmformula.numerics.threads import LARGE, blas_threads


def threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_small_work_gets_one_thread_and_gives_it_back() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        assert 2 in before
        for side in (0, 100):
            with blas_threads(side):
                assert set(threads()) == {1}
            assert threads() == before
        with blas_threads(LARGE):
            assert threads() == before
