"""Write what the examples of a page print into the page: for a page that is being written, to be read afterwards.

python -m benchmarks.site.accept docs/start.md ...

Only fenced blocks are rewritten. An error is written as doctest wants it, without its traceback.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
import traceback
from pathlib import Path

__all__ = ["accepted"]

_BLOCK = re.compile(r"^```python\n(?P<body>>>> .*?)^```$", re.MULTILINE | re.DOTALL)


def accepted(text: str) -> str:
    """The page with the outputs that its examples have now."""
    names: dict[str, object] = {"__name__": "__main__"}

    def block(found: re.Match[str]) -> str:
        examples = doctest.DocTestParser().get_examples(found["body"])
        return "```python\n" + "".join(_shown(example, names) for example in examples) + "```"

    return _BLOCK.sub(block, text)


def _shown(example: doctest.Example, names: dict[str, object]) -> str:
    lines = example.source.rstrip("\n").split("\n")
    out = "\n".join((">>> " if i == 0 else "... ") + line for i, line in enumerate(lines)) + "\n"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(example.source, "<page>", "single"), names)
        except Exception as error:
            if example.exc_msg is None:
                print(
                    f"an error that the page did not have: {example.source.strip()}: {error}", file=sys.stderr
                )
            error.__notes__ = []
            what = "".join(traceback.format_exception_only(error))
            printed.write("Traceback (most recent call last):\n    ...\n" + what)
    return out.replace("... \n", "...\n") + "\n".join(x.rstrip() for x in printed.getvalue().split("\n"))


def main(pages: list[str]) -> None:
    """Rewrite the pages, each from the top."""
    import matplotlib as mpl

    mpl.use("Agg")
    for name in pages:
        page = Path(name)
        page.write_text(accepted(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
