"""The files of results: small JSON that is added to, so that a long study can stop and go on."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "machine", "read_record", "write_record"]

RESULTS = Path(__file__).with_name("results")
"""Where results are kept unless the command line says otherwise."""

_DIGITS = 7


def read_record(path: Path) -> dict[str, Any]:
    """What the file holds; nothing if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_record(path: Path, content: dict[str, Any], digits: int = _DIGITS) -> None:
    """Replace the file, one line for each entry of a list, numbers with so many digits."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(_rounded(v, digits), allow_nan=False) for v in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(_rounded(value, digits), allow_nan=False)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    temporary.replace(path)


def machine() -> dict[str, Any]:
    """Enough of the machine to read a time."""
    return {"system": platform.system(), "cpus": os.cpu_count(), "python": platform.python_version()}


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {k: _rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v, digits) for v in value]
    return value
