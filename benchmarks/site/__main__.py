"""Everything of the site that is made from code, made again.

python -m benchmarks.site             # pictures of the pages' examples, dictionaries, the picture of the planner's rules
python -m benchmarks.site docs/gallery/schools.md ...   # pictures of these pages alone
python -m benchmarks.site tables      # dictionaries and the picture of the planner's rules alone
python -m benchmarks.site figures     # what benchmarks/*_figures.py draw from fits of their own
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.site.blocks import has_examples, run_page

DOCS = Path("docs")


def main(wanted: list[str]) -> int:
    """Draw what the pages draw; the number of failed examples is the exit code's reason."""
    if not wanted or wanted == ["tables"]:
        tables()
    if wanted == ["tables"]:
        return 0
    if wanted == ["figures"]:
        return figures()
    failed = 0
    for page in [Path(name) for name in wanted] or sorted(DOCS.rglob("*.md")):
        if has_examples(page.read_text(encoding="utf-8")):
            run = run_page(page, save)
            failed += run.failed
            print(f"{page}: {run.attempted} examples, {run.failed} failed, {len(run.pictures)} pictures")
    return 1 if failed else 0


def save(path: Path) -> None:
    """The current figure as a file that is the same whenever it is drawn."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    plt.gcf().savefig(path, metadata={"Date": None, "Creator": None})


def figures() -> int:
    """Every module that draws for a page when it is run, each in a process of its own; how many of them failed."""
    failed = 0
    for module in sorted(Path("benchmarks").glob("*_figures.py")):
        if "__main__" in module.read_text(encoding="utf-8"):
            command = [sys.executable, "-m", f"benchmarks.{module.stem}", str(DOCS / "figures")]
            failed += subprocess.run(command, check=False).returncode != 0
    return failed


def tables() -> None:
    """Dictionaries and the picture of the planner's rules."""
    from benchmarks.site import dictionary, rules

    dictionary.main(["pages"])
    rules.main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
