"""Hold a fit against one of the reference files: each check yields a line per number that is off.

Tolerances follow what the numbers can bear. The references are optima to about 1e-9 of a standard error; our
own optimiser stops where the deviance no longer changes by about 1e-9, which leaves 1e-5 of a standard error
in an estimate. A derived number (a denominator df, a p-value) loses another digit or two.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lmmformula
from lmmformula.datasets import load_dataset
from lmmformula.errors import RankDeficientWarning, SingularFitWarning

Reference = dict[str, Any]
Differences = Iterator[str]

FOLDER = Path(__file__).parent

FIXEF_IN_SE = 1e-4
SE_REL = 1e-4
LOGLIK_ABS = 1e-5
CRITERION_ABS = 2e-5
SIGMA_REL = 1e-4
SD_REL = 2e-4
CORRELATION_ABS = 5e-4
DF_REL = 1e-3
F_REL = 2e-4
RANEF_IN_SD = 1e-4
FITTED_IN_SIGMA = 1e-4

GLMM_FIXEF_IN_SE = 1e-4
GLMM_SE_REL = 1e-4
GLMM_LOGLIK_ABS = 1e-5
GLMM_SD_REL = 1e-4
GLMM_RANEF_IN_SD = 1e-4
GLMM_FITTED_REL = 1e-4
GLMM_CONFINT_IN_SE = 1e-3

FAMILIES = {"Gamma": "gamma", "inverse.gaussian": "inverse_gaussian"}
METHODS = {
    "REML": "reml",
    "ML": "ml",
    "Laplace": "laplace",
    "AGQ": "laplace",
    "PIRLS (nAGQ=0)": "laplace",
    "Laplace (TMB)": "laplace",
    "PQL": "pql",
}
KINDS = {"REML": "lmm", "ML": "lmm", "PQL": "pql", "Laplace (TMB)": "tmb"}


@cache
def reference(name: str) -> Reference:
    """One reference file, by model id."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def model_ids(kind: str) -> list[str]:
    """Ids of the models of one kind: ``lmm``, ``glmm``, ``tmb`` or ``pql``."""
    return [m["id"] for m in reference("index")["models"] if KINDS.get(m["method"], "glmm") == kind]


def fit_arguments(ref: Reference) -> dict[str, Any]:
    """Keyword arguments of `lmmformula.fit` that ask for the model of `ref`."""
    family = FAMILIES.get(ref["family"], ref["family"])
    arguments: dict[str, Any] = {
        "family": family if family == "gaussian" else f"{family}(link='{ref['link']}')",
        "method": METHODS[ref["method"]],
    }
    if ref["method"] == "AGQ":
        arguments["nagq"] = ref["nAGQ"]
    if ref["method"] == "PIRLS (nAGQ=0)":
        arguments["nagq"] = 0
    if ref["method"] == "Laplace" and ref.get("laplace_information", "").startswith("expected"):
        arguments["information"] = "expected"
    for name in ("weights", "ziformula"):
        if ref.get(name):
            arguments[name] = ref[name]
    if ref.get("contrasts_arg"):  # R text: list(f = "contr.sum", ...)
        inside = ref["contrasts_arg"].removeprefix("list(").removesuffix(")")
        pairs = (pair.split("=") for pair in inside.split(","))
        arguments["contrasts"] = {factor.strip(): coding.strip().strip('"') for factor, coding in pairs}
    return arguments


@cache
def fitted_model(name: str) -> Any:
    """Our fit of the model of one reference file; only the warnings that the reference has too pass."""
    ref = reference(name)
    with warnings.catch_warnings():
        if ref.get("isSingular"):
            warnings.simplefilter("ignore", SingularFitWarning)
        if ref.get("X_dropped_columns"):
            warnings.simplefilter("ignore", RankDeficientWarning)
        return lmmformula.fit(ref["formula"], load_dataset(ref["dataset"]), **fit_arguments(ref))


