"""What turns pages into the site's Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.site.hooks import fenced

ROOT = Path(__file__).parents[2]


def test_sessions_without_fences_get_them() -> None:
    assert fenced("a\n>>> 1\n1\n\nb") == "a\n\n```pycon\n>>> 1\n1\n```\n\nb"
    assert fenced(">>> 1\n1") == "\n```pycon\n>>> 1\n1\n```"


def test_marks_of_doctest_go() -> None:
    assert fenced("```python\n>>> f()\na\n<BLANKLINE>\nb\n\n```") == "```pycon\n>>> f()\na\n\nb\n```"
    assert fenced("```python\nx = 1\n```") == "```python\nx = 1\n```"


def test_bars_in_the_code_of_tables_are_bars() -> None:
    assert fenced("| `(1 \\| g)` | a \\| b |") == "| `(1 | g)` | a \\| b |"


def test_every_page_is_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f"{page}\n" not in listed + "\n"] == []


def test_roles_are_code() -> None:
    pytest.importorskip("griffe")
    from benchmarks.site.roles import plain

    assert plain("as :func:`~lmmformula.fit` or :meth:`emmeans` of ``a``") == "as `fit` or `emmeans` of `a`"
