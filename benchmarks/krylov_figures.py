"""Figures and tables of the Krylov studies, from their records: the same bytes from the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.pql_figures import STYLE, head, line
from benchmarks.pql_records import read_record

__all__ = ["draw", "tables"]

_PROGRAMS = ("lmmformula", "lmmformula, problem", "gpboost", "glmm", "lme4", "glmmTMB")
_FAMILIES = {"gaussian": "Gaussian", "binomial": "Bernoulli"}
_COLOURS = {
    "schur": ("#0b5fa5", "o"),
    "ssor": ("#c77f0a", "^"),
    "block-diagonal": ("#3b8f5a", "s"),
    "diagonal": ("#b03a48", "v"),
}
Entry = dict[str, Any]


def slope(rows: Sequence[float], seconds: Sequence[float]) -> tuple[float, float] | None:
    """Slope of log seconds on log rows and its standard error; None with fewer than three sizes."""
    if len(rows) < 3:
        return None
    found = stats.linregress(np.log(rows), np.log(seconds))
    return float(found.slope), float(found.stderr)  # pyright: ignore[reportAttributeAccessIssue]


# -- tables --------------------------------------------------------------------------------------------------------------


def tables(results: Path) -> dict[str, str]:
    """The Markdown tables whose records exist, by name."""
    out = {}
    for name, key, maker in (
        ("fits", "fits", _fits_table),
        ("noise", "noise", _noise_table),
        ("scaling", "fits", _scaling_table),
        ("spectra", "spectra", _spectra_table),
        ("accuracy", "models", _accuracy_table),
        ("devices", "devices", _devices_table),
    ):
        if entries := read_record(results / f"krylov_{name}.json").get(key):
            out[name] = maker(entries)
    return out


def _sizes(entry: Entry) -> list[str]:
    return [_FAMILIES[entry["family"]], f"{entry['rows']:,}", " x ".join(f"{m:,}" for m in entry["levels"])]


def _grouped(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Records of one data set together, by rows and levels."""
    keys = sorted({(e["rows"], tuple(e["levels"]), e["family"] != "gaussian") for e in entries})
    return [
        [e for e in entries if (e["rows"], tuple(e["levels"]), e["family"] != "gaussian") == k] for k in keys
    ]


