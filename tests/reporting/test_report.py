"""The HTML report: one file, nothing to load, everything escaped, the numbers of the fit."""

from __future__ import annotations

import re
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import (
    DataError,
    Fit,
    MethodComparison,
    __version__,
    compare_methods,
    fit,
    load,
    load_dataset,
    report,
)
from lmmformula.families import FAMILIES
from lmmformula.methods import METHODS, OPTIONS
from lmmformula.reporting.citations import bibtex, citations
from lmmformula.reporting.html_report.mathematics import equations
from lmmformula.reporting.lines import pieces
from lmmformula.reporting.names import engine_name, method_name
from lmmformula.reporting.response import response_levels

VOID = {"meta", "br", "hr", "img", "input", "link"}
DRAWN_VOID = {"path", "use", "image", "rect", "line", "circle"}


class Page(HTMLParser):
    """Tables, figures, text and whatever would be loaded."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        for name, value in given.items():
            links = name in ("src", "srcset", "data", "poster", "xlink:href") or (
                name == "href" and tag != "a"
            )
            if links and value and not value.startswith(("#", "data:")):
                self.loads.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def table(self, *header: str) -> list[list[str]]:
        """Rows of the table with these among its headings."""
        (found,) = [t for t in self.tables if t and set(header) <= set(t[0])]
        return found[1:]


def written(results: Fit | MethodComparison, path: Path, **options: object) -> tuple[Page, str]:
    target = report(results, path / "report.html", **options)  # type: ignore[arg-type]
    html = target.read_text(encoding="utf-8")
    return Page(html), html


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def herds() -> Fit:
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    return fit(formula, load_dataset("cbpp"), family="binomial")


@pytest.fixture(scope="module")
def verbal() -> MethodComparison:
    formula = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
    methods = ["laplace", "pql", "krylov", "reml"]
    return compare_methods(formula, load_dataset("VerbAgg"), methods, family="binomial")


def test_numbers_are_those_of_the_fit(sleep: Fit, tmp_path: Path) -> None:
    page, _ = written(sleep, tmp_path, plots=False)
    rows = page.table("Estimate", "Pr(>|t|)")
    assert [row[0] for row in rows] == ["(Intercept)", "Days"]
    assert [float(row[1]) for row in rows] == pytest.approx(sleep.params.round(2).tolist())
    assert [float(row[2]) for row in rows] == pytest.approx(sleep.bse.round(2).tolist())
    low, high = sleep.conf_int().loc["Days"]
    assert rows[1][3] == f"[{low:.2f}, {high:.2f}]"
    assert float(rows[1][-1]) == pytest.approx(sleep.pvalues["Days"], rel=1e-2)
    variances = page.table("Variance", "Std.Dev.")
    assert [float(row[3]) for row in variances] == pytest.approx(
        sleep.varcorr()["sdcor"].iloc[[0, 1, 3]].tolist(), rel=1e-3
    )
    (criteria,) = page.table("REML criterion")
    assert float(criteria[0]) == pytest.approx(sleep.llf, abs=0.005)
    (tested,) = page.table("F value")
    assert float(tested[5]) == pytest.approx(sleep.anova()["F value"].iloc[0], rel=1e-3)
    (levels,) = page.table("Levels", "median")
    assert levels == ["Subject", "18", "10", "10", "10"]
    assert sleep.formula in page.text
    assert "180 rows; groups: Subject 18" in page.text
    assert all(reason in page.text for reason in sleep.plan.reasons)
    narrow, _ = written(sleep, tmp_path, plots=False, level=0.5)
    assert "50% interval" in narrow.text


def test_nothing_is_loaded_and_nothing_runs(sleep: Fit, verbal: MethodComparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for results in (sleep, verbal):
        page, html = written(results, tmp_path)
        assert not page.loads
        assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
        outside = [part.split('"')[0] for part in html.split("http")[1:]]
        assert outside
        assert all(address.startswith(("s://doi.org/", "s://arxiv.org/abs/")) for address in outside)
        assert "@import" not in html
        assert "url(http" not in html
        assert html.count('href="http') == len(outside)
        assert len(page.ids) == len(set(page.ids))


def test_plots_are_drawn_in_the_colours_of_the_page(sleep: Fit, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, html = written(sleep, tmp_path)
    assert page.tags.count("figure") == page.tags.count("svg") == page.tags.count("figcaption") == 16
    assert "#010203" not in html
    assert "currentColor" in html
    assert "prefers-color-scheme:dark" in html
    for what in (
        "Residuals against",
        "Quantile residuals",
        "Mean residual in bins",
        "Effects of Days by Subject",
    ):
        assert what in page.text
    assert "Signed root of the rise of the deviance over sigma" in page.text
    fewer, _ = written(sleep, tmp_path, profiles=False)
    assert fewer.tags.count("svg") == 10


def test_the_same_fit_gives_the_same_file(herds: Fit, tmp_path: Path) -> None:
    first = written(herds, tmp_path, naivete=True)[1]
    assert written(herds, tmp_path, naivete=True)[1] == first
    dated = written(herds, tmp_path, plots=False, date="2 May 2026", title="Herds & <others>")[0]
    assert "2 May 2026" in dated.text
    assert dated.text.count("Herds & <others>") == 2


def test_generalised_models(herds: Fit, tmp_path: Path) -> None:
    page, _ = written(herds, tmp_path, plots=False, naivete=True, profiles=True)
    rows = page.table("Estimate", "Pr(>|z|)")
    assert [float(row[1]) for row in rows] == pytest.approx(herds.params.round(3).tolist())
    naive = page.table("Naivete", "Inefficiency")
    assert [float(row[5]) for row in naive] == pytest.approx(herds.naivete()["naivete"].tolist(), rel=1e-3)
    assert float(page.table("Chisq")[0][1]) == pytest.approx(herds.anova()["Chisq"].iloc[0], rel=1e-3)
    assert "Pearson's chi-square over its df" in page.text
    assert "Trials" in page.text
    assert "Left out" not in page.text
    assert "logit(μi) = β0 + β1 period2i" in page.text


def test_what_cannot_be_drawn_or_tested_says_why(herds: Fit, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, _ = written(herds.update(nagq=0), tmp_path, profiles=True)
    assert page.text.count("Left out: Profile of") == 1
    assert "Left out: Profile of every parameter: a profile needs a likelihood of all parameters" in page.text
    bare = fit("Yield ~ 0 + (1 | Batch)", load_dataset("Dyestuff"))
    page, _ = written(bare, tmp_path, naivete=True, plots=False)
    assert "Left out: the model has no fixed effects" in page.text


def test_comparison(verbal: MethodComparison, tmp_path: Path) -> None:
    page, _ = written(verbal, tmp_path, plots=False)
    laplace, pql = verbal.fits["laplace"], verbal.fits["pql"]
    assert "Comparison of 3 methods: laplace, pql, krylov" in page.text
    cells = {row[0]: row for table in page.tables for row in table[1:] if row}
    assert cells["log-likelihood"][1:] == [f"{laplace.llf:.2f}", "-", f"{verbal.fits['krylov'].llf:.2f}"]
    fixed = next(t for t in page.tables if t[0] == ["", "laplace", "pql", "krylov"])
    shout = {row[0]: row for row in fixed}["btypeshout"]
    assert shout[2] == f"{pql.params['btypeshout']:.3f} ({pql.bse['btypeshout']:.3f})"
    assert "reml was refused: REML is defined" in page.text
    for name in ("Breslow", "Tierney", "Sigrist", "Ghosh"):
        assert name in page.text
    assert "0 (probes of the Krylov engine)" in page.text


def test_flags_stand_out(tmp_path: Path) -> None:
    methods = {"laplace": {}, "fast": {"method": "laplace", "nagq": 0}}
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    found = compare_methods(formula, load_dataset("cbpp"), methods, family="binomial")
    page, html = written(found, tmp_path, plots=False)
    assert '<ul class="flags">' in html
    assert found.flags[0] in page.text


@pytest.mark.parametrize("plots", [True, False])
def test_everything_is_escaped(tmp_path: Path, plots: bool) -> None:
    rng = np.random.default_rng(0)
    evil = "<b>bold</b>&\"'"
    data = pd.DataFrame(
        {
            evil: rng.normal(size=60),
            "<script>x": rng.normal(size=60),
            "g": np.repeat([f"<i>{k}</i>&amp;" for k in range(6)], 10),
        }
    )
    model = fit(f"`{evil}` ~ `<script>x` + (`<script>x` || g)", data)
    page, html = written(model, tmp_path, plots=plots, title="<u>title</u>", date="<s>")
    assert not {"script", "u", "s"} & set(page.tags)
    assert "<b>bold" not in html
    assert "<script" not in html
    assert "<i>0</i>&" not in html
    assert evil in page.text
    assert "<script>x" in page.text
    both = compare_methods(model.formula, data, {"<b>": {"method": "ml"}, "reml": {}})
    assert "<b>" in written(both, tmp_path, plots=plots)[0].text
    assert "<b>" not in both._repr_html_()


def test_without_matplotlib(sleep: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page, _ = written(sleep, tmp_path)
    assert "svg" not in page.tags
    assert "Left out: matplotlib is not installed (pip install 'lmmformula[plots]')." in page.text
    assert "matplotlib is not" not in written(sleep, tmp_path, plots=False)[0].text


def test_versions_and_references(sleep: Fit, tmp_path: Path) -> None:
    page, _ = written(sleep, tmp_path, plots=False)
    pairs = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert pairs["lmmformula"] == __version__
    assert pairs["numpy"] == np.__version__
    assert "matplotlib" not in pairs
    assert "Seed" not in pairs
    found = citations(sleep)
    assert [c.key for c in found] == [
        "lmmformula",
        "bates2015lme4",
        "patterson1971recovery",
        "kuznetsova2017lmertest",
    ]
    assert bibtex(found) in page.text
    assert bibtex(found).count("{") == bibtex(found).count("}")
    assert "Journal of Statistical Software 67(1), 1–48. doi:10.18637/jss.v067.i01." in found[1].text


def test_bad_calls(sleep: Fit, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist: make it first"):
        report(sleep, tmp_path / "none" / "report.html")
    with pytest.raises(DataError, match="level=95"):
        report(sleep, tmp_path / "report.html", level=95)
    assert report(sleep, str(tmp_path / "r.html"), plots=False) == tmp_path / "r.html"


def test_a_loaded_fit_has_its_report(sleep: Fit, tmp_path: Path) -> None:
    sleep.save(tmp_path / "fit.lmm")
    assert (
        written(load(tmp_path / "fit.lmm"), tmp_path, plots=False)[1]
        == written(sleep, tmp_path, plots=False)[1]
    )


def test_equations() -> None:
    def text(model: Fit) -> str:
        return Page(equations(model)).text

    data = load_dataset("sleepstudy")
    assert "Reactioni = β0 + β1 Daysi + b0,Subject[i] + b1,Subject[i] Daysi + εi" in text(
        fit("Reaction ~ Days + (Days || Subject)", data)
    )
    weighted = text(fit("Reaction ~ Days + (1 | Subject)", data, weights=np.linspace(1, 2, 180)))
    assert "εi ~ Normal(0, σ2/wi), independent" in weighted
    many = text(fit("Reaction ~ Subject + (0 + Days | Subject)", data))
    assert "xi⊤β (18 coefficients) + b0,Subject[i] Daysi + εi" in many
    owls = fit(
        "SiblingNegotiation ~ FoodTreatment + offset(log(BroodSize)) + (1 | Nest)",
        load_dataset("Owls"),
        family="nbinom1",
        ziformula="~ FoodTreatment",
    )
    shown = text(owls)
    assert "log(μi) = β0 + β1 FoodTreatmentSatiatedi + b0,Nest[i] + offseti" in shown
    assert "logit(zii) = γ0 + γ1 FoodTreatmentSatiatedi" in shown


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_links_of_further_parameters_are_what_the_family_computes(family: str) -> None:
    """The formula that is shown, evaluated, takes the parameter's value to its predictor."""
    functions = {"log": np.log, "logit": lambda p: np.log(p / (1.0 - p))}
    for parameter in FAMILIES[family].auxiliaries:
        for predictor in (-1.3, 0.2, 2.4):
            value = float(parameter.value(np.array(predictor)))
            shown = eval(parameter.linked("value"), {"__builtins__": {}, "value": value, **functions})
            assert shown == pytest.approx(predictor, abs=1e-12)


