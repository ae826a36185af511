"""Plots: what they draw, where, and what they need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import (
    DataError,
    Fit,
    LmmformulaError,
    MethodComparison,
    PlanError,
    compare_methods,
    fit,
    load_dataset,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from lmmformula.inference.naivete import plot_naivete  # noqa: E402
from lmmformula.reporting.plots.canvas import GREY  # noqa: E402
from lmmformula.reporting.plots.draws import rank, trace  # noqa: E402

NAMES = (
    "residuals",
    "qq",
    "binned_residuals",
    "response",
    "caterpillar",
    "coefficients",
    "random_effects_qq",
)


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def verbal() -> Fit:
    formula = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
    return fit(formula, load_dataset("VerbAgg"), family="binomial")


@pytest.fixture(scope="module")
def ticks() -> Fit:
    formula = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)"
    return fit(formula, load_dataset("grouseticks"), family="poisson")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def axes() -> Axes:
    return Figure().subplots()


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def scattered(ax: Axes) -> np.ndarray:
    return np.asarray(ax.collections[0].get_offsets())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", ["sleep", "verbal", "ticks"])
def test_each_plot_returns_the_axes_it_was_given(
    request: pytest.FixtureRequest, name: str, model: str
) -> None:
    found, ax = request.getfixturevalue(model), axes()
    assert getattr(found.plot, name)(ax=ax) is ax
    ax.figure.canvas.draw()
    assert ax.has_data()
    assert isinstance(getattr(found.plot, name)(), Axes)


def test_residuals_are_those_of_the_fit(sleep: Fit) -> None:
    drawn = scattered(sleep.plot.residuals(ax=axes()))
    order = np.argsort(sleep.fittedvalues.to_numpy(), kind="stable")
    np.testing.assert_allclose(drawn[:, 0], sleep.fittedvalues.to_numpy()[order])
    np.testing.assert_allclose(drawn[:, 1], sleep.residuals().to_numpy()[order])


def test_many_rows_are_thinned_and_said_so(verbal: Fit) -> None:
    ax = verbal.plot.residuals(ax=axes())
    assert len(scattered(ax)) == 5_000
    assert "5,000 of 7,584 rows" in ax.get_title()
    assert len(np.asarray(verbal.plot.qq(ax=axes()).collections[1].get_offsets())) == 5_000


def test_quantile_residuals_are_reproducible(verbal: Fit) -> None:
    first, second = (scattered(verbal.plot.residuals(ax=axes())) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(np.sort(first[:, 1])[0], verbal.residuals("quantile", 0).min())


def test_binned_residuals(verbal: Fit) -> None:
    ax = verbal.plot.binned_residuals(ax=axes(), bins=10)
    drawn = scattered(ax)
    order = np.argsort(verbal.fittedvalues.to_numpy(), kind="stable")
    first = np.array_split(order, 10)[0]
    residuals = verbal.residuals().to_numpy()[first]
    np.testing.assert_allclose(drawn[0], [verbal.fittedvalues.to_numpy()[first].mean(), residuals.mean()])
    upper = np.asarray(ax.lines[1].get_ydata())
    assert upper[0] == pytest.approx(2 * residuals.std(ddof=1) / np.sqrt(len(first)))
    with pytest.raises(DataError, match="must be a whole number from 1 to the 7,584 rows"):
        verbal.plot.binned_residuals(bins=7_585)
    for wrong in (0, 2.5):
        with pytest.raises(DataError, match=f"bins={wrong} must be a whole number of at least 1"):
            verbal.plot.binned_residuals(bins=wrong)  # type: ignore[arg-type]


def test_the_band_of_qq_holds_most_points_of_a_true_model() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(40), 10)
    y = rng.normal(size=40)[group] + rng.normal(size=400)
    ax = fit("y ~ 1 + (1 | g)", {"y": y, "g": group.astype(str)}).plot.qq(ax=axes())
    band = ax.collections[0].get_paths()[0].vertices
    points = np.asarray(ax.collections[1].get_offsets())
    low = np.array([band[np.isclose(band[:, 0], x), 1].min() for x, _ in points])
    high = np.array([band[np.isclose(band[:, 0], x), 1].max() for x, _ in points])
    assert np.mean((points[:, 1] >= low) & (points[:, 1] <= high)) > 0.9


def test_caterpillar(sleep: Fit) -> None:
    ax = sleep.plot.caterpillar(ax=axes(), group="Subject", column="Days", level=0.9)
    table = sleep.ranef(condsd=True)
    days = table.query("term == 'Days'").sort_values("condval")
    np.testing.assert_allclose(ax.lines[1].get_xdata(), days["condval"])
    ends = np.array([line[:, 0] for line in ax.collections[0].get_segments()])
    reach = 1.6448536269514722 * days["condsd"]
    np.testing.assert_allclose(ends, np.stack([days["condval"] - reach, days["condval"] + reach], axis=1))
    assert [t.get_text() for t in ax.get_yticklabels()] == list(days["grp"])
    assert ax.get_title() == "Days | Subject: 18 levels"
    with pytest.raises(DataError, match="'Days' of 'Subject'"):
        sleep.plot.caterpillar(group="Item")


def test_caterpillar_thins_many_levels(verbal: Fit) -> None:
    ax = verbal.plot.caterpillar(ax=axes(), most=50)
    x = np.asarray(ax.lines[1].get_xdata())
    assert len(x) == 50
    assert "50 of 316 levels drawn" in ax.get_title()
    modes = verbal.estimate.modes[0][:, 0]
    assert (x[0], x[-1]) == (modes.min(), modes.max())
    places = ax.get_yticks()  # some levels are named, both ends among them
    assert (places[0], places[-1]) == (0, 49)
    assert len(places) < 40
    bare = verbal.plot.caterpillar(ax=axes(), spread=False)
    assert not any(len(segment) for segment in bare.collections[0].get_segments())
    with pytest.raises(DataError, match="most=1"):
        verbal.plot.caterpillar(most=1)


def test_coefficients(sleep: Fit, verbal: Fit) -> None:
    ax = verbal.plot.coefficients(ax=axes())
    np.testing.assert_allclose(ax.lines[1].get_xdata(), verbal.params.iloc[1:])
    assert "logit scale" in ax.get_xlabel()
    both = sleep.plot.coefficients(ax=axes(), intercept=True)
    assert [t.get_text() for t in both.get_yticklabels()] == ["(Intercept)", "Days"]
    only = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff")).plot.coefficients(ax=axes())
    assert [t.get_text() for t in only.get_yticklabels()] == ["(Intercept)"]


def test_profile(sleep: Fit) -> None:
    table = sleep.profile(parameters="Days", points=5)
    ax = sleep.plot.profile("Days", ax=axes(), points=5)
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), table["zeta"])
    two = sleep.plot.profile(["Days", "sigma"], points=3)
    assert [one.get_title() for one in two] == ["Days", "sigma"]
    with pytest.raises(DataError, match="ax holds 1 axes, and there are 2 parameters"):
        sleep.plot.profile(["Days", "sigma"], ax=axes())


def test_names_are_taken_literally() -> None:
    data = load_dataset("sleepstudy").rename(columns={"Days": "a$b_{", "Subject": "$x^"})
    model = fit("Reaction ~ `a$b_{` + (`a$b_{` | `$x^`)", data)
    ax = axes()
    for name in NAMES:
        ax = getattr(model.plot, name)(ax=axes())
        ax.figure.canvas.draw()
    assert model.plot.coefficients(ax=ax).get_yticklabels()[-1].get_text() == "`a$b_{`"


def test_long_names_leave_room_for_the_plot() -> None:
    data = load_dataset("Owls")
    formula = "SiblingNegotiation ~ FoodTreatment * SexParent + (1 | Nest)"
    both = compare_methods(formula, data, ["laplace", "pql", "krylov"], family="poisson")
    ax = both.plot("coefficients")
    assert ax.get_yticklabels()[2].get_text() == "FoodTreatmentSatiated:\nSexParentMale"
    ax.figure.canvas.draw()
    page = ax.figure.bbox
    for shown in (ax.get_legend(), ax.xaxis.label, *ax.get_yticklabels()):
        box = shown.get_window_extent()
        assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert ax.get_window_extent().width > 0.5 * page.width


def test_naivete(verbal: Fit) -> None:
    ax = verbal.plot.naivete(ax=axes())
    np.testing.assert_allclose(scattered(ax)[:, 0], verbal.naivete()["naivete"])
    assert verbal.plot_naivete(ax) is ax


def test_draws() -> None:
    draws = np.random.default_rng(1).normal(size=(4, 500))
    ax = trace(draws, "sd", axes())
    assert len(ax.lines) == 4
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), draws[2])
    ax = rank(draws, "sd", axes(), bins=10)
    heights = np.array([patch.get_data().values for patch in ax.patches if hasattr(patch, "get_data")])
    assert heights.shape == (4, 10)
    np.testing.assert_allclose(heights.mean(axis=0), 1.0)
    with pytest.raises(DataError, match="shape"):
        trace(np.zeros((2, 3, 4)), "sd")


def test_a_fit_without_draws_says_so(sleep: Fit) -> None:
    with pytest.raises(PlanError, match="a fit by REML has no draws to trace or rank"):
        sleep.plot.trace("sigma")


def test_draws_of_a_posterior(sleep: Fit) -> None:
    class Drawn(dict[str, np.ndarray]):
        beta_names, names = ("Days",), ("sigma",)

    drawn = Drawn(Days=np.zeros((2, 10)), sigma=np.ones((2, 10)))
    from lmmformula.inference.kinds.draws import Draws
    from lmmformula.reporting.plots.namespace import Plots

    plots = Plots(SimpleNamespace(inference=Draws(SimpleNamespace(), drawn)))  # type: ignore[arg-type]
    assert len(plots.trace("sigma", axes()).lines) == 2
    with pytest.raises(DataError, match="there is no parameter 'x'; known: Days, sigma"):
        plots.rank("x")


# -- comparisons ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both() -> MethodComparison:
    formula = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
    return compare_methods(formula, load_dataset("VerbAgg"), ["laplace", "pql"], family="binomial")


def test_comparison_plots(both: MethodComparison) -> None:
    found = both.plot()
    assert [ax.get_title().split(":")[0] for ax in found] == [
        "Fixed effects",
        "(Intercept) | id",
        "(Intercept) | id",
    ]
    ax = axes()
    assert both.plot("shrinkage", ax=ax, group="item") is ax
    x, y = (both.fits[m].estimate.modes[1][:, 0] for m in ("laplace", "pql"))
    np.testing.assert_allclose(scattered(ax), np.stack([x, y], axis=1))
    (label,) = legend(ax)
    assert label == f"pql: slope {x @ y / (x @ x):.3f}"
    forest = both.plot("coefficients", ax=axes(), intercept=True)
    assert legend(forest) == ["laplace", "pql"]
    np.testing.assert_allclose(forest.lines[2].get_xdata(), both.fits["pql"].params)
    assert "40 of 316 levels" in both.plot("caterpillar", ax=axes()).get_title()


def test_comparison_plots_refuse(both: MethodComparison) -> None:
    with pytest.raises(DataError, match="kind='forest' is unknown"):
        both.plot("forest")
    with pytest.raises(DataError, match="ax holds 1 axes, and there are 3 plots"):
        both.plot(ax=axes())
    with pytest.raises(DataError, match="'group' is an option of one kind"):
        both.plot(group="id")
    one = compare_methods("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), "reml")
    assert len(one.plot()) == 2
    with pytest.raises(DataError, match="only 'reml' was fitted"):
        one.plot("shrinkage")


# -- matplotlib ----------------------------------------------------------------------------------------------------


def test_without_matplotlib(sleep: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(LmmformulaError, match=r"pip install 'lmmformula\[plots\]'"):
        sleep.plot.residuals()
    with pytest.raises(LmmformulaError, match=r"lmmformula\[plots\]"):
        sleep.plot.profile()


def test_the_namespace_imports_no_matplotlib() -> None:
    code = (
        "import sys\n"
        "from lmmformula import compare_methods, load_dataset, to_latex\n"
        "m = compare_methods('Yield ~ 1 + (1 | Batch)', load_dataset('Dyestuff'), ['reml', 'ml'])\n"
        "repr(m.fits['ml'].plot), str(m), m._repr_html_(), to_latex(m)\n"
        "sys.exit(any(n.split('.')[0] in ('matplotlib', 'jax', 'numba', 'statsmodels') for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_repr_lists_the_plots(sleep: Fit) -> None:
    assert ".caterpillar()" in repr(sleep.plot)


# -- marginal effects ------------------------------------------------------------------------------------------------


def test_marginal_effects_are_predictions_for_the_population(sleep: Fit) -> None:
    ax = sleep.plot.marginal_effects("Days", ax=axes())
    line = ax.lines[0]
    days, shown = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert (days[0], days[-1]) == (0.0, 9.0)
    own = sleep.predict({"Days": days}, re_form=None, interval="confidence")
    np.testing.assert_allclose(shown, own["fit"])
    edges = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == pytest.approx((own["lower"].min(), own["upper"].max()))
    assert ax.get_ylabel() == "expected Reaction"


def test_marginal_effects_of_factors_hold_the_others(verbal: Fit) -> None:
    ax = verbal.plot.marginal_effects("btype", ax=axes())
    assert [t.get_text() for t in ax.get_xticklabels()] == ["curse", "scold", "shout"]
    data = load_dataset("VerbAgg")
    held = {name: data[name].mode()[0] for name in ("Gender", "situ")} | {"Anger": data["Anger"].mean()}
    rows = [held | {"btype": b} for b in ("curse", "scold", "shout")]
    expected = verbal.predict(pd.DataFrame(rows), re_form=None)
    np.testing.assert_allclose(np.asarray(ax.lines[0].get_ydata()), expected)
    assert ax.get_ylabel() == "probability of Y"
    with pytest.raises(DataError, match="no variable 'item'; it has Anger, Gender, btype, situ"):
        verbal.plot.marginal_effects("item", ax=axes())


def test_marginal_effects_of_logical_and_transformed_variables() -> None:
    data = load_dataset("sleepstudy")
    data = data.assign(late=data["Days"] > 4)
    model = fit("Reaction ~ log(Days + 1) * late + (1 | Subject)", data)
    ax = model.plot.marginal_effects("late", ax=axes())
    assert [t.get_text() for t in ax.get_xticklabels()] == ["FALSE", "TRUE"]
    days = model.plot.marginal_effects(ax=axes())
    assert days.get_xlabel() == "Days"
    bare = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    with pytest.raises(DataError, match="names no variable"):
        bare.plot.marginal_effects(ax=axes())


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.01), (0.97, 1.07), (1.0, 3.0), (1.0, 28.0), (0.2, 40.0), (1.0, 1e7)]
)
def test_ticks_of_ratios_are_plain_numbers_that_can_be_told_apart(low: float, high: float) -> None:
    table = pd.DataFrame({"naivete": [low, high], "inefficiency": [1.0, high]}, index=["a", "b$"])
    ax = plot_naivete(table, axes())
    ax.figure.draw_without_rendering()
    for axis in (ax.xaxis, ax.yaxis):
        places = axis.get_majorticklocs()
        assert not len(axis.get_minorticklocs())
        assert 2 <= len(places) <= 9
        assert 1.0 in places
        assert [float(t.get_text()) for t in axis.get_ticklabels()] == pytest.approx(list(places))
    boxes = sorted(t.get_window_extent().x0 for t in ax.get_xticklabels())
    widths = [t.get_window_extent().width for t in ax.get_xticklabels()]
    assert min(np.diff(boxes)) > min(widths)


def test_a_caterpillar_of_200_levels_can_be_read(verbal: Fit) -> None:
    ax: Any = axes()
    ax.figure.set_size_inches(5, 8)
    verbal.plot.caterpillar(ax=ax, group="id")
    ax.figure.draw_without_rendering()
    labels = ax.get_yticklabels()
    assert 20 <= len(labels) <= 40
    tops = [t.get_window_extent().y0 for t in labels]
    heights = [t.get_window_extent().height for t in labels]
    assert min(np.diff(tops)) >= 0.9 * max(heights)
    places = ax.get_yticks()
    assert (places[0], places[-1]) == (0, 199)
    intervals = ax.collections[0]
    room = 72 * 8 * ax.get_position().height / 200
    assert max(intervals.get_linewidths()) < 0.6 * room
    ends = np.array([segment[:, 0] for segment in intervals.get_segments()])
    grey = np.array([np.allclose(c[:3], matplotlib.colors.to_rgb(GREY)) for c in intervals.get_colors()])
    np.testing.assert_array_equal(grey, (ends[:, 0] <= 0) & (ends[:, 1] >= 0))
