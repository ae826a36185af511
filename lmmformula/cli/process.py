"""One command as a process: exit codes, and what goes to standard error.

Results go to standard output, warnings to standard error, one line each. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lmmformula.cli.arguments import PROGRAM, parser
from lmmformula.errors import LmmformulaError, LmmformulaWarning

__all__ = ["FAILED", "INTERRUPTED", "main"]

FAILED = 1
"""The model or the data cannot serve."""
INTERRUPTED = 130
"""Ctrl-C, as shells count it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0 done; 1 the model or the data cannot serve, the reason is on standard error; 3 done, but a fit has not converged; 130
        interrupted. Wrong usage exits with 2.
    """
    _write_anything()
    try:
        arguments = _parsed(argv)
        run: Callable[[argparse.Namespace], int] = arguments.run
        with _warnings_as_lines(quiet=arguments.quiet) as seen:
            arguments.seen = seen
            code = run(arguments)
        _flush()
    except BrokenPipeError:
        # The reader has left; what Python still has to flush at exit goes nowhere instead of raising again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _failed(f"not enough memory: {error}".rstrip(": "))
    except (LmmformulaError, OSError, ImportError) as error:
        return _failed(_said(error))
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _write_anything() -> None:
    """A character that standard output's encoding lacks is written as an escape; else it would end the command."""
    reconfigure = getattr(
        sys.stdout, "reconfigure", None
    )  # there may be no standard output, or one of another kind
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    try:
        return parser().parse_args(argv)
    except SystemExit:  # help was shown, or wrong usage
        _flush()
        raise


def _flush() -> None:
    if sys.stdout is not None:  # it is None where the caller has closed it
        sys.stdout.flush()


def _said(error: Exception) -> str:
    """The message, with the notes at the end of its first line: lines after it show a formula."""
    first, *rest = str(error).split("\n")
    notes = [f"[{note}]" for note in getattr(error, "__notes__", ())]
    return "\n".join([" ".join([first, *notes]), *rest])


def _failed(why: str) -> int:
    print(f"{PROGRAM}: error: {why}", file=sys.stderr)
    return FAILED


@contextmanager
def _warnings_as_lines(*, quiet: bool) -> Iterator[list[str]]:
    """Warnings of this package to standard error, one line each, without source lines; the others are left out."""
    seen: list[str] = []

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = " ".join(str(message).split())
        seen.append(text)
        if not quiet:
            print(f"{PROGRAM}: warning: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", LmmformulaWarning)
        warnings.showwarning = show
        yield seen