def test_a_students_degrees_of_freedom_are_above_one() -> None:
    data = load_dataset("sleepstudy")
    model = fit("bf(Reaction ~ Days + (1 | Subject), df ~ Days)", data, family="student")
    assert "log(dfi - 1) = γ0 + γ1 Daysi" in Page(equations(model)).text


# -- what a reader finds ---------------------------------------------------------------------------------------------


def test_contents_lead_to_every_section(herds: Fit, tmp_path: Path) -> None:
    page, html = written(herds, tmp_path, plots=False, naivete=True)
    inside = html[html.index('<nav class="contents"') : html.index("</nav>")]
    targets = re.findall(r'href="#([^"]+)"', inside)
    assert targets == re.findall(r'<section id="([^"]+)">', html)
    assert len(set(targets)) == len(targets) == inside.count("<li>") == 11
    assert "Priors" not in inside
    titles = [re.sub("<[^>]+>", "", title) for title in re.findall(r"<h2>(.*?)</h2>", html)]
    assert all(title in inside for title in titles)
    assert "Explained variance" in page.text


def test_levels_of_the_response_have_their_names(tmp_path: Path) -> None:
    data = load_dataset("VerbAgg")
    chosen: Any = data[data["item"].isin(["S1WantCurse", "S2DoShout", "S3WantScold"])]
    model = fit("r2 ~ Gender + (1 | id)", chosen, family="binomial")
    page, html = written(model, tmp_path, profiles=False)
    counts = chosen["r2"].to_list().count
    (rows,) = [t for t in page.tables if t[0][:1] == ["Value"]]
    assert rows[0] == ["Value", "N", "Y"]
    assert [cell.split(" ")[0] for cell in rows[1][1:]] == [str(counts("N")), str(counts("Y"))]
    assert "Modelled: the probability of Y." in page.text
    assert "probability of Y</text>" in html
    other = fit("I(r2 == 'Y') ~ Gender + (1 | id)", chosen, family="binomial")
    assert "Modelled" not in written(other, tmp_path, plots=False)[0].text
    assert response_levels(other) == {}


