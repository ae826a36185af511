"""Names that other packages use for arguments and results, and what they are called here.

Read by the errors for unknown arguments and unknown attributes; one entry, one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = [
    "ARGUMENTS_ELSEWHERE",
    "ATTRIBUTES_ELSEWHERE",
    "FUNCTIONS_ELSEWHERE",
    "argument_here",
    "attribute_here",
    "function_here",
]

_FAMILY_LINK = "A link is part of the family: family=\"binomial(link='probit')\"."
_FORMULA_TERM = "Grouping factors are terms of the formula: 'y ~ x + (1 | group)'."
_ROWS = "Choose the rows of the data first: fit(formula, data[condition])."
_PROGRESS = "progress=True shows each step."
_LEVEL = "Intervals take the level itself: level=0.95."
_COVARIANCE = "The covariance of a term is written in the formula, such as ar1(0 + time | g) or (1 | g)."
_OPTIMISER = "The search takes tolerance= and max_evaluations=."

ARGUMENTS_ELSEWHERE: Mapping[str, str] = {
    # lme4, nlme, glmmTMB
    "REML": "Write method='reml' or method='ml'.",
    "reml": "Write method='reml' or method='ml'.",
    "nAGQ": "It is called nagq= here: nagq=1 is Laplace, more are nodes of adaptive quadrature.",
    "control": _OPTIMISER,
    "verbose": _PROGRESS,
    "subset": _ROWS,
    "na_action": "Write missing='drop' or missing='raise'.",
    "devFunOnly": "build() gives the canonical form, and m.optimum the criterion at the optimum.",
    "random": _FORMULA_TERM,
    "fixed": "One formula holds both parts: 'y ~ x + (1 | group)'.",
    "correlation": _COVARIANCE,
    "dispersion_formula": "It is called dispformula= here.",
    "zi": "It is called ziformula= here: ziformula='~ x'.",
    "ziFormula": "It is called ziformula= here: ziformula='~ x'.",
    "nsim": "It is called n= here.",
    "which": "Choose rows of the frame that comes back.",
    "condVar": "It is called condsd= here: condsd=True.",
    "parm": "It is called parameters= here.",
    "type": "It is called kind= here.",
    "allow_new_levels": "Write new_levels='population', 'sample' or 'na'.",
    "re_formula": "It is called re_form= here.",
    "REform": "It is called re_form= here.",
    "newparams": "Predictions are those of the estimates; refit() and update() give other ones.",
    "test": "Tests are those of the likelihood ratio; m.anova() gives F and Wald tests.",
    # brms, bambi
    "prior": "It is called priors= here: priors={'b': 'normal(0, 5)'} with method='hmc'.",
    "cores": "Chains run in one process; there is nothing to set.",
    "iter": "Write draws= (kept, of each chain) and warmup=.",
    "thin": "All draws are kept; choose from them afterwards.",
    "adapt_delta": "It is called target_accept= here.",
    "max_treedepth": "It is called max_depth= here.",
    "init": "It is called start= here.",
    "inits": "It is called start= here.",
    "tune": "It is called warmup= here.",
    "backend": "The engine is chosen by engine= and the method by method=.",
    "ndraws": "All draws are used.",
    "file": "m.save(path) keeps a fit, and checkpoint=path of fit() a search while it runs.",
    "file_refit": "checkpoint=path of fit() goes on with the same call, and refuses any other.",
    # statsmodels, scipy, scikit-learn
    "link": _FAMILY_LINK,
    "groups": _FORMULA_TERM,
    "vc_formula": _FORMULA_TERM,
    "exog": "Columns are read from the data by their names in the formula; predict() takes newdata=.",
    "endog": "The response is the left side of the formula.",
    "exog_re": _FORMULA_TERM,
    "freq_weights": "It is called weights= here; they are prior weights, or trials of a binomial proportion.",
    "var_weights": "It is called weights= here.",
    "exposure": "Write offset(log(exposure)) in the formula, or offset= on the scale of the predictor.",
    "alpha": f"{_LEVEL} (level = 1 - alpha)",
    "confidence": _LEVEL,
    "conf_level": _LEVEL,
    "maxiter": _OPTIMISER,
    "max_iter": _OPTIMISER,
    "tol": "It is called tolerance= here.",
    "random_state": "It is called seed= here.",
    "start_params": "It is called start= here: theta, the relative covariance parameters.",
    "disp": _PROGRESS,
    "full_output": "m.diagnostics says how the search went.",
    "cov_type": "It is called vcov= of summary(), anova(), conf_int() and tidy(): vcov='CR2', cluster='subject'.",
    "cov_kwds": "Clusters are named by cluster= of summary(), anova(), conf_int() and tidy().",
    "cov_p": "Errors by clusters: vcov='CR2', cluster='subject'.",
    "linfct": "m.hypothesis(['a = b', 'c = 0']), or m.t_test(R).",
    "hypothesis_matrix": "m.f_test(R), or m.f_test('a = b, c = 0').",
    "inverse_var": "The working covariance matrix is that of the model.",
    "constraints": "It is called r_matrix= here.",
    "rhs": "Give both, r_matrix=(R, q), or write equations: 'a = 2'.",
}
"""Argument of another package -> what to write here."""

_OF_FUNCTIONS: Mapping[tuple[str, str], str] = {
    ("power", "along"): "Say what is varied: vary={'subject': [10, 20, 40]}.",
    ("power", "breaks"): "Give the values: vary={'subject': [10, 20, 40]}.",
    ("power", "sample_sizes"): "Say of what: vary={'subject': [10, 20, 40]}.",
    ("power", "data"): "It is called design= here: the rows, without a response.",
    ("power", "newdata"): "It is called design= here: the rows, without a response.",
    ("power", "fixed"): "It is called effect= here: effect={'x': 0.5}.",
    ("fit", "type"): "The kind of model is family= and method=.",
    (
        "fit",
        "cov_type",
    ): "Standard errors are the model's; m.summary(vcov='CR2', cluster='g') has errors by clusters.",
    ("fit", "fixed"): "One formula holds both parts: 'y ~ x + (1 | group)'.",
    (
        "compare_methods",
        "checkpoint",
    ): "A checkpoint is of one fit: fit(..., checkpoint=path) for each method.",
    ("fit_many", "checkpoint"): "A checkpoint is of one fit: fit(..., checkpoint=path) for each response.",
}

ATTRIBUTES_ELSEWHERE: Mapping[str, str] = {
    # lme4 and R's generics
    "fixef": "params",
    "coefficients": "params",
    "coefs": "params",
    "VarCorr": "varcorr()",
    "isSingular": "is_singular",
    "confint": "conf_int()",
    "bootMer": "bootstrap()",
    **dict.fromkeys(("powerSim", "powerCurve", "simulate_power"), "power()"),
    **dict.fromkeys(("permtest", "permutation"), "permutation_test()"),
    "refitML": "update(method='ml')",
    "getME": "problem",
    "logLik": "llf",
    "loglik": "llf",
    "loglike": "llf",
    "AIC": "aic",
    "BIC": "bic",
    "REMLcrit": "deviance",
    "fitted": "fittedvalues",
    "fitted_values": "fittedvalues",
    "fit_values": "fittedvalues",
    "df_residual": "df_resid",
    "cooks_distance": "influence().frame",
    "dfbeta": "influence().dfbeta",
    "dfbetas": "influence().dfbetas",
    "hatvalues": "influence().frame",
    "leverage": "influence().frame",
    "rstudent": "influence().frame",
    "rstandard": "influence().frame",
    "get_influence": "influence()",
    "influence_measures": "influence()",
    "hlm_influence": "influence()",
    "case_delete": "influence()",
    "mdffits": "influence().frame",
    "covratio": "influence().frame",
    "covtrace": "influence().frame",
    "rvc": "influence(group, refit=True)",
    "model_matrix": "problem.X.matrix",
    "model_frame": "augment()",
    "fixed_effects": "params",
    "rand_effects": "ranef()",
    "se": "bse",
    "std_errors": "bse",
    "stderr": "bse",
    "p_values": "pvalues",
    "t_values": "tvalues",
    "zvalues": "tvalues",
    "profile_likelihood": "profile()",
    "rsquared": "r2()",
    "rsquared_adj": "r2()",
    "r_squared": "r2()",
    "R2": "r2()",
    "ICC": "icc()",
    "performance": "glance()",
    "vcovCR": "cov_params('CR2', cluster='g')",
    "vcovCL": "cov_params('CR1', cluster='g')",
    "coef_test": "summary(vcov='CR2')",
    "coeftest": "summary(vcov='CR2')",
    "Wald_test": "f_test('a = b, c = 0', vcov='CR2')",
    "waldtest": "wald_test('a = b, c = 0')",
    "get_robustcov_results": "summary(vcov='CR2', cluster='g')",
    "linearHypothesis": "f_test('a = b, c = 0')",
    "linear_hypothesis": "f_test('a = b, c = 0')",
    "lht": "f_test('a = b, c = 0')",
    "contest": "f_test(R)",
    "contest1D": "t_test(R)",
    "contestMD": "f_test(R)",
    "deltaMethod": "hypothesis('exp(a) = 2')",
    "delta_method": "hypothesis('exp(a) = 2')",
    "hypotheses": "hypothesis('a = b')",
    "wald_test_terms": "anova()",
    "t_test_pairwise": "hypothesis('a = b')",
    **dict.fromkeys(("simulateResiduals", "createDHARMa", "scaledResiduals"), "simulated_residuals()"),
    **dict.fromkeys(
        (
            "testDispersion",
            "testUniformity",
            "testOutliers",
            "testZeroInflation",
            "testResiduals",
            "testQuantiles",
            "testCategorical",
        ),
        "simulated_residuals()",
    ),
    **dict.fromkeys(("plotResiduals", "plotQQunif"), "simulated_residuals().plot()"),
    **dict.fromkeys(("testTemporalAutocorrelation", "testSpatialAutocorrelation"), "simulated_residuals()"),
    **dict.fromkeys(
        (
            "check_model",
            "check_collinearity",
            "check_overdispersion",
            "check_zeroinflation",
            "check_convergence",
            "check_singularity",
            "check_heteroscedasticity",
            "check_normality",
            "check_outliers",
            "check_autocorrelation",
            "check_residuals",
            "check_homogeneity",
            "check_distribution",
            "vif",
            "het_breuschpagan",
            "get_diagnostics",
        ),
        "check()",
    ),
    "check_predictions": "plot.check()",
    "n_obs": "nobs",
    "n_groups": "ngroups",
    "getCall": "recall",
    "call": "recall",
    "terms": "problem.terms",
    "rand": "ranova()",
    "exactRLRT": "ranova(method='rlrt')",
    "exactLRT": "ranova(method='rlrt')",
    "RLRTSim": "ranova(method='rlrt')",
    "PBmodcomp": "drop1('bootstrap')",
    "stepAIC": "step()",
    "allFit": "allfit()",
    "all_fit": "allfit()",
    "rePCA": "repca()",
    **dict.fromkeys(("dropterm", "drop_terms"), "drop1()"),
    "step_lmer": "step()",
    "anova_lm": "anova()",
    "Anova": "anova()",
    "testInteractions": "joint_tests()",
    **dict.fromkeys(("vcovHC", "sandwich", "clubSandwich"), "cov_params('CR2', cluster='g')"),
    **dict.fromkeys(("boot", "parametric_bootstrap", "bootstrap_parameters"), "bootstrap()"),
    **dict.fromkeys(("permmodels", "perm_test", "freedman_lane"), "permutation_test()"),
    "refitMany": "refit_many()",
    "cAIC": "caic()",
    "cv": "cross_validate()",
    "crossvalidate": "cross_validate()",
    "cross_val_score": "cross_validate()",
    "coef_": "params",
    "intercept_": "params",
    # emmeans, lmerTest, multcomp, marginaleffects, ggeffects
    **dict.fromkeys(("lsmeans", "ls_means", "lsmeansLT", "avg_predictions", "estimate_means"), "emmeans()"),
    **dict.fromkeys(("contrast", "contrasts", "comparisons", "avg_comparisons"), "emmeans('a').contrast()"),
    **dict.fromkeys(("pairs", "glht", "difflsmeans", "pairwise_tukeyhsd"), "emmeans('a').pairs()"),
    "cld": "emmeans('a').letters()",
    **dict.fromkeys(("lstrends", "slopes", "avg_slopes", "estimate_slopes"), "emtrends()"),
    "ggpredict": "plot.means()",
    "emmip": "plot.means()",
    **dict.fromkeys(("ref_grid", "lsmip", "ggemmeans", "get_emmeans"), "emmeans()"),
    **dict.fromkeys(("ggeffect", "allEffects", "Effect", "predictorEffect"), "conditional_effects()"),
    **dict.fromkeys(("get_margeff", "margeff", "margins", "ame"), "emtrends()"),
    # brms, bambi, statsmodels' Bayesian names
    "posterior_predict": "simulate()",
    "posterior_epred": "predict()",
    "posterior_linpred": "predict(kind='link')",
    "posterior_samples": "to_datatree()",
    "posterior_summary": "tidy()",
    "as_draws": "to_datatree()",
    "as_draws_df": "to_datatree()",
    "prior_summary": "priors",
    "bayes_R2": "bayes_r2()",
    "LOO": "loo()",
    "waic": "loo()",
    "reloo": "loo(reloo=True)",
    "loo_moment_match": "loo(moment_match=True)",
    "powerscale_sensitivity": "prior_sensitivity()",
    "psense": "prior_sensitivity()",
    **dict.fromkeys(("ppc_dens_overlay", "plot_ppc", "ppc", "ppc_stat", "ppc_bars"), "pp_check()"),
    **dict.fromkeys(("plot_trace", "traceplot"), "plot.trace('x')"),
    "bayes_factor": "loo()",
    "loo_R2": "bayes_r2()",
    "power_scale": "prior_sensitivity()",
    "cv_varsel": "loo()",
    "marginal_effects": "conditional_effects()",
    "log_lik": "log_likelihood()",
    "mcmc_plot": "plot",
    "draws": "posterior",
    "idata": "to_datatree()",
    # statsmodels
    "fe_cov": "cov_params()",
    "cov": "vcov",
    "bse_re": "varcorr()",
    "conf_interval": "conf_int()",
    "get_prediction": "predict(interval='confidence')",
    "forecast": "predict()",
    "resid_response": "residuals()",
    "resid_deviance": "residuals('deviance')",
    "summary2": "summary()",
    "as_latex": "summary(), and to_latex(m) for a table",
    "as_text": "summary()",
}
"""Attribute of another package's results -> the attribute or call of :class:`Fit` that answers it."""

