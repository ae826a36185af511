"""Hooks of MkDocs: pages are Markdown that reads well as it stands, and become a site here.

Examples outside of fences become fenced ones, marks that doctest needs go, and the pages that live beside what they are about
(the grammar, the data sets) come in. The search index is also written as a script, as a page from the disk cannot fetch one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ["ELSEWHERE", "fenced", "on_files", "on_page_markdown", "on_post_build"]

ROOT = Path(__file__).resolve().parents[2]
_CODE = re.compile(
    r"`[^`]+`"
)  # Python-Markdown knows bars in code; elsewhere they must be escaped in a table
ELSEWHERE = {"formula_language.md": "grammar/README.md", "datasets.md": "datasets/README.md"}
"""Page of the site -> where its text is."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere."""
    from mkdocs.structure.files import File

    for name, path in ELSEWHERE.items():
        text = (ROOT / path).read_text(encoding="utf-8").replace("](../docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The text of a page as the site wants it."""
    return fenced(markdown).replace("](../grammar/README.md)", "](formula_language.md)")


def fenced(text: str) -> str:
    """Sessions as fenced blocks of ``pycon``, without ``<BLANKLINE>`` and without the empty line that closes an output."""
    out: list[str] = []
    fence, session = False, False
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.match(r" *(```|~~~)", line):
            while fence and out and not out[-1].strip():
                out.pop()
            fence = not fence
            runs = fence and following.lstrip().startswith(">>> ")
            out.append(line.replace("python", "pycon") if runs else line)
            continue
        if not fence and not session and line.startswith(">>> "):
            out += ["", "```pycon"]
            session = True
        elif session and not line.strip():
            out += ["```", ""]
            session = False
            continue
        if not fence and line.startswith("|"):
            line = _CODE.sub(lambda code: code[0].replace("\\|", "|"), line)
        out.append("" if (fence or session) and line.strip() == "<BLANKLINE>" else line)
    return "\n".join([*out, "```"] if session else out)


def on_post_build(*, config: MkDocsConfig) -> None:
    """The index of the search as a script, for pages that are opened from the disk."""
    index = Path(config.site_dir) / "search" / "search_index.json"
    if index.is_file():
        index.with_suffix(".js").write_text(f"var __index = {index.read_text('utf-8')}", encoding="utf-8")
