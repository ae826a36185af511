"""Trees: covariances by shared branch lengths, from a precision with inner nodes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lmmformula.errors import DataError
from lmmformula.numerics.newick import read_tree


def shared(labels: list[str], tree: str) -> np.ndarray:
    """Covariance of some nodes."""
    found = read_tree(tree)
    q = found.precision().toarray()
    assert found.log_det == pytest.approx(np.linalg.slogdet(q)[1])
    at = [found.labels.index(label) for label in labels]
    return np.linalg.inv(q)[np.ix_(at, at)]


def test_covariance_is_the_length_of_the_path_that_is_shared() -> None:
    tree = "((a:1,b:2)ab:0.5,(c:1.5,'d e':0.25)[&comment]:1,f:3)root:9;"
    wanted = np.diag([1.5, 2.5, 2.5, 1.25, 3.0])
    wanted[0, 1] = wanted[1, 0] = 0.5
    wanted[2, 3] = wanted[3, 2] = 1.0
    np.testing.assert_allclose(shared(["a", "b", "c", "d e", "f"], tree), wanted)
    assert read_tree(tree).labels == ("a", "b", "c", "d e", "f", "ab", "node1")


def test_branches_of_length_zero_make_nodes_one() -> None:
    polytomy = "(((a:1,b:1):0,c:1):2,d:3);"
    assert len(read_tree(polytomy).labels) == 5
    np.testing.assert_allclose(shared(["a", "b", "c"], polytomy), 2.0 + np.eye(3))
    np.testing.assert_allclose(shared(["a", "b"], "((a:0,b:1):2,d:3);"), [[2.0, 2.0], [2.0, 3.0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("((a:1,b:1):1,a:2);", "1 labels at several tips, for example 'a'"),
        ("((a:1,b:-1):1,c:2);", "branch to 'b' has length -1"),
        ("((a:1,b):1,c:2);", "branch to 'b' has no length"),
        ("((a:1,b:1:1,c:2);", "is no tree in Newick's format"),
        ("a:1,b:2;", "reading stopped at character 4"),
        ("((a:x,b:1):1,c:2);", "is no tree"),
        ("((a:0,b:0):1,c:2);", "'b' is at the same place as 'a'"),
        ("(a:0,b:1);", "'a' is at the same place as the root"),
        ("", "is no tree"),
    ],
)
def test_what_is_no_tree_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read_tree(text)
