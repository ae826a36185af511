r"""Trees in Newick's format, and Brownian motion along their branches.

A trait that moves by Brownian motion from the root on has at node i, with parent p and branch length l_i (Felsenstein 1985)::

    b_i = b_p + e_i,    e_i ~ N(0, l_i),    b_root = 0

so that the covariance of two tips is the length of the path from the root that they share. With P the indicators of parents
other than the root, (I - P) b = e, and over tips and inner nodes the precision is sparse (Hadfield & Nakagawa 2010)::

    Q = (I - P)' diag(1 / l) (I - P),    log|Q| = -sum log l

with three elements for each branch; its marginal for the tips is the inverse of the matrix of shared lengths. A branch of
length zero makes two nodes one.

References
----------
Felsenstein (1985), Phylogenies and the comparative method, Am. Nat. 125, 1-15. Hadfield & Nakagawa (2010), General quantitative
genetic methods for comparative biology, J. Evol. Biol. 23, 494-508.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Tree", "read_tree"]

_TOKEN = re.compile(r"\[[^\]]*\]|'((?:[^']|'')*)'|([(),;])|(:)\s*([^\s(),:;\[\]]*)|([^\s(),:;\[\]']+)|\s+")


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Nodes other than the root, tips first.

    Attributes
    ----------
    labels : tuple of str
        Of tips as they stand in the text; of inner nodes their own, or ``node1``, ``node2``, ... where they have none.
    parents : (n,) array
        Node that each one hangs on, -1 for the root.
    lengths : (n,) array
        Of the branch to it, > 0.
    """

    labels: tuple[str, ...]
    parents: Index
    lengths: Array

    @property
    def log_det(self) -> float:
        """log|Q|."""
        return -float(np.log(self.lengths).sum())

    def precision(self) -> csr_array:
        """Q, (n, n), with both triangles."""
        from scipy.sparse import csr_array

        every, inner = np.arange(len(self.parents)), np.flatnonzero(self.parents >= 0)
        values = np.concatenate([np.ones(len(every)), -np.ones(len(inner))])
        places = np.concatenate([every, inner]), np.concatenate([every, self.parents[inner]])
        root = csr_array((values, places), shape=(len(every), len(every)))
        return csr_array(root.T @ (root.multiply((1.0 / self.lengths)[:, None])).tocsr())


def read_tree(text: str, name: str = "the tree") -> Tree:
    """Read a tree from Newick's format.

    Parameters
    ----------
    text : str
        For example ``"((human:0.1,chimp:0.1):0.3,gorilla:0.4);"``; comments in square brackets are passed over, labels may
        stand in single quotes.
    name : str
        What messages call it.

    Raises
    ------
    DataError
        For text that is no tree, branches without a length or with a negative one, and tips with the same label or at the same
        place.
    """
    parents, lengths, labels = _nodes(text, name)
    inner = set(parents)
    tips = [i for i in range(len(parents)) if i not in inner]
    if twice := [label for label, times in Counter(labels[i] for i in tips).items() if times > 1]:
        raise DataError(
            f"{name} has {len(twice):,} labels at several tips, for example {twice[0]!r}; keep one of each."
        )
    for i in range(1, len(parents)):
        if not (np.isfinite(lengths[i]) and lengths[i] >= 0.0):
            what = "no length" if np.isnan(lengths[i]) else f"length {lengths[i]:g}"
            raise DataError(
                f"{name}: the branch to {labels[i] or 'an inner node'!r} has {what}; Brownian motion needs lengths >= 0 of all "
                "branches."
            )
    return _joined(parents, lengths, labels, tips, name)


def _nodes(text: str, name: str) -> tuple[list[int], list[float], list[str]]:
    """Parent, length and label of each node, the root first."""
    parents, lengths, labels = [-1], [np.nan], [""]
    here, at, ended = 0, 0, False

    def child(of: int) -> int:
        parents.append(of)
        lengths.append(np.nan)
        labels.append("")
        return len(parents) - 1

    while at < len(text) and not ended:
        found = _TOKEN.match(text, at)
        if found is None:
            raise _not_a_tree(name, text, at)
        quoted, mark, colon, number, word = found.groups()
        if mark == "(":
            here = child(here)
        elif mark == ",":
            if here == 0:
                raise _not_a_tree(name, text, at)
            here = child(parents[here])
        elif mark == ")":
            if here == 0:
                raise _not_a_tree(name, text, at)
            here = parents[here]
        elif mark == ";":
            ended = True
        elif colon:
            try:
                lengths[here] = float(number)
            except ValueError:
                raise _not_a_tree(name, text, at) from None
        elif quoted is not None or word:
            labels[here] = quoted.replace("''", "'") if quoted is not None else word
        at = found.end()
    if here != 0 or len(parents) < 3:
        raise _not_a_tree(name, text, at)
    return parents, lengths, labels


def _not_a_tree(name: str, text: str, at: int) -> DataError:
    return DataError(
        f"{name} is no tree in Newick's format: reading stopped at character {at + 1:,} of {len(text):,}, "
        f"{text[max(0, at - 10) : at + 10]!r}. Such a tree reads ((a:1,b:1):2,c:3);"
    )


def _joined(parents: list[int], lengths: list[float], labels: list[str], tips: list[int], name: str) -> Tree:
    """The tree without branches of length zero."""
    tip = set(tips)
    place, own = list(range(len(parents))), list(labels)
    for i in range(1, len(parents)):  # parents come before their children
        up = place[parents[i]]
        if lengths[i] > 0.0:
            continue
        if i in tip:
            if up == 0 or up in tip:
                where = "the root, where its effect has no variance" if up == 0 else repr(own[up])
                raise DataError(
                    f"{name}: {labels[i]!r} is at the same place as {where}. Levels that are the same are one level; give it a "
                    "branch of its own."
                )
            tip.add(up)
            tip.discard(i)
            own[up] = labels[i]
        place[i] = up
    nodes = [i for i in range(1, len(parents)) if place[i] == i]
    order = [*(i for i in nodes if i in tip), *(i for i in nodes if i not in tip)]
    rank = {node: j for j, node in enumerate(order)}
    taken, count, names = {own[i] for i in order}, 0, []
    for i in order:
        label = own[i]
        while not label or (i not in tip and label in names):
            count += 1
            label = f"node{count}" if f"node{count}" not in taken else ""
        names.append(label)
    up = np.array([rank.get(place[parents[i]], -1) for i in order], dtype=np.intp)
    return Tree(tuple(names), up, np.array([lengths[i] for i in order]))
