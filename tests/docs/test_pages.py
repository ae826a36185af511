"""Every example of every page runs and prints what the page says, and every picture of a page is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.site.blocks import PICTURE, has_examples, run_page, sessions
from lmmformula.families import FAMILIES, unregister_family

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN = [page for page in PAGES if has_examples(page.read_text(encoding="utf-8"))]
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\((?!https?:|mailto:)(?P<to>[^)\s]+)\)")
_GENERATED = {"formula_language.md", "datasets.md"}


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path) -> None:
    known = set(FAMILIES)
    run = run_page(page)
    for name in set(FAMILIES) - known:  # of a page on extending
        unregister_family(name)
    assert run.attempted > 0
    assert run.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in PICTURE.finditer(text):
        assert (page.parent / path["path"]).is_file(), path["path"]
    prose = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    for link in _LINK.finditer(prose):
        path, _, anchor = link["to"].partition("#")
        target = page.parent / path if path else page
        assert target.exists() or target.name in _GENERATED, link["to"]
        if anchor and target.suffix == ".md" and target.name not in _GENERATED:
            assert anchor in _anchors(target.read_text(encoding="utf-8")), link["to"]


def _anchors(text: str) -> set[str]:
    """Names of the headings, as MkDocs and GitHub make them, and those that a page gives itself."""
    own = set(re.findall(r"\{ *#([\w.-]+) *\}", text)) | set(re.findall(r'id="([\w.-]+)"', text))
    heads = re.findall(r"^#+ +(.*?)(?: *\{#.*)?$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", head.lower()).strip() for head in heads]
    return (
        own | {re.sub(r"\s", "-", head) for head in plain} | {re.sub(r"[\s-]+", "-", head) for head in plain}
    )


def test_blank_lines_within_outputs_are_marked_and_fences_are_none() -> None:
    page = "text\n```python\n>>> f()\na\n\nb\n\n>>> g()\n```\n![x](y.svg)"
    assert sessions(page) == "text\n\n>>> f()\na\n<BLANKLINE>\nb\n\n>>> g()\n\n![x](y.svg)"
    assert sessions("```\nplain\n\nblock\n```") == "\n\n\n\n"


def test_an_output_that_differs_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> 1 + 1\n3\n```\n\n>>> x = 2\n>>> x\n2\n")
    run = run_page(page)
    assert (run.attempted, run.failed) == (3, 1)
    assert "Expected" in capsys.readouterr().out
