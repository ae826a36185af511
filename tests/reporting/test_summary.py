"""The summary as text and HTML."""

from __future__ import annotations

import warnings
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, FitError, fit, load_dataset
from lmmformula.backends.base import Likelihood
from lmmformula.reporting.numbers import aligned, general, p_value, significant, stars, statistic
from lmmformula.reporting.tables import MOST_ROWS


def _quiet(formula: str, data: pd.DataFrame, **arguments: Any) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(formula, data, **arguments)


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


EXPECTED = """\
Linear mixed model fitted by REML
Formula: Reaction ~ Days + (Days | Subject)
Data:    180 rows; groups: Subject 18

   logLik   REML criterion       AIC       BIC   df.resid
  -871.81          1743.63   1755.63   1774.79        174

Standardised residuals:
      Min        1Q   Median       3Q      Max
  -3.9536   -0.4634   0.0231   0.4634   5.1793

Random effects:
 Groups   Name        Variance Std.Dev. Corr
 Subject  (Intercept)   612.09   24.740
          Days           35.07    5.922 0.07
 Residual               654.94   25.592

Fixed effects (t tests with Satterthwaite's df):
             Estimate Std. Error   df t value Pr(>|t|)
 (Intercept)   251.41       6.82 17.0   36.84   <2e-16 ***
 Days           10.47       1.55 17.0    6.77 3.26e-06 ***
 ---
 Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1

Correlation of fixed effects:
      (Intr)
 Days -0.138

Engine: REML on the blocked engine; converged ("""


def test_text(sleep: Fit) -> None:
    text = str(sleep.summary())
    assert text.startswith(EXPECTED)
    assert repr(sleep) == text
    assert repr(sleep.summary()) == text


def test_frames(sleep: Fit) -> None:
    summary = sleep.summary()
    assert list(summary.fixed.columns) == ["Estimate", "Std. Error", "df", "t value", "Pr(>|t|)"]
    np.testing.assert_array_equal(summary.fixed["Estimate"], sleep.params)
    pd.testing.assert_frame_equal(summary.random, sleep.varcorr())
    assert set(summary.criteria) == {"logLik", "REML criterion", "AIC", "BIC", "df.resid"}


def test_maximum_likelihood_and_three_columns() -> None:
    text = str(
        fit("score ~ Machine + (0 + Machine | Worker)", load_dataset("Machines"), method="ml").summary()
    )
    assert "fitted by maximum likelihood" in text
    assert "-2 log L" in text
    lines = text.splitlines()
    assert any(line.split()[:1] == ["MachineC"] and len(line.split()) == 5 for line in lines)


def test_singular_dropped_weights_offset_and_missing() -> None:
    singular = str(_quiet("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2")).summary())
    assert "Singular: the covariance matrix of (1 | Batch)" in singular
    data = load_dataset("sleepstudy")
    data["twice"], data["w"], data["off"] = 2 * data["Days"], 1.0 + data["Days"], 1.0
    data.loc[3, "Days"] = np.nan
    model = _quiet("Reaction ~ Days + twice + (1 | Subject)", data, weights="w", offset="off")
    text = str(model.summary())
    assert "179 rows (1 of 180 dropped); groups: Subject 18" in text
    assert "dropped 1 of the fixed-effects columns: twice" in text
    assert "Prior weights from 1 to 10." in text
    assert "With an offset." in text


def test_not_converged_is_said() -> None:
    model = _quiet("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"), max_evaluations=2)
    assert not model.converged
    assert "NOT CONVERGED" in str(model.summary())
    assert model.diagnostics["status"].startswith("stopped")


def test_many_coefficients_and_long_names() -> None:
    rng = np.random.default_rng(1)
    n = 800
    name = "a_predictor_with_a_name_that_is_longer_than_most_columns"
    data = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            name: rng.integers(0, 80, n).astype(str),
            "g": rng.integers(0, 20, n).astype(str),
        }
    )
    model = _quiet(f"y ~ {name} + (1 | g)", data)
    text = str(model.summary())
    assert f"... {model.problem.p - MOST_ROWS} more coefficients" in text
    table = [line for line in text.splitlines() if line.startswith(f" {name}")]
    assert len({line.index(".") for line in table}) <= 2  # the columns stay in line
    assert len(model.summary().fixed) == model.problem.p
    assert "more coefficients" in model.summary()._repr_html_()


