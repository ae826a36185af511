"""Figure and tables of the study of Bayesian fits, from its records: the same bytes from the same numbers."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.bayes_data import MODELS
from benchmarks.pql_figures import STYLE, head, line
from benchmarks.pql_records import read_record

__all__ = ["draw", "tables"]

_WAYS = {
    "importance": ("all integrated out, importance sampling", "#0b5fa5", "D"),
    "nuts": ("all integrated out, NUTS", "#3b8f5a", "o"),
    "one": ("one class integrated out, NUTS", "#c77f0a", "^"),
    "none": ("nothing integrated out, NUTS", "#b03a48", "v"),
    "plain-one": ("plain NumPyro, one class integrated out", "#7b4fa3", "s"),
    "plain": ("plain NumPyro, nothing integrated out", "#d05fa2", "P"),
    "bambi": ("bambi with nutpie, no correlations", "#8a8a8a", "x"),
}


def _net(fit: dict[str, Any]) -> float:
    """Seconds without compilation: of the processor where they are known, by the clock elsewhere.

    Compilation is timed by the clock, and takes its share of the processor's seconds.
    """
    return fit.get("cpu", fit["seconds"]) * (1.0 - fit["compilation"] / fit["seconds"])


def _rate(fit: dict[str, Any]) -> float | None:
    """Smallest effective sample size per second, without compilation."""
    return fit["ess"] / _net(fit) if "ess" in fit else None


def _by_model(results: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Fits by model and way, in the order of the models."""
    fits = read_record(results / "bayes_ess.json").get("fits", [])
    found = {name: {f["way"]: f for f in fits if f["model"] == name} for name in MODELS}
    return {name: own for name, own in found.items() if own}


def draw(results: Path, folder: Path) -> list[Path]:
    """Write the figure whose record exists into `folder`."""
    import matplotlib as mpl

    models = _by_model(results)
    if not models:
        return []
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bayes_ess.svg"
    with mpl.rc_context(STYLE):
        _dots(models).savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return [path]


def _dots(models: dict[str, dict[str, dict[str, Any]]]) -> Any:
    """A row for each model, a mark for each way, on a logarithmic axis."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7.2, 0.42 * len(models) + 1.4))
    names = list(models)[::-1]
    for kind, (label, colour, marker) in _WAYS.items():
        points = [
            (rate, row)
            for row, name in enumerate(names)
            for way, fit in models[name].items()
            if way.partition(":")[0] == kind and (rate := _rate(fit)) is not None
        ]
        if points:
            x, y = zip(*points, strict=True)
            ax.scatter(x, y, color=colour, marker=marker, s=34, label=label, zorder=3)
    ax.set(
        xscale="log",
        yticks=range(len(names)),
        yticklabels=names,
        xlabel="smallest effective sample size per second",
    )
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, fontsize=8)
    figure.tight_layout()
    return figure


def tables(results: Path) -> dict[str, str]:
    """The Markdown tables whose records exist, by name."""
    out = {}
    if models := _by_model(results):
        out["bayes_ess"] = _efficiency_table(models)
        out["bayes_fits"] = _fit_table(models)
    if fits := read_record(results / "bayes_first.json").get("fits"):
        out["bayes_first"] = _first_table(fits)
    return out


def _efficiency_table(models: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Effective draws per second, and how far everything integrated out is ahead."""
    columns = [
        "importance",
        "NUTS",
        "one class",
        "nothing",
        "NumPyro, one class",
        "NumPyro, nothing",
        "bambi",
    ]
    ahead = ("importance", "nuts")
    ratios = [f"{way} / NumPyro, one class" for way in ("importance", "NUTS")]
    lines = head(["model", "rows", "parameters", *columns, *ratios])
    for name, own in models.items():
        rates = {way: rate for way, fit in own.items() if (rate := _rate(fit)) is not None}
        cells = [
            _best(rates, way) for way in ("importance", "nuts", "one", "none", "plain-one", "plain", "bambi")
        ]
        single = [r for w, r in rates.items() if w.startswith("plain-one:")]
        leads = [_ratio(rates.get(way), max(single, default=None)) for way in ahead]
        first = next(iter(own.values()))
        count = max(int(f.get("parameters", 0)) for f in own.values())
        lines.append(line([name, f"{first['rows']:,}", f"{count:,}" if count else "", *cells, *leads]))
    return "\n".join(lines)


def _best(rates: dict[str, float], kind: str) -> str:
    """The largest rate of a kind of fits, with the class integrated out where there is one."""
    own = {way.partition(":")[2]: r for way, r in rates.items() if way.partition(":")[0] == kind}
    if not own:
        return ""
    best = max(own, key=lambda g: own[g])
    return f"{_number(own[best])} ({best})" if best else _number(own[best])


def _fit_table(models: dict[str, dict[str, dict[str, Any]]]) -> str:
    """What every single fit took, and how its chain fared."""
    columns = [
        "seconds",
        "compilation",
        "smallest ESS",
        "of",
        "R-hat",
        "divergences",
        "steps per draw",
        "Pareto k",
    ]
    lines = head(["model", "way", *columns, "load before"])
    for name, own in models.items():
        for way, fit in own.items():
            if "ess" not in fit:
                lines.append(line([name, way, fit.get("failure", "")[:40], *[""] * 7, f"{fit['load']:.1f}"]))
                continue
            cells = [
                f"{_net(fit):.2f}" + ("" if "cpu" in fit else " by the clock"),
                f"{fit['compilation']:.1f}",
                f"{fit['ess']:.0f}",
            ]
            cells += [
                fit["least"],
                f"{fit['rhat']:.3f}",
                str(fit.get("divergences", "")),
                _number(fit.get("steps")),
            ]
            cells += [f"{fit['pareto_k']:.2f}" if "pareto_k" in fit else "", f"{fit['load']:.1f}"]
            lines.append(line([name, way, *cells]))
    return "\n".join(lines)


def _first_table(fits: list[dict[str, Any]]) -> str:
    columns = ["seconds, median", "all", "CPU seconds, median", "load before"]
    lines = head(["model", "sampler", "draws", *columns])
    for f in fits:
        every = ", ".join(f"{s:.1f}" for s in f["seconds"])
        middle = f"{statistics.median(f['seconds']):.1f}"
        cpu = f"{statistics.median(f['cpu']):.1f}" if "cpu" in f else ""
        lines.append(
            line([f["model"], f["sampler"], f"{f['draws']:,}", middle, every, cpu, f"{f['load']:.1f}"])
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 20 else f"{value:.2g}"


def _ratio(above: float | None, below: float | None) -> str:
    return "" if above is None or below is None else f"{_number(above / below)}x"