FUNCTIONS_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        ("lmer", "glmer", "glmmTMB", "brm", "bam", "mixedlm", "MixedLM", "lme", "gls", "Model"), "fit"
    ),
    "Lmer": "fit",
    **dict.fromkeys(("dream", "lmFit", "eBayes", "topTable", "duplicateCorrelation"), "fit_many"),
    **dict.fromkeys(("pool_fits", "MI", "MIResults", "mice", "with_mids", "mids", "testEstimates"), "pool"),
    **dict.fromkeys(("powerSim", "powerCurve", "power_curve", "simulate_power"), "power"),
    **dict.fromkeys(("compare", "loo_model_weights", "loo_list"), "loo_compare"),
    **dict.fromkeys(("tab_model", "stargazer", "texreg", "modelsummary", "xtable"), "to_latex"),
    **dict.fromkeys(("kable", "screenreg"), "to_markdown"),
    **dict.fromkeys(("dredge", "AICtab", "model_avg"), "model_selection"),
    "readRDS": "load",
    "lrtest": "anova",
    "model_sel": "model_selection",
    "aictab": "model_selection",
    "AICc": "model_selection",
    "compare_performance": "model_selection",
    "ICtab": "model_selection",
    "load_data": "load_dataset",
    "prior_predict": "prior_predictive",
}
"""Function of another package -> the one of this package."""


