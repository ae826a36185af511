"""Where the numbers come from: references, versions, seed."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from lmmformula.reporting.citations import Citation, bibtex
from lmmformula.reporting.html_report.elements import definitions, verbatim

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["origins", "references"]

_ALWAYS = ("numpy", "scipy", "pandas", "narwhals", "formulaic")
_BY_KIND = {
    "krylov": ("numba",),
    "corrected": ("numba",),
    "quasi": ("numba",),
    "posterior": ("jax", "numpyro"),
}


def references(found: Sequence[Citation]) -> str:
    """A list of references with what each stands for, and the BibTeX entries."""
    entries = []
    for citation in found:
        text = escape(citation.text)
        if citation.link:
            before, mark, number = text.rpartition("doi:" if "doi:" in text else "arXiv:")
            text = f'{before}<a href="{escape(citation.link)}">{mark}{number[:-1]}</a>.'
        entries.append(f"<li>{text} <span class='note'>({escape(citation.why)})</span></li>")
    return (
        f"<ul>{''.join(entries)}</ul>\n<details><summary>BibTeX</summary>{verbatim(bibtex(found))}</details>"
    )


def origins(fits: Iterable[Fitted], *, plots: bool) -> str:
    """Versions of what computed the numbers, and the seeds of methods that draw."""
    from lmmformula.version import __version__

    fits = list(fits)
    names = [*_ALWAYS, *(n for fit in fits for n in _BY_KIND.get(fit.backend.trust, ()))] + [
        "matplotlib"
    ] * plots
    pairs = [("lmmformula", __version__), ("Python", platform.python_version())]
    pairs += [(name, found) for name in dict.fromkeys(names) if (found := _version(name))]
    seeds = dict.fromkeys(seed for fit in fits if (seed := fit.inference.seed))
    return definitions([*pairs, *[("Seed", seed) for seed in seeds]])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