def test_without_fixed_effects(sleep: Fit) -> None:
    summary = sleep.summary()
    bare = replace(summary, fixed=summary.fixed.iloc[:0], correlation=None)
    assert "Fixed effects" not in str(bare)
    assert "Residual" in str(bare)
    assert bare._repr_html_().count("<table") == 3


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables = 0
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            return
        self.open.append(tag)
        self.tables += tag == "table"
        self.styles += [value or "" for key, value in attrs if key == "style"]
        assert {key for key, _ in attrs} <= {"style"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html(sleep: Fit) -> None:
    html = sleep._repr_html_()
    checker = _Checker()
    checker.feed(html)
    assert not checker.open
    assert checker.tables == 5
    assert "script" not in html
    # No colour of its own: the notebook's theme decides.
    assert not any("#" in style or "rgb" in style for style in checker.styles)
    assert "251.41" in html
    assert "&lt;2e-16" in html


def test_html_escapes_names() -> None:
    data = load_dataset("sleepstudy").rename(columns={"Days": "a<b>&c"})
    model = fit("Reaction ~ `a<b>&c` + (1 | Subject)", data)
    html = model._repr_html_()
    assert "a<b>" not in html
    assert "a&lt;b&gt;&amp;c" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "<2e-16"),
        (1e-17, "<2e-16"),
        (3.2e-6, "3.20e-06"),
        (2.81e-4, "0.000281"),
        (0.0217, "0.0217"),
        (1.0, "1.0000"),
        (float("nan"), "NA"),
    ],
)
def test_p_values(value: float, text: str) -> None:
    assert p_value(value) == text


def test_numbers() -> None:
    assert general(float("nan")) == "NA"
    assert general(float("-inf")) == "-Inf"
    assert general(0.0) == "0"
    assert general(12345.678) == "12346"
    assert general(1.5e-9) == "1.500e-09"
    assert significant([]) == []
    assert significant([0.0, 0.0]) == ["0", "0"]
    assert significant([612.09, 35.07]) == ["612.09", "35.07"]
    assert significant([1e5, 1e-5]) == ["100000.0", "1.0e-05"]
    assert significant([1e12, 1.0]) == ["1.000e+12", "1.000"]
    assert statistic(float("inf"), 1) == "Inf"
    assert statistic(1.5e7, 1) == "1.5e+07"
    assert [stars(p) for p in (0.0001, 0.005, 0.03, 0.07, 0.5, float("nan"))] == [
        "***",
        "**",
        "*",
        ".",
        "",
        "",
    ]
    assert aligned(["a", "b"], [["xyz", "1"], ["x", "10"]]) == ["a    b", "xyz  1", "x   10"]


def test_diagnostics(sleep: Fit) -> None:
    numbers = sleep.diagnostics
    assert numbers["converged"] is True
    assert numbers["decrement"] <= numbers["tolerance"]
    assert numbers["singular"] == ()
    assert "blocked" in numbers["plan"]


SALAMANDERS = "count ~ spp + mined + (1 | site)"


@pytest.fixture(scope="module")
def counts() -> Fit:
    return fit(SALAMANDERS, load_dataset("Salamanders"), family="nbinom1")


def test_generalised_text(counts: Fit) -> None:
    text = str(counts.summary())
    lines = text.splitlines()
    assert lines[0] == "Generalised linear mixed model fitted by Laplace approximation"
    assert lines[2:4] == ["Family:  nbinom1", "Links:   mu = log; phi = log"]
    assert lines[7].split() == ["-815.10", "1630.20", "1650.20", "1694.88", "634"]
    # glmmTMB: quantile(residuals(m, "pearson"))
    assert "  -1.3094   -0.4111   -0.2849   0.0104   8.3469" in text
    assert "Residual" not in text
    assert " site   (Intercept)   0.2155   0.4642" in text
    assert " minedno        1.988      0.257    7.74 1.00e-14 ***" in text
    assert "Pr(>|z|)" in text
    assert "Dispersion (phi, overdispersion: var = mu (1 + phi)): 2.079" in text
    assert list(counts.summary().fixed.columns) == ["Estimate", "Std. Error", "z value", "Pr(>|z|)"]


def test_binomial_has_no_dispersion_and_counts_trials() -> None:
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    summary = fit(formula, load_dataset("cbpp"), family="binomial").summary()
    assert summary.auxiliary == ()
    assert (summary.family, summary.links) == ("binomial", "mu = logit")
    assert "Trials from 2 to 34." in summary.notes