def test_explained_variance_and_intervals_of_standard_deviations(sleep: Fit, tmp_path: Path) -> None:
    page, _ = written(sleep, tmp_path, plots=False, level=0.9)
    (shares,) = page.table("R² (marginal)", "R² (conditional)", "ICC of Subject")
    assert [float(v) for v in shares] == pytest.approx([*sleep.r2(), *sleep.icc()], abs=6e-4)
    rows = {row[1] or row[0]: row for row in page.table("Variance", "90% interval")}
    found = sleep.inference.spread_intervals(0.9)
    for name, where in (("(Intercept)", 0), ("Days", 1), ("Residual", 3)):
        low, high = map(float, rows[name][4].strip("[]").split(", "))
        assert (low, high) == pytest.approx((found.low[where], found.high[where]), rel=2e-3)


def test_methods_are_named_as_people_write_them(sleep: Fit, verbal: MethodComparison, tmp_path: Path) -> None:
    def named(model: Fit | MethodComparison) -> tuple[dict[str, str], str]:
        page, _ = written(model, tmp_path, plots=False)
        return {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}, page.text

    assert named(sleep)[0]["Method"] == "REML"
    pairs, text = named(verbal.fits["laplace"])
    assert (pairs["Method"], pairs["Engine"]) == ("Laplace approximation", "Exact factorisation by blocks")
    assert "LAPLACE" not in text
    assert "Penalised quasi-likelihood (PQL), backfitting: no likelihood" in text
    for method in METHODS:
        assert method_name(method) != method or method == "auto"
    for engine in re.findall(r"'([a-z]+)'", OPTIONS["engine"].accepted):
        assert engine_name(engine) != engine or engine == "auto"


