"""The dictionaries of docs/coming: one table, their numbers by running them, ours by running us.

python -m benchmarks.site.dictionary record      # run lme4, glmmTMB (R) and statsmodels, and keep their numbers
python -m benchmarks.site.dictionary pages       # write the tables from the numbers that are kept, and ours
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from benchmarks.pages import insert
from benchmarks.site.entries import Entry, Package
from benchmarks.site.entries_python import BAMBI, MIXEDMODELS, PYMER4, STATSMODELS
from benchmarks.site.entries_r import BRMS, GLMMTMB, LME4

__all__ = ["PACKAGES", "RECORD", "our_numbers", "page", "record", "table", "their_numbers"]

PACKAGES = {p.name: p for p in (LME4, GLMMTMB, BRMS, STATSMODELS, BAMBI, PYMER4, MIXEDMODELS)}
RECORD = Path(__file__).parents[1] / "results" / "dictionary.json"


def page(package: Package, docs: Path = Path("docs")) -> Path:
    """Where a package's dictionary is."""
    return docs / "coming" / f"{package.name.lower().replace('.', '_')}.md"


def our_numbers(package: Package) -> list[float | None]:
    """What our lines come to: a number for each entry that has one of theirs beside it."""
    names: dict[str, Any] = {}
    exec(package.ours_before, names)
    return [_ours(entry, names) for entry in package.entries]


def _ours(entry: Entry, names: dict[str, Any]) -> float | None:
    made = entry.ours.partition(" = ")
    if made[1] and made[0].isidentifier():
        exec(entry.ours, names)
    if not _has_number(entry):
        return None
    return float(eval(entry.ours if entry.mine is None else entry.mine, names))


def _has_number(entry: Entry) -> bool:
    return entry.quoted is not None or entry.number != ""


def their_numbers(package: Package) -> list[float | None]:
    """Numbers that are quoted, and those that were recorded."""
    kept = json.loads(RECORD.read_text(encoding="utf-8")).get(package.name, {}).get("numbers", {})
    quoted = [entry.quoted for entry in package.entries]
    return [kept.get(str(i)) if value is None else value for i, value in enumerate(quoted)]


def record(package: Package) -> dict[str, Any]:
    """Run the other program's lines."""
    if package.runs == "R":
        return _record_r(package)
    return _record_python(package)


def _record_r(package: Package) -> dict[str, Any]:
    lines = [package.before]
    for i, entry in enumerate(package.entries):
        if entry.number == "":
            continue
        runs = entry.theirs if entry.number is None else entry.number
        if entry.number is not None and " <- " in entry.theirs:
            lines.append(f"suppressMessages({{{entry.theirs}}})")
        lines.append(f'cat("@", {i}, format(as.numeric({{{runs}}}), digits = 15), "\\n")')
    lines.append('for (p in loadedNamespaces()) cat("#", p, as.character(packageVersion(p)), "\\n")')
    out = subprocess.run(
        ["Rscript", "-e", "\n".join(lines)], capture_output=True, text=True, check=True
    ).stdout
    found = [line.split()[1:] for line in out.splitlines() if line.startswith("@")]
    versions = dict(line.split()[1:] for line in out.splitlines() if line.startswith("#"))
    named = ("lme4", "lmerTest", "pbkrtest", "emmeans", "glmmTMB")
    return {
        "versions": {name: versions[name] for name in named if name in versions},
        "numbers": {i: float(value.replace("NA", "nan")) for i, value in found},
    }


def _record_python(package: Package) -> dict[str, Any]:
    from importlib.metadata import version

    names: dict[str, Any] = {}
    exec(package.before, names)
    numbers: dict[str, float] = {}
    for i, entry in enumerate(package.entries):
        if entry.number == "":
            continue
        if entry.number is not None:
            exec(entry.theirs, names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            numbers[str(i)] = float(eval(entry.number or entry.theirs, names))
    return {"versions": {package.name: version(package.name)}, "numbers": numbers}


def table(package: Package, ours: list[float | None]) -> str:
    """The dictionary as Markdown."""
    kept = json.loads(RECORD.read_text(encoding="utf-8")).get(package.name, {})
    versions = ", ".join(f"{name} {number}" for name, number in kept.get("versions", {}).items())
    whose = f"run with {versions}" if versions else f"from {package.runs}"
    rows = [f"| | {package.name} | lmmformula | theirs | ours |", "|---|---|---|--:|--:|"]
    for entry, theirs, own in zip(package.entries, their_numbers(package), ours, strict=True):
        digits = _digits(entry, theirs)
        code = [_code(entry.theirs), _code(entry.ours)]
        about = f"{entry.about}: `{entry.mine}`" if entry.mine and len(entry.mine) < 28 else entry.about
        rows.append(f"| {about} | {code[0]} | {code[1]} | {_text(theirs, digits)} | {_text(own, digits)} |")
    before = "\n".join(f">>> {line}" for line in package.ours_before.splitlines())
    return f"```python\n{before}\n```\n\n" + "\n".join(rows) + f"\n\nTheir numbers: {whose}."


def _code(text: str) -> str:
    """A line as code, unless it is words."""
    if "`" in text or text.startswith("the "):
        return text.replace("|", "\\|")
    return "`" + text.replace("|", "\\|") + "`"


def _digits(entry: Entry, value: float | None) -> int:
    """Decimals shown: those on which the two must agree, at most five significant digits more than needed."""
    if value is None or value == 0:
        return 2
    wanted = math.ceil(-math.log10(max(entry.rtol, 1e-7)))
    return max(0, min(wanted - 1 - math.floor(math.log10(abs(value))), 6))


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def main(wanted: list[str]) -> int:
    """Record, or write the pages."""
    if wanted[:1] == ["record"]:
        kept = {p.name: record(p) for p in PACKAGES.values() if p.runs in ("R", "python")}
        RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    else:
        for package in PACKAGES.values():
            insert(page(package), {"dictionary": table(package, our_numbers(package))})
            print(page(package))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