def apart(what: str, ours: Any, theirs: Any, tolerance: Any) -> Differences:
    """A line for each entry of `ours` farther than `tolerance` from `theirs`; R's NA is NaN here."""
    theirs = np.asarray(theirs, dtype=float)
    ours = np.asarray(ours, dtype=float)
    if ours.shape != theirs.shape:
        yield f"{what}: shape {ours.shape}, R {theirs.shape}"
        return
    tolerance = np.broadcast_to(np.asarray(tolerance, dtype=float), theirs.shape)
    agree = (np.abs(ours - theirs) <= tolerance) | (np.isnan(ours) & np.isnan(theirs))
    for index in zip(*np.nonzero(~np.atleast_1d(agree)), strict=True):
        a, b, t = (np.atleast_1d(x)[index] for x in (ours, theirs, tolerance))
        where = f"[{', '.join(map(str, index))}]" if theirs.ndim else ""
        yield f"{what}{where}: {a:.12g}, R {b:.12g}, apart {abs(a - b):.2g}, allowed {t:.2g}"


def relative(theirs: Any, share: float, floor: float = 0.0) -> np.ndarray:
    """Tolerance of `share` of each number, and never below `floor`."""
    return np.maximum(share * np.abs(np.asarray(theirs, dtype=float)), floor)


def same(what: str, ours: Any, theirs: Any) -> Differences:
    if ours != theirs:
        yield f"{what}: {ours!r}, R {theirs!r}"


def largest_sd(ref: Reference) -> float:
    return max([s for term in ref["varcorr"] for s in term["sd"]] + [ref.get("sigma") or 0.0])


def check_fixef(ref: Reference, fit: Any) -> Differences:
    names, se = ref["fixef"]["names"], np.array(ref["fixef"]["se"])
    ours = fit.params.reindex(names)
    # Dropped columns may be listed as NaN; anything else must be a coefficient of R's fit, in R's order.
    yield from same("names", [n for n in fit.params.index if not math.isnan(fit.params[n])], names)
    # The floor covers coefficients that are sums of thousands of numbers: R's own digits end there.
    theirs = ref["fixef"]["estimate"]
    yield from apart("fixef", ours, theirs, FIXEF_IN_SE * se + relative(theirs, 1e-9))


def check_standard_errors(ref: Reference, fit: Any) -> Differences:
    names, se = ref["fixef"]["names"], ref["fixef"]["se"]
    yield from apart("se", fit.bse.reindex(names), se, relative(se, SE_REL))
    ours = fit.cov_params().reindex(index=names, columns=names)
    yield from apart("vcov", ours, ref["vcov"], 2 * SE_REL * np.outer(se, se))


def check_statistics(ref: Reference, fit: Any) -> Differences:
    fixef = ref["fixef"]
    statistic = fit.tvalues.reindex(fixef["names"])
    yield from apart("t", statistic, fixef["stat"], FIXEF_IN_SE + relative(fixef["stat"], SE_REL))
    # At theta = 0 a Satterthwaite df depends on how theta is parametrised (sd or variance): no common number.
    if fixef.get("df_satterthwaite") and not ref["isSingular"]:
        df = fixef["df_satterthwaite"]
        yield from apart("df", fit.df.reindex(fixef["names"]), df, relative(df, DF_REL))
        yield from p_values_apart("p", fit.pvalues.reindex(fixef["names"]), fixef["p_satterthwaite"])


def p_values_apart(what: str, ours: Any, theirs: Any) -> Differences:
    """Differences on the log scale: 1e-27 from 20 df moves by a tenth when the df moves by a thousandth."""
    logs = [np.log(np.maximum(np.asarray(p, dtype=float), 1e-300)) for p in (ours, theirs)]
    yield from apart(f"log {what}", logs[0], logs[1], 1e-3 + relative(logs[1], 1e-3))


def check_criterion(ref: Reference, fit: Any) -> Differences:
    yield from apart("logLik", fit.llf, ref["logLik"], LOGLIK_ABS + relative(ref["logLik"], 1e-10))
    for name in ("AIC", "BIC"):
        yield from apart(
            name, getattr(fit, name.lower()), ref[name], CRITERION_ABS + relative(ref[name], 1e-10)
        )
    yield from same("nobs", int(fit.nobs), ref["nobs"])
    yield from same("groups", {k: int(v) for k, v in dict(fit.ngroups).items()}, ref["ngrps"])


def check_sigma(ref: Reference, fit: Any) -> Differences:
    yield from apart("sigma", fit.sigma, ref["sigma"], relative(ref["sigma"], SIGMA_REL))


def check_random_sds(ref: Reference, fit: Any) -> Differences:
    """Standard deviations and correlations, by group and columns (terms of one group share its name)."""
    yield from random_sds(ref, fit, SD_REL)
    table = fit.varcorr()
    yield from same("residual row", list(table.loc[table["grp"] == "Residual", "sdcor"]), [fit.sigma])