def test_a_page_is_made_for_paper_too(sleep: Fit, tmp_path: Path) -> None:
    """A4, headings and captions beside what they head, plots in rows."""
    _, html = written(sleep, tmp_path)
    paper = html[html.index("@media print") : html.index("@media (max-width")]
    assert "@page{size:A4" in html
    assert "h1,h2,h3,.caption{break-after:avoid}" in paper
    assert "figure,table,.math,.flags,tr,li,pre{break-inside:avoid}" in paper
    assert html.count('<div class="figures small">') == 2
    assert html.count('<div class="figures">') == 3
    assert (
        f'<code class="formula">{" ".join(f"<span>{p}</span>" for p in pieces(sleep.formula))}</code>' in html
    )


# -- a posterior in place of an optimum ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bayesian() -> Fit:
    formula = "Reaction ~ Days + (Days | Subject)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few draws are advised against
        return fit(
            formula, load_dataset("sleepstudy"), method="hmc", sampler="nuts", chains=2, draws=150, seed=7
        )


def test_intervals_of_a_posterior(bayesian: Fit) -> None:
    fixed, spread = bayesian.inference.fixed_intervals(0.8), bayesian.inference.spread_intervals(0.8)
    draws: Any = bayesian.posterior
    assert fixed.bayesian
    assert spread.bayesian
    np.testing.assert_allclose(fixed.point, bayesian.params)
    np.testing.assert_allclose(
        np.stack([fixed.low, fixed.high], axis=1), bayesian.conf_int(0.8).loc[list(fixed.names)]
    )
    assert spread.names == (
        "sd_(Intercept)|Subject",
        "sd_Days|Subject",
        "cor_Days.(Intercept)|Subject",
        "sigma",
    )
    np.testing.assert_allclose(spread.high, [np.quantile(draws[n], 0.9) for n in draws.names])
    modes = bayesian.inference.mode_intervals(0, 1)
    np.testing.assert_allclose(modes.spread, draws.effect_sds[0][:, 1])


