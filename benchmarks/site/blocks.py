"""Examples of a page: where they stand, and how they run.

A page holds sessions of Python, ``>>> `` and what is printed, in fenced blocks or without fences. They run from the top
of the page to its end in one namespace, as :mod:`doctest` runs them. A line ``![...](.../NAME.svg)`` takes the picture that
the code above it has drawn.
"""

from __future__ import annotations

import doctest
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PICTURE", "Run", "has_examples", "page_segments", "run_page", "sessions"]

PICTURE = re.compile(r"^!\[[^\]]*\]\((?P<path>[^)]+\.svg)\)", re.MULTILINE)
_FENCE = re.compile(r"^ *(```|~~~)")


@dataclass(frozen=True)
class Run:
    """What running a page came to: examples tried and failed, and the pictures that it drew."""

    attempted: int
    failed: int
    pictures: tuple[Path, ...]


def has_examples(text: str) -> bool:
    """Whether a page has anything to run."""
    return bool(re.search(r"^ *>>> ", text, re.MULTILINE))


def sessions(text: str) -> str:
    """The page for doctest: fences are blank lines, and blank lines within an output are marked."""
    out: list[str] = []
    block: list[str] | None = None
    for line in text.split("\n"):
        if _FENCE.match(line):
            if block is not None:
                out += _marked(block)
            block = [] if block is None else None
            out.append("")
        elif block is None:
            out.append(line)
        else:
            block.append(line)
    return "\n".join(out + (block or []))


def _marked(block: list[str]) -> list[str]:
    """Lines of a fenced block; a blank line between two lines of an output is ``<BLANKLINE>``."""
    if not any(line.lstrip().startswith(">>> ") for line in block):
        return [""] * len(block)
    out, within = [], False
    for number, line in enumerate(block):
        begins = line.lstrip().startswith((">>> ", "..."))
        rest = [later for later in block[number:] if later.strip()]
        blank = not line.strip()
        inside = blank and within and bool(rest) and not rest[0].lstrip().startswith(">>> ")
        out.append("<BLANKLINE>" if inside else line)
        within = within or begins
    return out


def page_segments(text: str) -> Iterator[tuple[str, str | None, int]]:
    """Parts of a page up to each picture of its own folder of pictures: text, path of the picture, lines before."""
    at = 0
    for found in PICTURE.finditer(text):
        yield text[at : found.start()], found["path"], text.count("\n", 0, at)
        at = found.start()
    yield text[at:], None, text.count("\n", 0, at)


@contextmanager
def _without_notes() -> Iterator[None]:
    """Errors are compared by their messages: doctest takes notes for the message in some versions of Python."""
    shown = traceback.format_exception_only

    def message(kind: Any, value: BaseException | None = None) -> list[str]:
        error = traceback.TracebackException(kind, value or kind, None)
        error.__notes__ = None
        return ["".join(error.format_exception_only())]

    traceback.format_exception_only = message
    try:
        yield
    finally:
        traceback.format_exception_only = shown


def run_page(page: Path, keep: Callable[[Path], object] | None = None) -> Run:
    """Run the examples of a page; `keep` is called with the path of each picture that the code above it has drawn."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from benchmarks.site.style import STYLE

    names: dict[str, object] = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    pictures: list[Path] = []
    plt.close("all")
    with mpl.rc_context(STYLE):
        for part, path, line in page_segments(sessions(page.read_text(encoding="utf-8"))):
            test = doctest.DocTestParser().get_doctest(part, names, page.name, str(page), line)
            with _without_notes():
                runner.run(test, clear_globs=False)
            names = test.globs
            if path is not None and plt.get_fignums():
                pictures.append((page.parent / path).resolve())
                if keep is not None:
                    keep(pictures[-1])
                plt.close("all")
    plt.close("all")
    found = runner.summarize(verbose=False)
    return Run(found.attempted, found.failed, tuple(pictures))
