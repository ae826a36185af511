r"""A fill-reducing order of a sparse symmetric matrix: approximate minimum degree.

Eliminating a variable joins all its neighbours. Amestoy, Davis & Duff (1996) hold the graph that is left as a quotient graph:
a variable i has a list A_i of variables and a list E_i of elements (eliminated pivots), an element e the list L_e of variables
that it joins, and adj(i) = A_i + union of L_e over E_i. Storage never grows. For the pivot p (their algorithm 2)::

    L_p = (A_p + union over e in E_p of L_e) - {p},          elements of E_p are absorbed by p
    |L_e - L_p| for every element e that L_p touches         (their algorithm 1: stamps w(e))
    d_i = min(n - k, d_i + |L_p - i|, |A_i| + |L_p - i| + sum over e in E_i - p of |L_e - L_p|)    for i in L_p: their eq. 4.1

Variables with equal lists are merged and weigh as much as they are many; an element within L_p is absorbed (their aggressive
absorption); a variable that has no neighbour outside L_p is eliminated along with p (mass elimination). A row with more than
10 sqrt(n) entries goes to the end.

Time is O(sum over pivots of |L_p| times the lists of L_p), in practice a few steps per entry of the matrix.

References
----------
Amestoy, Davis & Duff (1996), An approximate minimum degree ordering algorithm, SIAM J. Matrix Anal. Appl. 17, 886-905.
George & Liu (1989), The evolution of the minimum degree ordering algorithm, SIAM Review 31, 1-19.
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled
from lmmformula.typing import Index

__all__ = ["minimum_degree"]

_VARIABLE, _ELEMENT, _GONE = 0, 1, 2
(
    _START,
    _LENGTH,
    _ELEMENTS,
    _STATE,
    _WEIGHT,
    _DEGREE,
    _HEAD,
    _AFTER,
    _BEFORE,
    _STAMP,
    _HASH,
    _BUCKET,
    _CHAIN,
    _GROUP,
    _RANK,
) = range(15)
"""Rows of the graph, a column for each node (and one more, for degrees up to n):

