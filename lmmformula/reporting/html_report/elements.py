"""Pieces of HTML. What a function takes as text it escapes; what it takes as `html` it does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from lmmformula.reporting.grids import Grid

__all__ = ["contents", "definitions", "items", "paragraph", "section", "subsection", "table", "verbatim"]


def section(title: str, *html: str) -> str:
    """A section with its heading; nothing if it has no content."""
    content = "\n".join(part for part in html if part)
    return (
        f'<section id="{_anchor(title)}">\n<h2>{escape(title)}</h2>\n{content}\n</section>' if content else ""
    )


def contents(titles: Iterable[str]) -> str:
    """Links to the sections of these titles."""
    inside = "".join(f'<li><a href="#{_anchor(title)}">{escape(title)}</a></li>' for title in titles)
    return f'<nav class="contents" aria-label="Contents"><ul>{inside}</ul></nav>' if inside else ""


def _anchor(title: str) -> str:
    return "-".join(re.findall("[a-z0-9]+", title.lower()))


def subsection(title: str, *html: str) -> str:
    """A heading of the third level and what follows; nothing if nothing does."""
    content = "\n".join(part for part in html if part)
    return f"<h3>{escape(title)}</h3>\n{content}" if content else ""


def paragraph(text: str, kind: str = "") -> str:
    """Text, of a class of the style sheet if named."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>" if text else ""


def items(texts: Iterable[str], kind: str = "") -> str:
    """A list of sentences."""
    inside = "".join(f"<li>{escape(text)}</li>" for text in texts)
    opening = f'<ul class="{kind}">' if kind else "<ul>"
    return f"{opening}{inside}</ul>" if inside else ""


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in pairs
    )
    return f'<div class="scroll"><table class="pairs">{rows}</table></div>' if rows else ""


def table(grid: Grid) -> str:
    """A grid in a box that scrolls sideways by itself where the page is narrow."""

    def row(tag: str, cells: Sequence[str]) -> str:
        inside = (
            f"<{tag}{' class=' + chr(34) + 'left' + chr(34) if j in grid.left else ''}>{escape(cell)}</{tag}>"
            for j, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inside)}</tr>"

    body = "\n".join(row("td", cells) for cells in grid.rows)
    caption = f'<p class="caption">{escape(grid.caption)}</p>\n' if grid.caption else ""
    label = f' aria-label="{escape(grid.caption)}"' if grid.caption else ""
    return (
        f'{caption}<div class="scroll" tabindex="0"><table{label}><thead>{row("th", grid.header)}</thead>\n'
        f"<tbody>{body}</tbody></table></div>{paragraph(grid.note, 'note')}"
    )


def verbatim(text: str) -> str:
    """Text as it stands."""
    return f'<pre tabindex="0">{escape(text)}</pre>'
