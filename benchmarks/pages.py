"""What every study does with a page of the documents: its figures drawn and its tables replaced, from the records."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.pql_records import RESULTS

__all__ = ["add_common", "insert", "redraw"]


def redraw(
    options: argparse.Namespace,
    draw: Callable[[Path, Path], Iterable[Path]],
    tables: Callable[[Path], dict[str, str]],
) -> None:
    """Draw the figures beside the page, print the tables and put them into it."""
    made = tables(options.results)
    for path in draw(options.results, options.page.parent / "figures"):
        print(path)
    for name, table in made.items():
        print(f"\n{name}\n\n{table}")
    insert(options.page, made)


def add_common(commands: argparse._SubParsersAction, page: Path, run: Callable[..., None]) -> None:
    """The command ``figures``, and the folder of the records as an option of every command."""
    figures = commands.add_parser("figures", help="figures and tables of the documents from the records")
    figures.add_argument("--page", type=Path, default=page, help="page whose tables are replaced")
    figures.set_defaults(run=run)
    for command in commands.choices.values():
        command.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")


def insert(page: Path, found: dict[str, str]) -> None:
    """Put each table between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` of a page."""
    text = page.read_text(encoding="utf-8")
    for name, table in found.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page} has no place for the table {name!r}: add the lines {begin} and {end}.")
        text = pattern.sub(lambda _, t=table, b=begin, e=end: f"{b}\n\n{t}\n\n{e}", text)
    page.write_text(text, encoding="utf-8")