def test_auxiliary_predictors_have_tables() -> None:
    model = fit(
        SALAMANDERS,
        load_dataset("Salamanders"),
        family="nbinom2",
        ziformula="~ mined",
        dispformula="~ DOY",
    )
    summary = model.summary()
    dispersion, zeros = summary.auxiliary
    assert dispersion.title == "Dispersion (log scale; phi, size: var = mu + mu^2 / phi)"
    assert zeros.title == "Zero inflation (logit scale)"
    assert dispersion.value is None
    assert dispersion.table is not None
    assert zeros.table is not None
    # glmmTMB: summary(m)$coefficients
    expected = [[0.1064055885, 0.3161620130], [-0.1545441759, 0.1577124156]]
    np.testing.assert_allclose(dispersion.table.iloc[:, :2], expected, rtol=1e-4)
    expected = [[-0.1370279086, 0.566454656], [-4.1048096993, 6.509514505]]
    np.testing.assert_allclose(zeros.table.iloc[:, :2], expected, rtol=1e-3)
    np.testing.assert_allclose(zeros.table["Pr(>|z|)"], [0.8088541929, 0.5283111562], rtol=1e-3)
    assert list(zeros.table.index) == ["(Intercept)", "minedno"]
    assert "Zero inflation (logit scale):" in str(summary)
    html = summary._repr_html_()
    checker = _Checker()
    checker.feed(html)
    assert checker.tables == 7
    assert "Zero inflation (logit scale)" in html


def test_constant_zero_inflation_is_a_probability() -> None:
    model = fit(SALAMANDERS, load_dataset("Salamanders"), family="poisson", ziformula="~ 1")
    (part,) = model.summary().auxiliary
    assert part.title == "Zero inflation (probability of a structural zero)"
    assert part.value == pytest.approx(model.dispersion["zi"])
    assert f"{part.title}: {general(model.dispersion['zi'])}" in str(model)


def test_other_criteria_and_dispersions_are_named() -> None:
    data = load_dataset("Salamanders")
    quick = fit("count ~ mined + (1 | site)", data, family="poisson", nagq=0)
    assert "fitted by Laplace approximation (nAGQ = 0)" in str(quick)
    assert "take the covariance parameters as known" in str(quick)
    nodes = fit("count ~ mined + (1 | site)", data, family="poisson", nagq=5)
    assert "fitted by adaptive quadrature, 5 nodes" in str(nodes)
    sleep = load_dataset("sleepstudy")
    spread = fit("Reaction ~ Days + (1 | Subject)", sleep, dispformula="~ Days").summary()
    assert spread.title == "Linear mixed model fitted by Laplace approximation"
    assert "Residual" not in set(spread.random["grp"])
    student = str(fit("Reaction ~ Days + (1 | Subject)", sleep, family="student"))
    assert "Degrees of freedom (df): 4.5" in student


def test_generalised_html(counts: Fit) -> None:
    html = counts._repr_html_()
    checker = _Checker()
    checker.feed(html)
    assert not checker.open
    assert checker.tables == 5
    assert "Family: nbinom1<br>Links: mu = log; phi = log" in html
    assert "Dispersion (phi, overdispersion: var = mu (1 + phi)): 2.079" in html
    assert "Scaled (Pearson) residuals" in html


class _NoInformation(Likelihood):
    """A backend whose Hessian is not positive definite."""

    def joint_vcov(self, estimate: Any, point: Any) -> Any:
        raise FitError("the Hessian is flat.")


def test_a_fit_without_standard_errors_still_prints(counts: Fit) -> None:
    bare = replace(counts, backend=_NoInformation())
    text = str(bare.summary())
    assert "No standard errors: the Hessian is flat." in text
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["minedno"])
    assert float(row[1]) == pytest.approx(1.98764, abs=1e-4)
    assert row[2:] == ["NA", "NA", "NA"]
    assert bool(bare.tidy("fixed")["std_error"].isna().all())


# -- what lme4, glmmTMB and brms show --------------------------------------------------------------------------------