def random_sds(ref: Reference, fit: Any, sd_rel: float) -> Differences:
    """Every sd within the share `sd_rel` of R's, every correlation, and no rows besides."""
    table = fit.varcorr()
    residual = table["grp"] == "Residual"
    found: dict[tuple[str, ...], list[float]] = {}
    for row in table[~residual].to_dict("records"):
        # lme4 numbers further terms of a group: Subject, Subject.1
        group = next(
            (t["group"] for t in ref["varcorr"] if row["grp"] in (t["group"], t["name_in_VarCorr"])), "?"
        )
        variables = (
            (row["var1"],) if pd.isna(row["var2"]) or row["var2"] == "" else (row["var1"], row["var2"])
        )
        found.setdefault((group, *sorted(variables)), []).append(row["sdcor"])
    floor = 1e-5 * largest_sd(ref)  # where an sd is nearly 0 the deviance is flat in it
    count = 0
    for term in ref["varcorr"]:
        count += len(term["columns"]) * (len(term["columns"]) + 1) // 2
        for i, a in enumerate(term["columns"]):
            ours = found.get((term["group"], a), [math.nan])[0]
            yield from apart(
                f"sd {term['group']} {a}", ours, term["sd"][i], relative(term["sd"][i], sd_rel, floor)
            )
            for j, b in enumerate(term["columns"][:i]):
                ours = found.get((term["group"], *sorted((a, b))), [math.nan])[0]
                yield from apart(f"cor {term['group']} {a}, {b}", ours, term["corr"][i][j], CORRELATION_ABS)
    yield from same("rows of varcorr", int((~residual).sum()), count)


def check_singular(ref: Reference, fit: Any) -> Differences:
    yield from same("is_singular", bool(fit.is_singular), ref["isSingular"])


def check_ranef(ref: Reference, fit: Any) -> Differences:
    table = fit.ranef(condsd=True)
    table = table.assign(grp=table["grp"].astype(str))
    allowed = RANEF_IN_SD * largest_sd(ref)
    for term in ref["ranef"]:
        for k, column in enumerate(term["columns"]):
            chosen = (table["grpvar"] == term["group"]) & (table["term"] == column)
            block = table[chosen].set_index("grp")[["condval", "condsd"]]
            yield from same(f"levels {term['group']} {column}", len(block), term["n_levels"])
            ours = block.reindex(term["levels"])
            what = f"{term['group']} {column}"
            yield from apart(f"ranef {what}", ours["condval"], [v[k] for v in term["values"]], allowed)
            yield from apart(f"cond_sd {what}", ours["condsd"], [v[k] for v in term["cond_sd"]], allowed)
            # The files list ten levels of a large factor; these sums go over all of them.
            squares = term["column_sumsq"][k]
            slack = 2 * math.sqrt(squares * len(block)) * allowed
            yield from apart(f"ranef squares {what}", (block["condval"] ** 2).sum(), squares, slack)
            yield from apart(
                f"cond_sd sum {what}", block["condsd"].sum(), term["cond_sd_sums"][k], len(block) * allowed
            )


def check_fitted(ref: Reference, fit: Any) -> Differences:
    yield from long_vector("fitted", fit.fittedvalues, ref["fitted"], FITTED_IN_SIGMA * ref["sigma"])


def check_residuals(ref: Reference, fit: Any) -> Differences:
    weighted = ref["sigma"] * (
        10.0 if ref.get("weights") else 1.0
    )  # sqrt of the weights scales Pearson residuals
    for kind, allowed in (("response", ref["sigma"]), ("pearson", weighted)):
        expected = ref["residuals"][kind]
        yield from long_vector(
            f"residuals {kind}", fit.residuals(kind=kind), expected, FITTED_IN_SIGMA * allowed
        )


def long_vector(what: str, ours: Any, expected: dict[str, Any], allowed: float) -> Differences:
    """Head, sum and sum of squares of a vector with a number per row."""
    values = np.asarray(ours, dtype=float)
    n = expected["n"]
    yield from same(f"{what} length", len(values), n)
    yield from apart(what, values[: len(expected["head"])], expected["head"], allowed)
    yield from apart(f"{what} sum", values.sum(), expected["sum"], n * allowed)
    squares = expected["sumsq"]
    yield from apart(f"{what} squares", values @ values, squares, 2 * math.sqrt(n * squares) * allowed)


