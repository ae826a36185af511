"""The BLAS gets one thread for small work and all of them for large."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - its BLAS is one of those counted
from threadpoolctl import threadpool_info, threadpool_limits

from lmmformula import fit, load_dataset
from lmmformula.numerics import threads as module
from lmmformula.numerics.threads import LARGE, blas_held, blas_threads, blas_wide, edges, in_order, in_parts


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


def test_large_calls_have_all_threads_within_blocks_that_hold_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "worker_threads", lambda: 2)

    def seen(side: int) -> list[int]:
        with blas_wide(side):
            return threads()

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        with blas_held(LARGE):
            assert set(seen(LARGE - 1)) == {1}
            assert seen(LARGE) == before
            assert set(threads()) == {1}
            assert [set(found) for found in in_parts(lambda i, j: seen(LARGE), [0, 1, 2])] == [{1}] * 2
        assert seen(LARGE) == threads() == before


def test_blocks_that_overlap_keep_one_thread_till_the_last_ends() -> None:
    first_in, first_may_go, second_in, second_may_go = (threading.Event() for _ in range(4))
    seen: list[set[int]] = []

    def block(entered: threading.Event, may_go: threading.Event) -> None:
        with blas_threads(100):
            entered.set()
            assert may_go.wait(30)
            seen.append(set(threads()))

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        first = threading.Thread(target=block, args=(first_in, first_may_go))
        second = threading.Thread(target=block, args=(second_in, second_may_go))
        first.start()
        assert first_in.wait(30)
        second.start()
        assert second_in.wait(30)
        first_may_go.set()
        first.join()
        during = set(threads())
        second_may_go.set()
        second.join()
        assert (during, seen) == ({1}, [{1}, {1}])
        assert threads() == before


def test_parts_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A BLAS of several threads inside of parts would serve them one after the other."""
    monkeypatch.setattr(module, "worker_threads", lambda: 2)
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        for side in (0, LARGE):
            with blas_threads(side):
                assert in_parts(lambda i, j: set(threads()), [0, 1, 2, 3]) == [{1}] * 3
        assert list(in_order(lambda i: set(threads()), range(3))) == [{1}] * 3
        assert threads() == before


def test_many_threads_find_one_result() -> None:
    data, found = load_dataset("VerbAgg").iloc[:3_000], []

    def work() -> None:
        model = fit("r2 ~ Anger + (1 | id) + (1 | item)", data, family="binomial")
        found.append((model.llf, *model.params, *model.theta))

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        running = [threading.Thread(target=work) for _ in range(6)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert threads() == before
    assert len(found) == 6
    assert len(set(found)) == 1


@pytest.fixture(params=[1, 2, 3])
def workers(request, monkeypatch) -> int:
    monkeypatch.setattr(module, "worker_threads", lambda: request.param)
    return request.param


def test_parts_come_in_their_order_and_see_the_context(workers: int) -> None:
    x = np.arange(10_000.0)
    with np.errstate(divide="raise"):
        found = in_parts(lambda i, j: (i, x[i:j].sum(), np.geterr()["divide"]), edges(len(x), 37))
    assert [f[0] for f in found] == list(range(0, len(x), 37))
    assert sum(f[1] for f in found) == x.sum()
    assert {f[2] for f in found} == {"raise"}


def test_parts_within_parts(workers: int) -> None:
    def outer(i: int, j: int) -> int:
        return sum(in_parts(lambda a, b: b - a, edges(j - i, 3)))

    assert in_parts(outer, edges(100, 10)) == [10] * 10


def test_a_part_that_fails_is_heard(workers: int) -> None:
    def part(i: int, j: int) -> None:
        if i >= 50:
            raise ValueError(i)

    with pytest.raises(ValueError, match="50"):
        in_parts(part, edges(60, 10))