def test_report_of_a_posterior(bayesian: Fit, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, html = written(bayesian, tmp_path)
    assert "Linear mixed model, posterior by NUTS" in page.text
    assert "Chains of sigma." in page.text
    assert "Rank histograms of the chains of sigma." in page.text
    assert "7 (draws of the posterior)" in page.text
    draws: Any = bayesian.posterior
    assert draws.diagnostics.advice[0] in page.text
    assert page.text.count(draws.diagnostics.advice[0]) == 1
    assert '<ul class="flags">' in html
    assert "No-U-Turn" in page.text
    assert str(draws.priors).splitlines()[0] in page.text
    assert "Pr(>|t|)" not in page.text
    assert "Left out" not in page.text
    rows = {row[0]: row for table in page.tables for row in table if "Rhat" in table[0]}
    assert float(rows["Days"][1]) == pytest.approx(bayesian.params["Days"], abs=0.01)
    assert float(rows["Days"][2]) == pytest.approx(bayesian.bse["Days"], abs=0.01)


def test_comparison_with_a_posterior(tmp_path: Path) -> None:
    methods = {"reml": {}, "hmc": {"sampler": "importance", "chains": 2, "draws": 400}}
    data = load_dataset("sleepstudy")
    found = compare_methods(
        "Reaction ~ Days + (Days | Subject)", data, methods, seed=1, priors={"b": "normal(0, 50)"}
    )
    assert found.reference == "reml"
    assert not found.refused
    model = found.fits["hmc"]
    assert model.recall.arguments["priors"] == {"b": "normal(0, 50)"}
    assert "priors" not in found.fits["reml"].recall.arguments
    spread = found.table().loc["random", ("hmc", "std_error")]
    assert (spread > 0).all()
    page, _ = written(found, tmp_path, plots=False)
    assert "estimate (standard error or posterior sd)" in page.text
    assert "Pareto Smoothed Importance Sampling" in page.text
    assert not found.flags