def check_predict(ref: Reference, fit: Any) -> Differences:
    forms = {"NULL": "all", "NA": None}
    for p in ref["predict"]["predictions"]:
        new = pd.DataFrame(ref["predict"]["newdata"][p["newdata"]])
        ours = fit.predict(
            new,
            re_form=forms.get(p["re_form"], p["re_form"]),
            kind=p["type"],
            new_levels="population" if p["allow_new_levels"] else "error",
        )
        what = f"predict {p['newdata']} re_form {p['re_form']}"
        yield from apart(what, ours, p["values"], FITTED_IN_SIGMA * largest_sd(ref))


def check_confint(ref: Reference, fit: Any) -> Differences:
    wald, se = ref["confint"]["wald"], np.array(ref["fixef"]["se"])
    ours = fit.conf_int(level=ref["confint"]["level"], method="wald").reindex(wald["rows"])
    yield from apart("confint", ours, wald["values"], (FIXEF_IN_SE + 2 * SE_REL) * se[:, None])


def check_anova(ref: Reference, fit: Any) -> Differences:
    """Types I, II and III with Satterthwaite's denominator (absent where the model has only an intercept)."""
    for number, kind in enumerate(("I", "II", "III"), start=1):
        expected = dict(ref["anova"]).get(f"{kind}_satterthwaite")
        if expected is not None:
            yield from anova_table(kind, fit.anova(type=number, ddf="satterthwaite"), expected)


def anova_table(kind: str, table: pd.DataFrame, expected: dict[str, Any]) -> Differences:
    # R keeps an empty row for a term whose columns were all dropped; leaving the row out says the same.
    values = pd.DataFrame(expected["values"], expected["rows"], expected["columns"], dtype=float).dropna()
    ours = table.dropna().reindex(values.index)
    yield from same(
        f"anova {kind} rows", [row for row in table.dropna().index if row != "Residuals"], list(values.index)
    )
    yield from apart(f"anova {kind} NumDF", ours["NumDF"], values["NumDF"], 0.0)
    yield from apart(f"anova {kind} DenDF", ours["DenDF"], values["DenDF"], relative(values["DenDF"], DF_REL))
    # F is a square of t-like numbers: an error e in those becomes 2 e sqrt(F). Sums of squares scale with F.
    f = values["F value"]
    allowed = relative(f, F_REL) + 2 * FIXEF_IN_SE * np.sqrt(f)
    for column in ("F value", "Sum Sq", "Mean Sq"):
        yield from apart(f"anova {kind} {column}", ours[column], values[column], allowed * values[column] / f)
    yield from p_values_apart(f"anova {kind} p", ours["Pr(>F)"], values["Pr(>F)"])


CHECKS: dict[str, Callable[[Reference, Any], Differences]] = {
    name.removeprefix("check_"): function
    for name, function in list(globals().items())
    if name.startswith("check_")
}


def glmm_fixef(ref: Reference, fit: Any) -> Differences:
    """Fixed effects of the mean and, in their own standard errors, of the zero-inflation."""
    fixef = ref["fixef"]
    yield from same("names", list(fit.params.index), fixef["names"])
    se = np.array(fixef["se"])
    yield from apart("fixef", fit.params, fixef["estimate"], GLMM_FIXEF_IN_SE * se)
    zi = ref.get("fixef_zi") or {"names": [], "estimate": [], "se": []}
    names, estimate, _ = zero_inflation(ref, fit)
    yield from same("zi names", names, zi["names"])
    yield from apart("zi", estimate, zi["estimate"], GLMM_FIXEF_IN_SE * np.array(zi["se"]))