where its list begins and how long it is, the number of elements at its head (the rest are variables); state; weight (0 where a
variable is no longer one of its own, negative while it is marked as one of L_p); degree, with lists of the variables of each
degree, linked both ways; stamp; hash, with chains of the variables of each hash; the node that it went with; its rank.
"""
_DENSE = 10.0
_ROOM = 8
"""Entries of free room for each node, beyond what must be there: the more, the more rarely lists are moved together."""


def minimum_degree(indptr: Index, indices: Index) -> Index:
    """A permutation under which the Cholesky factor of a matrix with this pattern stays sparse.

    Parameters
    ----------
    indptr, indices : integer arrays
        Compressed columns of both triangles without the diagonal, no entry twice.

    Returns
    -------
    order : (n,) array
        Variable `order[k]` is eliminated as the k-th.
    """
    ptr, size = np.asarray(indptr, dtype=np.int64), len(indices)
    n = len(ptr) - 1
    graph = np.full((15, n + 1), -1, dtype=np.int64)
    graph[_START, :n], graph[_LENGTH, :n] = ptr[:-1], np.diff(ptr)
    graph[_DEGREE], graph[_WEIGHT], graph[_RANK] = graph[_LENGTH], 1, n
    graph[[_ELEMENTS, _STATE, _STAMP]] = 0
    lists = np.empty(2 * size + _ROOM * n + 1, dtype=np.int64)
    lists[:size] = indices
    _minimum_degree(graph, lists, size, max(16, int(_DENSE * np.sqrt(n))))
    return np.argsort(graph[_RANK, :n], kind="stable")


@compiled()
def _minimum_degree(g, lists, free, dense):
    """Write when each variable is eliminated; equal ranks are eliminated together."""
    n = g.shape[1] - 1
    left = n
    for i in range(n):
        if g[_LENGTH, i] > dense:
            g[_WEIGHT, i], g[_STATE, i] = 0, _GONE
            left -= 1
        else:
            _link(g, i)
    stamp, least, count = n + 1, 0, 0  # not a literal, of which the compiler would make a type of its own
    while left > 0:
        while g[_HEAD, least] == -1:
            least += 1
        me = g[_HEAD, least]
        _unlink(g, me)
        g[_RANK, me] = count
        count += 1
        need = g[_LENGTH, me]
        for p in range(g[_START, me], g[_START, me] + g[_ELEMENTS, me]):
            need += g[_LENGTH, lists[p]]
        if free + need > len(lists):
            free = _compressed(g, lists, free)
        left -= g[_WEIGHT, me]
        free = _new_element(g, lists, free, me)
        _outside(g, lists, stamp, me)
        left -= _updated(g, lists, stamp, me)
        stamp += n + 1  # those of elements reach up to n further, and must not be met again
        stamp = _merged(g, lists, stamp, me)
        free = _relinked(g, lists, left, me)
        for q in range(g[_START, me], free):
            least = min(least, g[_DEGREE, lists[q]])
    for i in range(n):
        r = i
        while g[_GROUP, r] != -1:
            r = g[_GROUP, r]
        j = i
        while j != r:
            above = g[_GROUP, j]
            g[_GROUP, j], g[_RANK, j] = r, g[_RANK, r]
            j = above


@compiled()
def _link(g, i):
    """Put variable i at the head of the list of its degree."""
    d = g[_DEGREE, i]
    first = g[_HEAD, d]
    g[_AFTER, i], g[_BEFORE, i] = first, -1
    if first != -1:
        g[_BEFORE, first] = i
    g[_HEAD, d] = i


@compiled()
def _unlink(g, i):
    """Take variable i out of the list of its degree."""
    before, after = g[_BEFORE, i], g[_AFTER, i]
    if before == -1:
        g[_HEAD, g[_DEGREE, i]] = after
    else:
        g[_AFTER, before] = after
    if after != -1:
        g[_BEFORE, after] = before


@compiled()
def _compressed(g, lists, free):
    """Move the lists in use to the front, in the order in which they lie; where free room begins."""
    for i in range(g.shape[1] - 1):
        if (
            g[_STATE, i] != _GONE and g[_LENGTH, i] > 0
        ):  # the first entry changes places with a sign of whose list this is
            begin = g[_START, i]
            g[_START, i], lists[begin] = lists[begin], -1 - i
    read, write = 0, 0
    while read < free:
        i = -1 - lists[read]
        if i < 0:
            read += 1
            continue
        lists[write], g[_START, i] = g[_START, i], write
        for p in range(1, g[_LENGTH, i]):
            lists[write + p] = lists[read + p]
        read += g[_LENGTH, i]
        write += g[_LENGTH, i]
    return write


@compiled()
def _new_element(g, lists, free, me):
    """Write L_me to free room, its variables marked by negative weights and out of the lists of degrees; where room begins."""
    begin, total = free, 0
    g[_WEIGHT, me] = 0
    first, own = g[_START, me], g[_ELEMENTS, me]
    for s in range(own + 1):
        if s < own:
            e = lists[first + s]
            a, size = g[_START, e], g[_LENGTH, e]
            g[_STATE, e] = _GONE
        else:
            a, size = first + own, g[_LENGTH, me] - own
        for p in range(a, a + size):
            i = lists[p]
            weight = g[_WEIGHT, i]
            if weight > 0:
                total += weight
                g[_WEIGHT, i] = -weight
                lists[free] = i
                free += 1
                _unlink(g, i)
    g[_STATE, me], g[_ELEMENTS, me] = _ELEMENT, 0
    g[_START, me], g[_LENGTH, me], g[_DEGREE, me] = begin, free - begin, total
    return free


@compiled()
def _outside(g, lists, stamp, me):
    """Stamps of stamp + |L_e - L_me| for every element that L_me touches."""
    for q in range(g[_START, me], g[_START, me] + g[_LENGTH, me]):
        i = lists[q]
        for p in range(g[_START, i], g[_START, i] + g[_ELEMENTS, i]):
            e = lists[p]
            if g[_STAMP, e] < stamp:
                g[_STAMP, e] = g[_DEGREE, e] + stamp
            g[_STAMP, e] += g[_WEIGHT, i]  # which is negative


@compiled()
def _updated(g, lists, stamp, me):
    """Lists, hashes and degrees outside L_me of its variables; the weight that is eliminated along with `me`."""
    eliminated = 0
    for q in range(g[_START, me], g[_START, me] + g[_LENGTH, me]):
        i = lists[q]
        begin = g[_START, i]
        middle, end = begin + g[_ELEMENTS, i], begin + g[_LENGTH, i]
        kept, last, outside, key = begin, middle, 0, me
        for p in range(begin, middle):
            e = lists[p]
            if g[_STATE, e] == _GONE:
                continue
            more = g[_STAMP, e] - stamp
            if more > 0:
                outside += more
                key += e
                lists[kept] = e
                kept += 1
            else:  # L_e lies within L_me
                g[_STATE, e] = _GONE
        for p in range(middle, end):
            j = lists[p]
            if g[_WEIGHT, j] > 0:
                outside += g[_WEIGHT, j]
                key += j
                lists[last] = j
                last += 1
        if outside == 0:
            eliminated -= g[_WEIGHT, i]
            g[_WEIGHT, i], g[_STATE, i], g[_GROUP, i] = 0, _GONE, me
            continue
        if kept == middle:  # no element has left, so `me` was among the variables, and there is room for one
            lists[last], lists[middle] = lists[middle], me
            last += 1
        else:
            lists[kept] = me
            gap = middle - kept - 1
            for p in range(middle, last):
                lists[p - gap] = lists[p]
            last -= gap
        g[_ELEMENTS, i], g[_LENGTH, i] = kept + 1 - begin, last - begin
        g[_DEGREE, i] = min(g[_DEGREE, i], outside)
        key %= g.shape[1]
        g[_HASH, i], g[_CHAIN, i], g[_BUCKET, key] = key, g[_BUCKET, key], i
    g[_DEGREE, me] -= eliminated
    return eliminated


@compiled()
def _merged(g, lists, stamp, me):
    """Merge variables of L_me whose lists are equal; the next stamp."""
    for q in range(g[_START, me], g[_START, me] + g[_LENGTH, me]):
        if g[_WEIGHT, lists[q]] == 0:
            continue
        key = g[_HASH, lists[q]]
        i = g[_BUCKET, key]
        g[_BUCKET, key] = -1
        while i != -1 and g[_CHAIN, i] != -1:
            for p in range(g[_START, i], g[_START, i] + g[_LENGTH, i]):
                g[_STAMP, lists[p]] = stamp
            previous, j = i, g[_CHAIN, i]
            while j != -1:
                same = g[_LENGTH, j] == g[_LENGTH, i] and g[_ELEMENTS, j] == g[_ELEMENTS, i]
                p, end = g[_START, j], g[_START, j] + g[_LENGTH, j]
                while same and p < end:
                    same = g[_STAMP, lists[p]] == stamp
                    p += 1
                if same:
                    g[_WEIGHT, i] += g[_WEIGHT, j]
                    g[_WEIGHT, j], g[_STATE, j], g[_GROUP, j] = 0, _GONE, i
                    g[_CHAIN, previous] = g[_CHAIN, j]
                else:
                    previous = j
                j = g[_CHAIN, j]
            stamp += 1
            i = g[_CHAIN, i]
    return stamp


@compiled()
def _relinked(g, lists, left, me):
    """Put what remains of L_me back into the lists of degrees; where free room begins."""
    free, total = g[_START, me], g[_DEGREE, me]
    for q in range(free, free + g[_LENGTH, me]):
        i = lists[q]
        if g[_WEIGHT, i] == 0:
            continue
        own = -g[_WEIGHT, i]
        g[_WEIGHT, i] = own
        g[_DEGREE, i] = min(g[_DEGREE, i] + total, left) - own
        _link(g, i)
        lists[free] = i
        free += 1
    g[_LENGTH, me] = free - g[_START, me]
    if g[_LENGTH, me] == 0:
        g[_STATE, me] = _GONE
    return free