def argument_here(called: str, name: str, value: object, known: Iterable[str]) -> str:
    """What to write instead of another package's argument; empty if it is nobody's, or says what `called` does not have."""
    said = _OF_FUNCTIONS.get((called, name)) or ARGUMENTS_ELSEWHERE.get(name, "")
    if name == "link" and isinstance(value, str):
        return said.replace("probit", value)
    if name in ("REML", "reml") and isinstance(value, bool):
        return f"{name}={value} is method={'reml' if value else 'ml'!r} here."
    marked = "It is called "
    if said.startswith(marked):
        here = said[len(marked) :].partition("=")[0]
        return said if here in known else ""
    return said


def attribute_here(name: str) -> str:
    """How :class:`Fit` answers what other packages call `name`, as ``m.params``; empty if nobody calls anything so."""
    found = ATTRIBUTES_ELSEWHERE.get(name)
    return "" if found is None else f"m.{found}"


def function_here(name: str, methods: Iterable[str]) -> str:
    """How the package answers what others call `name`: a function of its own, a method of a fit; empty if neither."""
    if name in FUNCTIONS_ELSEWHERE:
        return f"{FUNCTIONS_ELSEWHERE[name]}()"
    if name in methods:
        return f"a method of a fit, m.{name}()"
    found = attribute_here(name)
    return f"a method of a fit, {found}" if found else ""