def zero_inflation(ref: Reference, fit: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, coefficients and standard errors of the zero-inflation; empty without one."""
    if not ref.get("ziformula"):
        return [], np.empty(0), np.empty(0)
    alpha = fit.estimate.aux[-1]
    joint = fit.backend.joint_vcov(fit.estimate, fit.optimum)
    return list(fit.problem.aux[-1].names), alpha, np.sqrt(np.diagonal(joint)[-len(alpha) :])


def glmm_standard_errors(ref: Reference, fit: Any) -> Differences:
    """glmer: those of the exact Hessian, or at nAGQ = 0 given theta, which is all lme4 offers there."""
    se = np.array(ref["fixef"].get("se_exact", ref["fixef"].get("se_rx", ref["fixef"]["se"])))
    vcov = ref.get("vcov_exact", ref.get("vcov_rx", ref["vcov"]))
    yield from apart("se", fit.bse, se, GLMM_SE_REL * se)
    yield from apart("vcov", fit.cov_params(), vcov, 2 * GLMM_SE_REL * np.outer(se, se))
    zi = ref.get("fixef_zi") or {"se": []}
    yield from apart("zi se", zero_inflation(ref, fit)[2], zi["se"], relative(zi["se"], GLMM_SE_REL))


def glmm_statistics(ref: Reference, fit: Any) -> Differences:
    """z and its p-value; lme4's own rest on its less accurate standard errors."""
    fixef = ref["fixef"]
    se = np.array(fixef.get("se_exact", fixef.get("se_rx", fixef["se"])))
    z = np.array(fixef["estimate"]) / se
    yield from apart("z", fit.tvalues, z, GLMM_FIXEF_IN_SE + relative(z, GLMM_SE_REL))
    if ref["family"] != "gaussian":  # whose p-values have Satterthwaite's df here
        yield from same("df", set(fit.df), {math.inf})
        sharp = [math.erfc(abs(v) / math.sqrt(2)) for v in z]
        allowed = 1e-3 + 3 * GLMM_SE_REL * z**2  # the slope of log p in z is about -z
        ours, theirs = (np.log(np.maximum(np.asarray(p), 1e-300)) for p in (fit.pvalues, sharp))
        yield from apart("log p", ours, theirs, allowed)


def glmm_criterion(ref: Reference, fit: Any) -> Differences:
    """With more nodes than one lme4's logLik lacks a constant (and so its AIC): `logLik_full` has it."""
    quadrature = ref["method"] == "AGQ"
    yield from apart("logLik", fit.llf, ref["logLik_full" if quadrature else "logLik"], GLMM_LOGLIK_ABS)
    if not quadrature:
        yield from apart("AIC", fit.aic, ref["AIC"], CRITERION_ABS)
        yield from apart("BIC", fit.bic, ref["BIC"], CRITERION_ABS)
    yield from same("npar", fit.df_model, ref["df"])
    yield from same("nobs", int(fit.nobs), ref["nobs"])
    yield from same("groups", {k: int(v) for k, v in dict(fit.ngroups).items()}, ref["ngrps"])


def glmm_sigma(ref: Reference, fit: Any) -> Differences:
    """The dispersion; 1 where there is none."""
    yield from apart("sigma", fit.sigma, ref["sigma"], relative(ref["sigma"], GLMM_SD_REL))


def glmm_random_sds(ref: Reference, fit: Any) -> Differences:
    yield from random_sds(ref, fit, GLMM_SD_REL)


def glmm_singular(ref: Reference, fit: Any) -> Differences:
    """glmmTMB has no such verdict; none of its models here is singular."""
    yield from same("is_singular", bool(fit.is_singular), ref.get("isSingular", False))


def glmm_ranef(ref: Reference, fit: Any) -> Differences:
    """Modes, and for glmer their conditional sds (glmmTMB's include the uncertainty of the parameters)."""
    table = fit.ranef(condsd=True)
    table = table.assign(grp=table["grp"].astype(str))
    allowed = GLMM_RANEF_IN_SD * max(s for term in ref["varcorr"] for s in term["sd"])
    for term in ref["ranef"]:
        for k, column in enumerate(term["columns"]):
            chosen = (table["grpvar"] == term["group"]) & (table["term"] == column)
            block = table[chosen].set_index("grp")[["condval", "condsd"]]
            what = f"{term['group']} {column}"
            yield from same(f"levels {what}", len(block), term["n_levels"])
            ours = block.reindex(term["levels"])
            yield from apart(f"ranef {what}", ours["condval"], [v[k] for v in term["values"]], allowed)
            squares = term["column_sumsq"][k]
            slack = 2 * math.sqrt(squares * len(block)) * allowed
            yield from apart(f"ranef squares {what}", (block["condval"] ** 2).sum(), squares, slack)
            if ref["engine"] == "glmer":
                theirs = [v[k] for v in term["cond_sd"]]
                yield from apart(f"cond_sd {what}", ours["condsd"], theirs, allowed)
                total = term["cond_sd_sums"][k]
                yield from apart(f"cond_sd sum {what}", block["condsd"].sum(), total, len(block) * allowed)


def glmm_fitted(ref: Reference, fit: Any) -> Differences:
    yield from glmm_vector("fitted", fit.fittedvalues, ref["fitted"])


def glmm_residuals(ref: Reference, fit: Any) -> Differences:
    """Every kind the file has."""
    for kind, expected in ref["residuals"].items():
        ours = fit.residuals(kind=kind)
        if kind == "pearson" and ref["family"] == "beta":
            # glmmTMB 1.1.5 divides by mu (1 - mu) alone: its phi is left out
            ours = ours / math.sqrt(1 + fit.sigma)
        yield from glmm_vector(f"residuals {kind}", ours, expected)


def glmm_vector(what: str, ours: Any, expected: dict[str, Any]) -> Differences:
    """A vector within a share of its root mean square."""
    size = math.sqrt(expected["sumsq"] / expected["n"])
    yield from long_vector(what, ours, expected, GLMM_FITTED_REL * size)


def glmm_predict(ref: Reference, fit: Any) -> Differences:
    """Entries with R's own error instead of values are passed over: glmmTMB 1.1.5 refuses some factors in new data."""
    forms = {"NULL": "all", "NA": None}
    for p in ref["predict"]["predictions"]:
        if "error" in p:
            continue
        new = pd.DataFrame(ref["predict"]["newdata"][p["newdata"]])
        ours = fit.predict(
            new,
            re_form=forms.get(p["re_form"], p["re_form"]),
            kind=p["type"],
            new_levels="population" if p["allow_new_levels"] else "error",
        )
        what = f"predict {p['newdata']} re_form {p['re_form']} {p['type']}"
        size = max(1.0, *(abs(v) for v in p["values"])) if p["type"] == "link" else None
        allowed = GLMM_FITTED_REL * size if size else relative(p["values"], GLMM_FITTED_REL)
        yield from apart(what, ours, p["values"], allowed)


def glmm_confint(ref: Reference, fit: Any) -> Differences:
    wald = ref["confint"]["wald"]
    rows = [row.removeprefix("cond.") for row in wald["rows"]]
    values = pd.DataFrame([row[:2] for row in wald["values"]], rows, dtype=float)
    se = np.array(ref["fixef"]["se"])
    ours = fit.conf_int(level=ref["confint"]["level"], method="wald")
    allowed = GLMM_CONFINT_IN_SE * se[:, None]  # lme4's limits rest on its finite differences
    yield from apart("confint", ours, values[: len(se)].loc[ref["fixef"]["names"]], allowed)


GLMM_CHECKS: dict[str, Callable[[Reference, Any], Differences]] = {
    name.removeprefix("glmm_"): function
    for name, function in list(globals().items())
    if name.startswith("glmm_") and name != "glmm_vector"
}


def lrt_pairs(engine: str) -> list[dict[str, Any]]:
    """Pairs of nested models of ``lmer``, ``glmer`` or ``glmmTMB``."""
    return [pair for pair in reference("lrt")["tests"] if pair["engine"] == engine]


def lrt_arguments(pair: dict[str, Any], size: str) -> dict[str, Any]:
    """Keyword arguments of `lmmformula.fit` for the ``small`` or the ``large`` model of a generalised pair."""
    arguments: dict[str, Any] = {"family": f"{pair[f'family_{size}']}(link='{pair['link']}')"}
    if pair["nAGQ"] != 1:
        arguments["nagq"] = pair["nAGQ"]
    ziformula = pair.get(f"ziformula_{size}", "~0")
    return arguments if ziformula == "~0" else {**arguments, "ziformula": ziformula}


def check_lrt(pair: dict[str, Any], table: pd.DataFrame) -> Differences:
    """A likelihood-ratio table: R's columns, the smaller model first."""
    for row, size in enumerate(("small", "large")):
        for column, key in (("npar", "df"), ("logLik", "logLik"), ("AIC", "AIC"), ("BIC", "BIC")):
            yield from apart(f"{column} {size}", table[column].iloc[row], pair[size][key], CRITERION_ABS)
    last = table.iloc[1]
    yield from apart("Chisq", last["Chisq"], pair["chisq"], 2 * CRITERION_ABS)
    yield from apart("Df", last["Df"], pair["chi_df"], 0.0)
    yield from p_values_apart("p", last["Pr(>Chisq)"], pair["p"])


def report(differences: Iterable[str]) -> str:
    """The differences as one text; empty where there are none."""
    return "\n".join(differences)