def test_correlations_of_fixed_effects_follow_lme4s_rule() -> None:
    """Shown for 2 to 20 coefficients unless said otherwise; the numbers are those of the covariance matrix."""
    few = fit("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"))
    spread = np.sqrt(np.diagonal(few.vcov))
    expected = few.vcov / np.outer(spread, spread)
    shown: Any = few.summary().correlation
    np.testing.assert_allclose(shown, expected, rtol=1e-12)
    assert few.summary(correlation=False).correlation is None
    assert fit("Reaction ~ 1 + (1 | Subject)", load_dataset("sleepstudy")).summary().correlation is None
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {"y": rng.normal(size=300), "f": rng.integers(0, 24, 300).astype(str), "g": rng.integers(0, 9, 300)}
    )
    many = _quiet("y ~ f + (1 | g)", data)
    assert many.problem.p == 24
    assert many.summary().correlation is None
    assert "not shown, as there are 24 (more than 20)" in str(many)
    text = str(many.summary(correlation=True))
    assert "not shown" not in text
    triangle = text[text.index("Correlation of fixed") :].partition("\n\n")[0].splitlines()[1:]
    assert max(map(len, triangle)) <= 100
    assert sum(line.count(".") for line in triangle) == 24 * 23 // 2


def test_kenward_roger_in_the_summary() -> None:
    """The t test of a coefficient is the F test of its term."""
    model = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    summary = model.summary(ddf="kenward-roger")
    assert "(t tests with Kenward-Roger's df)" in str(summary)
    tested = model.anova(ddf="kenward-roger")
    assert summary.fixed.loc["Days", "df"] == pytest.approx(tested.loc["Days", "DenDF"])
    assert summary.fixed.loc["Days", "t value"] ** 2 == pytest.approx(tested.loc["Days", "F value"])
    assert summary.fixed.loc["Days", "Pr(>|t|)"] == pytest.approx(tested.loc["Days", "Pr(>F)"])
    with pytest.raises(DataError, match="ddf='kr' is unknown"):
        model.summary(ddf="kr")


def test_formulas_of_further_parameters_and_standard_errors_of_constants() -> None:
    """glmmTMB: Owls, nbinom1 with ziformula = ~ 1; the table of zero inflation has one row with its error."""
    model = fit(
        "SiblingNegotiation ~ FoodTreatment + offset(log(BroodSize)) + (1 | Nest)",
        load_dataset("Owls"),
        family="nbinom1",
        ziformula="~ 1",
    )
    text = str(model)
    assert "\nziformula: ~ 1\n" in text
    assert "dispformula" not in text
    assert "Links:   mu = log; phi = log; zi = logit" in text
    rows = model.tidy("fixed").set_index("component")
    for component, link in (("disp", "log(phi)"), ("zi", "logit(zi)")):
        estimate, error = rows.loc[component, ["estimate", "std_error"]]
        (line,) = [line for line in text.splitlines() if f"({link} = " in line]
        shown = line.split(f"({link} = ")[1].rstrip(")").split(", SE ")
        assert float(shown[0]) == pytest.approx(estimate, rel=2e-2)
        assert float(shown[1]) == pytest.approx(error, rel=2e-2)


@pytest.mark.parametrize(("kind", "spreads"), [("ar1", 1), ("cs", 4)])
def test_a_shared_correlation_is_one_number(kind: str, spreads: int) -> None:
    rng = np.random.default_rng(5)
    m, k = 60, 4
    effects = rng.multivariate_normal(np.zeros(k), 0.7 ** np.abs(np.subtract.outer(range(k), range(k))), m)
    data = pd.DataFrame({"g": np.repeat(range(m), 2 * k), "t": np.tile(np.repeat(range(k), 2), m)})
    data["y"] = effects[data["g"], data["t"]] + 0.5 * rng.normal(size=len(data))
    model = fit(f"y ~ 1 + {kind}(0 + factor(t) | g)", data)
    text = str(model)
    block = text[text.index("Random effects:") : text.index("Fixed effects")].splitlines()
    rows = [line for line in block if "factor(t)" in line]
    assert len(rows) == spreads
    table = model.varcorr()
    rho = table.loc[table["var2"].notna(), "sdcor"].iloc[0]
    assert [line for line in rows if f"{rho:.2f} ({kind})" in line] == rows[:1]
    assert sum(line.count(f"({kind})") for line in block) == 1


def test_no_line_breaks_within_a_term() -> None:
    data = load_dataset("sleepstudy").rename(columns={"Days": "a_rather_long_name_of_days"})
    formula = "Reaction ~ poly(a_rather_long_name_of_days, 2, raw = TRUE) + (1 + a_rather_long_name_of_days | Subject)"
    text = str(_quiet(formula, data).summary())
    assert "\nFormula: Reaction ~ poly(a_rather_long_name_of_days, 2, raw = TRUE) +\n" in text
    assert "\n         (1 + a_rather_long_name_of_days | Subject)\n" in text
