"""How the package's files import each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmmformula

ROOT = Path(lmmformula.__file__).parent
MODULES = {
    ".".join(("lmmformula", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}

MOST_ANY = 150
"""Occurrences of the word in the package, in imports and comments too."""


def imported(module: str, *, for_types: bool) -> set[str]:
    """Files that a file imports anywhere, inside functions too, and with those for type checkers alone or without."""
    found = set()
    for node in statements(ast.parse(MODULES[module].read_text(encoding="utf-8")), for_types=for_types):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


def statements(tree: ast.AST, *, for_types: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        only_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if only_types and not for_types:
            continue
        yield node
        yield from statements(node, for_types=for_types)


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of files that reach each other."""
    reach = {start: reached(graph, start) for start in graph}
    found: list[set[str]] = []
    for module, there in reach.items():
        circle = {other for other in there if module in reach[other]} | {module}
        if len(circle) > 1 and circle not in found:
            found.append(circle)
    return found


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = list(graph[start])
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left += graph[module]
    return seen


@pytest.mark.parametrize("for_types", [False, True])
def test_files_do_not_import_in_circles(for_types: bool) -> None:
    """None at run time, not even inside functions; for types only among close neighbours."""
    graph = {module: imported(module, for_types=for_types) for module in MODULES}
    found = circles(graph)
    if not for_types:
        assert found == []
    assert all(len(circle) <= 4 for circle in found), found


def test_the_search_finds_circles() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_types_say_what_comes() -> None:
    """Where anything may come, a name of `lmmformula.typing` says so and why; a new `Any` is mostly a protocol not written."""
    words = {module: len(re.findall(r"\bAny\b", path.read_text("utf-8"))) for module, path in MODULES.items()}
    assert sum(words.values()) <= MOST_ANY, sorted(words.items(), key=lambda one: -one[1])[:10]