def _fits_table(fits: Sequence[Entry]) -> str:
    """Every program on every data set."""
    columns = [
        "seconds",
        "first fit",
        "times ours",
        "memory added (MB)",
        "log-likelihood",
        "the same, by lmmformula",
    ]
    lines = head(["response", "rows", "levels", "program", *columns])
    for group in _grouped(fits):
        by_name = {f["program"]: f for f in group}
        ours = by_name.get("lmmformula", {}).get("seconds")
        for name in (p for p in _PROGRAMS if p in by_name):
            f = by_name[name]
            if "failure" in f:
                lines.append(line([*_sizes(f), name, f["failure"][:40], *[""] * 5]))
                continue
            ratio = f"{f['seconds'] / ours:.1f}" if ours else ""
            cells = [_seconds(f["seconds"]), _seconds(f["first"]), ratio]
            cells += [f"{f['memory'] - f['before']:,.0f}", _value(f.get("loglik"), f.get("stderr"))]
            cells.append(_value(f.get("evaluated"), f.get("evaluated_stderr")))
            lines.append(line([*_sizes(f), name, *cells]))
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _value(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + (f" ± {error:.3f}" if error else "")


def _noise_table(entries: Sequence[Entry]) -> str:
    """Spread of the log-likelihood over seeds, and what lmmformula says of it."""
    columns = [
        "sd over seeds",
        "stated, mean",
        "within 95 % limits",
        "seconds an evaluation",
        "exact",
        "mean off by",
    ]
    lines = head(["response", "rows", "levels", "program", *columns])
    for group in _grouped(entries):
        exact = next((e["exact"] for e in group if "exact" in e), None)
        for e in sorted(group, key=lambda e: e["program"] != "lmmformula"):
            kinds = {"lmmformula, search": "search", "lmmformula, reported": "reported"}
            parts = (
                {k: e[v] for k, v in kinds.items()}
                if e["program"] == "lmmformula" and "search" in e
                else {"gpboost": e}
            )
            for name, part in parts.items():
                lines.append(line([*_sizes(e), name, *_noise_cells(part, exact)]))
    return "\n".join(lines)


def _noise_cells(part: Mapping[str, Any], exact: float | None) -> list[str]:
    if "failure" in part:
        return [part["failure"][:40], *[""] * 5]
    values = np.array(part["values"])
    stated, inside = "", ""
    if "stderrs" in part:
        stated, inside = f"{np.mean(part['stderrs']):.4f}", _covered(part, exact)
    off = "" if exact is None else f"{values.mean() - exact:+.4f}"
    known = "" if exact is None else f"{exact:.4f}"
    return [f"{values.std(ddof=1):.4f}", stated, inside, _seconds(part["seconds"]), known, off]


def _covered(part: Mapping[str, Any], exact: float | None) -> str:
    """How many 95 % intervals hold the exact value, or the mean of the other seeds with its own error."""
    values, errors, probes = (np.array(part[k], dtype=float) for k in ("values", "stderrs", "probes"))
    count = len(values)
    if exact is None:
        others = (values.sum() - values) / (count - 1)
        spread = np.sqrt(errors**2 + ((errors**2).sum() - errors**2) / (count - 1) ** 2)
    else:
        others, spread = np.full(count, exact), errors
    limits = stats.t.ppf(0.975, probes - 1) * spread
    return f"{int((np.abs(values - others) <= limits).sum())} of {count}"


def _scaling_table(fits: Sequence[Entry]) -> str:
    """Seconds and memory against rows, and the slopes."""
    names = [
        (f, p)
        for f in _FAMILIES
        for p in _PROGRAMS
        if any((e["family"], e["program"]) == (f, p) for e in fits)
    ]
    labels = [f"{_FAMILIES[f]}, {p}" for f, p in names]
    lines = head(["rows", "levels", *labels, "memory added, Gaussian (MB)", "Bernoulli (MB)"])
    series = {name: {e["rows"]: e for e in fits if (e["family"], e["program"]) == name} for name in names}
    for rows in sorted({e["rows"] for e in fits}):
        levels = next(e["levels"] for e in fits if e["rows"] == rows)
        cells = [_cell(series[n].get(rows, {})) for n in names]
        memory = []
        for family in _FAMILIES:
            e = series.get((family, "lmmformula"), {}).get(rows, {})
            memory.append(f"{e['memory'] - e['before']:,.0f}" if "memory" in e else "")
        lines.append(line([f"{rows:,}", " x ".join(f"{m:,}" for m in levels), *cells, *memory]))
    slopes = []
    for n in names:
        good = [(r, e["seconds"]) for r, e in sorted(series[n].items()) if "seconds" in e]
        found = slope([r for r, _ in good], [s for _, s in good])
        slopes.append("" if found is None else f"{found[0]:.2f} ± {found[1]:.2f}")
    lines.append(line(["log-log slope", "", *slopes, "", ""]))
    return "\n".join(lines)


def _cell(entry: Entry) -> str:
    return _seconds(entry["seconds"]) if "seconds" in entry else entry.get("failure", "")[:40]


def _spectra_table(entries: Sequence[Entry]) -> str:
    """Ranges over the systems of a fit for each design and preconditioner."""
    columns = ["systems", "cv of weights", "log r, all rows", "log r, middle 90 %"]
    more = ["condition", "without the smallest", "steps", "sd of one probe"]
    lines = head(["design", "preconditioner", *columns, *more])
    for design in dict.fromkeys(e["design"] for e in entries):
        for name in _COLOURS:
            own = [e for e in entries if (e["design"], e["preconditioner"]) == (design, name)]
            if not own:
                continue
            cells = [f"{len(own)} of {own[0]['of']}", _range(own, "cv", ".2f")]
            cells += [f"{max(e[k] for e in own):.1f}" for k in ("log_ratio", "log_ratio_middle")]
            cells += [_range(own, k, ".2f") for k in ("condition", "condition_rest")]
            cells += [_range(own, "steps", "d"), _range(own, "sd", ".2g")]
            lines.append(line([design, name, *cells]))
    return "\n".join(lines)


def _range(entries: Sequence[Entry], key: str, form: str) -> str:
    low, high = (f(e[key] for e in entries) for f in (min, max))
    return f"{low:{form}}" if f"{low:{form}}" == f"{high:{form}}" else f"{low:{form}} to {high:{form}}"


def _accuracy_table(entries: Sequence[Entry]) -> str:
    """Largest differences from the exact estimates."""
    columns = [
        "rows",
        "effects",
        "probes",
        "fixed effects",
        "variance parameters",
        "log-likelihood",
        "its standard error",
    ]
    lines = head(["model", *columns, "seconds", "exact engine"])
    for e in entries:
        cells = [
            f"{e['rows']:,}",
            f"{e['effects']:,}",
            str(e["probes"]),
            f"{e['beta']:.4f}",
            f"{e['theta']:.4f}",
        ]
        cells += [
            f"{e['loglik']:.5f}",
            f"{e['stderr']:.5f}",
            f"{e['seconds']:.2f}",
            f"{e['exact_seconds']:.2f}",
        ]
        lines.append(line([e["model"], *cells]))
    return "\n".join(lines)


def _devices_table(entries: Sequence[Entry]) -> str:
    """Kernels in milliseconds and fits in seconds, on the processor and elsewhere."""
    columns = [
        "product (ms)",
        "solution (ms)",
        "subspace (ms)",
        "first fit (s)",
        "fit (s)",
        "of the processor's",
    ]
    lines = head(["response", "rows", "levels", "products and iterations on", *columns])
    for group in _grouped(entries):
        for e in group:
            where = "JAX on the processor" if e["device"] == "cpu-jax" else e["kind"]
            for name, part in ((f"processor, {e['cpus']} cores", e["processor"]), (where, e["other"])):
                cells = [f"{1e3 * part[k]:.1f}" for k in ("product", "solution", "subspace")]
                cells += [_seconds(part["first"]), _seconds(part["seconds"])]
                cells.append(f"{part['seconds'] / e['processor']['seconds']:.2f}")
                lines.append(line([*_sizes(e), name, *cells]))
    return "\n".join(lines)


# -- figures -------------------------------------------------------------------------------------------------------------


def draw(results: Path, folder: Path) -> list[Path]:
    """Write the figures whose records exist into `folder`; returns their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with mpl.rc_context(STYLE):
        for name, maker, key in (
            ("scaling", _scaling_figure, "fits"),
            ("spectra", _spectra_figure, "spectra"),
        ):
            if entries := read_record(results / f"krylov_{name}.json").get(key):
                figure = maker(entries)
                made.append(folder / f"krylov_{name}.svg")
                figure.savefig(made[-1], metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return made


def _scaling_figure(fits: Sequence[Entry]) -> Any:
    """Seconds against rows on logarithmic scales."""
    import matplotlib.pyplot as plt

    looks = {"lmmformula": ("#0b5fa5", "o"), "gpboost": ("#b03a48", "v")}
    figure, ax = plt.subplots(figsize=(6.2, 4.0))
    for family, label in _FAMILIES.items():
        for program, (colour, marker) in looks.items():
            own = sorted(
                (e["rows"], e["seconds"])
                for e in fits
                if (e["family"], e["program"]) == (family, program) and "seconds" in e
            )
            if not own:
                continue
            rows, seconds = [r for r, _ in own], [s for _, s in own]
            found = slope(rows, seconds)
            text = f"{program}, {label}" + ("" if found is None else f": slope {found[0]:.2f}")
            style = "-" if family == "gaussian" else "--"
            ax.plot(rows, seconds, color=colour, marker=marker, linestyle=style, markersize=5, label=text)
    ax.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds for one fit")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def _spectra_figure(entries: Sequence[Entry]) -> Any:
    """Condition number, steps and spread over the systems of each fit: a column for each design."""
    import matplotlib.pyplot as plt

    designs = list(dict.fromkeys(e["design"] for e in entries))
    rows = (("condition", "condition number"), ("steps", "CG steps to 1e-6"), ("sd", "sd of one probe"))
    figure, axes = plt.subplots(
        3, len(designs), figsize=(2.7 * len(designs), 6.4), sharey="row", squeeze=False
    )
    for column, design in enumerate(designs):
        for ax, (key, label) in zip(axes[:, column], rows, strict=True):
            for name, (colour, marker) in _COLOURS.items():
                own = [e for e in entries if (e["design"], e["preconditioner"]) == (design, name)]
                values = [e[key] for e in own]
                ax.plot(
                    [e["step"] for e in own], values, color=colour, marker=marker, markersize=3.5, label=name
                )
            ax.set_yscale("log")
            if column == 0:
                ax.set_ylabel(label)
        axes[0, column].set_title(design, fontsize=10)
        axes[2, column].set_xlabel("system of the fit")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    figure.tight_layout()
    return figure
