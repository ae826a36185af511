"""Every result of a fit's verbs prints, renders, has a frame, and goes into reports, Markdown and LaTeX by one protocol."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_report import Page

import lmmformula
from lmmformula import ArgumentError, DataError, Fit, fit, load_dataset, report, to_latex, to_markdown
from lmmformula.reporting.exhibiting import exhibit_of, exhibits_of
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.grids import Grid

plt = pytest.importorskip("matplotlib.pyplot")


@cache
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@cache
def cake() -> Fit:
    return fit("angle ~ recipe + temp + (1 | recipe:replicate)", load_dataset("cake"))


@cache
def drawn() -> Fit:
    data = load_dataset("sleepstudy")
    return fit("Reaction ~ Days + (1 | Subject)", data, method="hmc", sampler="importance", draws=500, seed=1)


@cache
def studies() -> Fit:
    data = {"y": [-0.9, -1.6, -0.2, 0.1, -0.7, 0.4], "s": [0.5, 0.4, 0.3, 0.2, 0.3, 0.6], "g": list("abcdef")}
    return fit("y | se(s) ~ 1 + (1 | g)", data)


def by_ml() -> tuple[Fit, Fit]:
    return sleep().update(method="ml"), sleep().update("~ . - (Days | Subject) + (1 | Subject)", method="ml")


RESULTS: dict[str, Callable[[], Any]] = {
    "allfit": lambda: sleep().allfit(seed=1),
    "anova": lambda: sleep().anova(),
    "anova, several": lambda: lmmformula.anova(*by_ml()),
    "bayes_r2": lambda: drawn().bayes_r2(),
    "bootstrap": lambda: sleep().bootstrap(20, seed=1),
    "bootstrap, intervals": lambda: sleep().bootstrap(20, seed=1, type="basic"),
    "caic": lambda: sleep().caic(),
    "check": lambda: sleep().check(seed=1, n=20),
    "compare_methods": lambda: lmmformula.compare_methods(
        "Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), ["reml", "ml"]
    ),
    "conditional_effects": lambda: cake().conditional_effects(),
    "conf_int": lambda: sleep().conf_int(),
    "contrast": lambda: cake().emmeans("recipe").contrast("trt.vs.ctrl"),
    "cov_params": lambda: sleep().cov_params("CR2"),
    "cross_validate": lambda: sleep().cross_validate(folds=3, seed=1),
    "drop1": lambda: cake().drop1(),
    "emmeans": lambda: cake().emmeans("pairwise ~ recipe"),
    "emmeans, posterior": lambda: drawn().emmeans("~ Days"),
    "emtrends": lambda: sleep().emtrends("~ 1", "Days"),
    "f_test": lambda: sleep().f_test("Days = 10"),
    "fit": sleep,
    "fit_many": lambda: lmmformula.fit_many(
        "~ Days + (1 | Subject)", load_dataset("sleepstudy"), ["Reaction"]
    ),
    "hypothesis": lambda: sleep().hypothesis("Days > 5, sigma = 30"),
    "hypothesis, posterior": lambda: drawn().hypothesis("Days > 5"),
    "influence": lambda: sleep().influence("Subject"),
    "joint_tests": lambda: cake().joint_tests(),
    "kfold": lambda: drawn().kfold(2, seed=1),
    "loo, levels": lambda: drawn().loo("Subject"),
    "loo": lambda: drawn().loo(),
    "loo_compare": lambda: lmmformula.loo_compare({"a": drawn().loo(), "b": drawn().loo()}),
    "model_selection": lambda: lmmformula.model_selection(*by_ml()),
    "permutation_test": lambda: cake().permutation_test("recipe", 19, seed=1),
    "pool": lambda: lmmformula.pool([sleep(), sleep().refit(load_dataset("sleepstudy")["Reaction"] + 1.0)]),
    "power": lambda: sleep().power({"Days": 5}, {"Subject": [6, 9]}, n=20, seed=1),
    "prior_sensitivity": lambda: drawn().prior_sensitivity(),
    "heterogeneity": lambda: studies().heterogeneity(),
    "ranova": lambda: sleep().ranova(seed=1, n=100),
    "ranova, draws": lambda: cake().ranova(seed=1, n=100),
    "repca": lambda: sleep().repca(),
    "simulated_residuals": lambda: sleep().simulated_residuals(20, seed=1),
    "step": lambda: cake().step(),
    "t_test": lambda: sleep().t_test("Days = 10"),
    "wald_test": lambda: sleep().wald_test("Days = 10"),
    "tidy": lambda: sleep().tidy(),
    "varcorr": lambda: sleep().varcorr(),
}
DRAWN = {
    *(
        "bootstrap",
        "contrast",
        "cross_validate",
        "drop1",
        "emmeans",
        "emmeans, posterior",
        "emtrends",
        "fit_many",
        "hypothesis",
    ),
    *(
        "hypothesis, posterior",
        "heterogeneity",
        "influence",
        "kfold",
        "loo, levels",
        "loo",
        "loo_compare",
        "model_selection",
        "permutation_test",
        "pool",
        "power",
    ),
    *("ranova", "ranova, draws", "simulated_residuals", "conditional_effects"),
}
"""Those that have a plot of their own, and show it in reports."""


@cache
def result(name: str) -> Any:
    return RESULTS[name]()


@pytest.mark.parametrize("name", RESULTS)
def test_results_print_render_and_have_a_frame(name: str) -> None:
    found = result(name)
    assert " object at 0x" not in repr(found)
    assert len(repr(found)) > 20
    html = found._repr_html_()
    assert "<table" in html or "<li>" in html
    if name not in ("fit", "compare_methods"):
        frame = found if isinstance(found, pd.DataFrame) else found.frame
        assert isinstance(frame, pd.DataFrame | pd.Series)
        assert len(frame)


@pytest.mark.parametrize("name", RESULTS)
def test_results_go_into_reports_and_papers(name: str, tmp_path: Path) -> None:
    found = result(name)
    page = Page(report(found, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.ids) == len(set(page.ids))
    assert not page.loads
    assert page.tables or name == "check"
    assert ("svg" in page.tags) == (name in DRAWN | {"fit", "compare_methods"})
    markdown, latex = to_markdown(found), to_latex(found, label="tab:x")
    assert markdown.count("|:--") + markdown.count("|--") >= 1
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") >= 1


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_results_are_drawn(name: str) -> None:
    axes = np.ravel(np.array(result(name).plot(), dtype=object))
    assert all(ax.has_data() for ax in axes)
    figure = axes[0].figure
    plt.close(figure)
    own, where = plt.subplots(1, len(axes), squeeze=False)
    again = result(name).plot(ax=where.ravel()[0] if len(axes) == 1 else where.ravel())
    assert np.ravel(np.array(again, dtype=object))[0].figure is own
    plt.close(own)


def test_sections_of_a_report(tmp_path: Path) -> None:
    m = sleep()
    figure, ax = plt.subplots()
    ax.plot([1, 2], [3, 4])
    sections = [m.hypothesis("Days > 5"), m.hypothesis("Days = 5"), m.params, ax, result("check")]
    page = Page(report(m, tmp_path / "a.html", profiles=False, sections=sections).read_text(encoding="utf-8"))
    plt.close(figure)
    assert len(page.ids) == len(set(page.ids))
    for title in ("Tests of hypotheses (t tests)", "Tests of hypotheses (t tests) (2)", "Plot"):
        assert title in page.text
    named = report(m, tmp_path / "b.html", plots=False, sections={"My question": m.hypothesis("Days > 5")})
    assert "My question" in Page(named.read_text(encoding="utf-8")).text
    several = report([m.anova(), m.hypothesis("Days > 5")], tmp_path / "c.html", title="Both")
    assert len(Page(several.read_text(encoding="utf-8")).tables) >= 2
    compared = report(result("compare_methods"), tmp_path / "d.html", sections=[m.anova()], plots=False)
    assert "Type III analysis of variance" in Page(compared.read_text(encoding="utf-8")).text


def test_headings_differ() -> None:
    found = exhibits_of([pd.DataFrame({"a": [1.0]}), pd.DataFrame({"b": [1.0]}), pd.Series([1.0], name="c")])
    assert [one.title for one in found] == ["Table", "Table (2)", "Table (3)"]


def test_text_of_users_is_escaped(tmp_path: Path) -> None:
    frame = pd.DataFrame({"<i>": ["<script>alert(1)</script>"]}, index=["<b>"])
    frame.attrs["heading"], frame.attrs["note"] = "<u>head", "<s>note"
    html = report(frame, tmp_path / "a.html").read_text(encoding="utf-8")
    for bad in ("<script", "<b>", "<u>", "<s>", "<i>"):
        assert bad not in html


class Own:
    """A result from outside of the package."""

    def exhibit(self) -> Exhibit:
        grid = Grid("", ("", "x"), (("a", "1"),))
        picture = Drawing(
            "Line", "A line.", (3.0, 2.0), lambda axes: [ax.plot([0, 1]) for ax in axes], panels=4
        )
        return Exhibit("Mine", (grid,), ("Said.",), ("Found.",), (picture,))


def test_what_shows_itself_is_taken_from_wherever_it_comes(tmp_path: Path) -> None:
    page = Page(report(Own(), tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "Mine" in page.text
    assert "Said." in page.text
    assert "Found." in page.text
    assert "svg" in page.tags
    assert to_markdown(Own()).startswith("**Mine**")
    assert exhibit_of(Own()).titled("Other").title == "Other"


@pytest.mark.parametrize("given", [1, "text", [], [1], None, Own])
def test_what_shows_nothing_is_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="results="):
        report(given, tmp_path / "a.html")
    with pytest.raises(ArgumentError, match="results="):
        to_markdown(given)
    if given is not None:
        with pytest.raises(ArgumentError, match="sections="):
            report(sleep(), tmp_path / "a.html", sections=given)


def test_plots_have_no_table(tmp_path: Path) -> None:
    figure, ax = plt.subplots()
    with pytest.raises(DataError, match="no table"):
        to_latex(ax)
    plt.close(figure)


def test_drawn_tables_are_frames() -> None:
    found = result("hypothesis")
    assert isinstance(found, pd.DataFrame)
    assert not hasattr(found.iloc[:1], "drawing")
    again = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(found))
    ax = again.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Days > 5", "sigma = 30"]
    np.testing.assert_allclose(ax.lines[1].get_xdata(), found["estimate"] / found["std_error"])
    plt.close(ax.figure)


def test_replicates_say_what_they_are_of() -> None:
    m, found = sleep(), result("bootstrap")
    overview = found.overview
    np.testing.assert_allclose(overview["original"].iloc[:2], m.params)
    np.testing.assert_allclose(overview["bias"], pd.DataFrame(found).mean() - overview["original"])
    np.testing.assert_allclose(overview["std_error"], pd.DataFrame(found).std())
    assert "20 replicates" in repr(found)
    assert found.shape == (20, 6)
    assert not hasattr(found.head(), "overview")
    ax = found.plot.hist(bins=5)
    assert len(ax.get_legend().get_texts()) == 6
    plt.close(ax.figure)


def test_a_null_distribution_is_drawn_beside_its_statistic() -> None:
    table = result("ranova, draws")
    ax = table.plot()
    assert ax.lines[0].get_xdata()[0] == pytest.approx(table["LRT"].iloc[1])
    assert "at 0" in ax.texts[0].get_text()
    plt.close(ax.figure)
