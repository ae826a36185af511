"""Figures and tables of the studies of ``method="pql"``, from their records: the same bytes from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pql_records import read_record

__all__ = ["STYLE", "draw", "head", "line", "slope", "tables"]

_PROGRAMS = {
    "lmmformula": ("lmmformula, PQL", "#0b5fa5", "o"),
    "paper": ("the paper's R functions", "#3b8f5a", "s"),
    "glmer0": ("glmer, nAGQ = 0", "#c77f0a", "^"),
    "glmer1": ("glmer, nAGQ = 1", "#b03a48", "v"),
}
_METHODS = {"pql": ("PQL", "#0b5fa5", "o"), "logistic": ("logistic regression", "#8a8a8a", "x")}
_LABELS = {
    "pql": "PQL",
    "pql-fixed": "PQL, dispersion fixed",
    "pql-corrected": "PQL, corrected",
    "pql-exact": "PQL, exact traces",
    "laplace": "Laplace",
}
_SETTINGS = {"flat": "all slopes zero", "sloped": "slopes -1.5 to 1.5"}
_KINDS = ("intercept", "client", "item", "client x item", "row")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "lmmformula",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def slope(rows: Sequence[float], values: Sequence[float]) -> float | None:
    """Slope of log values on log rows by least squares over the larger half of the sizes, three at least.

    Small fits are mostly fixed cost, so the exponent of growth is that of the larger ones. None with fewer than three.
    """
    order = np.argsort(rows)[-max((len(rows) + 1) // 2, 3) :]
    if len(order) < 3:
        return None
    x, y = np.log(np.asarray(rows, dtype=float)[order]), np.log(np.asarray(values, dtype=float)[order])
    x = x - x.mean()
    return float(x @ y / (x @ x))


def draw(results: Path, folder: Path) -> list[Path]:
    """Write the figures whose records exist into `folder`; returns their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with mpl.rc_context(STYLE):
        for name, maker, key in (("time", _time_figure, "fits"), ("mse", _error_figure, "cells")):
            if entries := read_record(results / f"pql_{name}.json").get(key):
                figure = maker(entries)
                made.append(folder / f"pql_{name}.svg")
                figure.savefig(made[-1], metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return made


def _time_figure(fits: list[dict[str, Any]]) -> Any:
    """Seconds against rows on logarithmic scales, a line for each program."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.2, 4.0))
    for program, (label, colour, marker) in _PROGRAMS.items():
        rows, seconds = _series(fits, program)
        if not rows:
            continue
        rate = slope(rows, seconds)
        text = label if rate is None else f"{label}: slope {rate:.2f}"
        ax.plot(rows, seconds, color=colour, marker=marker, markersize=5, linewidth=1.4, label=text)
    ax.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds for one fit")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def _error_figure(cells: list[dict[str, Any]]) -> Any:
    """Mean squared errors against rows: intercept and slopes above each other, a column for each setting."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    settings = [s for s in _SETTINGS if any(c["setting"] == s for c in cells)]
    figure, axes = plt.subplots(
        2, len(settings), figsize=(3.6 * len(settings), 5.6), sharex=True, sharey="row", squeeze=False
    )
    for column, setting in enumerate(settings):
        chosen = [c for c in cells if c["setting"] == setting]
        rows = np.array([c["rows"] for c in chosen])
        for ax, part, power in zip(axes[:, column], ("intercept", "slopes"), (-0.56, -1.0), strict=True):
            guide = chosen[0][f"pql_{part}"] * (rows / rows[0]) ** power
            ax.plot(rows, guide, color="#bbbbbb", linewidth=1.0, label=f"slope {power:g}")
            for method, (label, colour, marker) in _METHODS.items():
                values = [c[f"{method}_{part}"] for c in chosen]
                ax.plot(rows, values, color=colour, marker=marker, markersize=4.5, linewidth=1.2, label=label)
            ax.set(xscale="log", yscale="log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            ax.yaxis.set_minor_formatter(NullFormatter())
            if column == 0:
                ax.set_ylabel(f"mean squared error, {part}")
                ax.legend(loc="lower left", fontsize=8)
        axes[0, column].set_title(_SETTINGS[setting], fontsize=10)
        axes[1, column].set_xlabel("rows")
    figure.tight_layout()
    return figure


def _series(fits: list[dict[str, Any]], program: str) -> tuple[list[float], list[float]]:
    """Rows and seconds of a program's fits of the sparse design, in order."""
    chosen = sorted(
        (f["rows"], f["seconds"])
        for f in fits
        if f["program"] == program and f["design"] == "sparse" and "seconds" in f
    )
    return [r for r, _ in chosen], [s for _, s in chosen]


def tables(results: Path) -> dict[str, str]:
    """The Markdown tables whose records exist, by name."""
    out = {}
    for name, key, maker in (
        ("time", "fits", _time_table),
        ("mse", "cells", _error_table),
        ("coverage", "studies", _coverage_tables),
    ):
        if entries := read_record(results / f"pql_{name}.json").get(key):
            out[name] = maker(entries)
    return out


def _time_table(fits: list[dict[str, Any]]) -> str:
    """Seconds of every program, and the memory that a fit with lmmformula adds, by size."""
    heads = [label for label, _, _ in _PROGRAMS.values()]
    lines = head(["design", "rows", "levels", *heads, "memory added (GB)", "outer iterations"])
    for design, size in sorted(
        {(f["design"], f["size"]) for f in fits}, key=lambda k: (k[0] != "sparse", k[1])
    ):
        row = [f for f in fits if (f["design"], f["size"]) == (design, size)]
        by_name = {f["program"]: f for f in row}
        own, levels = by_name.get("lmmformula", {}), " x ".join(f"{m:,}" for m in row[0]["levels"])
        seconds = [_seconds(by_name.get(program, {})) for program in _PROGRAMS]
        added = f"{(own['memory'] - own['before']) / 1e3:.2f}" if "memory" in own else ""
        lines.append(
            line([design, f"{row[0]['rows']:,}", levels, *seconds, added, str(own.get("outer", ""))])
        )
    rates = [slope(*_series(fits, program)) for program in _PROGRAMS]
    lines.append(
        line(["", "", "log-log slope, sparse", *("" if r is None else f"{r:.2f}" for r in rates), "", ""])
    )
    return "\n".join(lines)


def _seconds(fit: dict[str, Any]) -> str:
    if "seconds" in fit:
        return f"{fit['seconds']:.2f}" if fit["seconds"] < 100 else f"{fit['seconds']:,.0f}"
    return fit.get("failure", "")[:40]


def _error_table(cells: list[dict[str, Any]]) -> str:
    """Mean squared errors with their standard errors, and mean estimates of the variances."""
    columns = ["PQL intercept", "PQL slopes", "logistic intercept", "logistic slopes", "sigma_A", "sigma_B"]
    lines = head(["setting", "rows", "replicates", *columns])
    for c in cells:
        values = [
            f"{c[name]:.2e} ± {c[name + '_se']:.0e}"
            for name in ("pql_intercept", "pql_slopes", "logistic_intercept", "logistic_slopes")
        ]
        sds = [f"{v:.3f}" for v in c["sd"]]
        lines.append(
            line([_SETTINGS[c["setting"]], f"{c['rows']:,.0f}", str(c["replicates"]), *values, *sds])
        )
    return "\n".join(lines)


def _coverage_tables(studies: list[dict[str, Any]]) -> str:
    """One table of whole studies, one of kinds of coefficients, and one of every coefficient for PQL."""
    lines = head(["method", "rows", "replicates", "coverage", "sigma_A^2", "sigma_B^2", "phi", "seconds"])
    for s in studies:
        pairs = [f"{v:.3f} (true {t:.2f})" for v, t in zip(s["variances"], s["true_variances"], strict=True)]
        share = f"{s['coverage']:.4f} ± {s['binomial_se']:.4f}"
        ends = [*pairs, f"{s['dispersion']:.3f}", f"{s['seconds']:.1f}"]
        lines.append(line([_LABELS[s["method"]], f"{s['rows']:,}", str(s["replicates"]), share, *ends]))
    return "\n\n".join(["\n".join(lines), _by_kind(studies), _by_coefficient(studies)])


def _by_kind(studies: list[dict[str, Any]]) -> str:
    """Coverage by what a coefficient belongs to, with its number of coefficients."""
    lines = head(["method", "rows", *_KINDS])
    for s in studies:
        cells = []
        for kind in _KINDS:
            shares = [c["coverage"] for c in s["coefficients"].values() if c["kind"] == kind]
            cells.append(f"{np.mean(shares):.3f} ({len(shares)})")
        lines.append(line([_LABELS[s["method"]], f"{s['rows']:,}", *cells]))
    return "\n".join(lines)


def _by_coefficient(studies: list[dict[str, Any]]) -> str:
    """Every coefficient of the first study: truth, bias, spread, mean standard error, coverage."""
    study = studies[0]
    lines = head(
        ["coefficient", "of the", "true", "bias", "sd of estimates", "mean standard error", "coverage"]
    )
    for name, c in study["coefficients"].items():
        values = [f"{c['truth']:.2f}", f"{c['bias']:+.4f}", f"{c['sd']:.4f}", f"{c['mean_se']:.4f}"]
        lines.append(line([f"`{name}`", c["kind"], *values, f"{c['coverage']:.3f}"]))
    return "\n".join(lines)


def head(names: Sequence[str]) -> list[str]:
    return [line(names), "|" + "---|" * len(names)]


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
