"""The dictionaries of packages that are written in Python or Julia."""

from __future__ import annotations

from benchmarks.site.entries import Entry, Package

__all__ = ["BAMBI", "MIXEDMODELS", "PYMER4", "STATSMODELS"]

_SLEEP = """from lmmformula import anova, fit, load_dataset
sleepstudy = load_dataset("sleepstudy")"""

STATSMODELS = Package(
    "statsmodels",
    "python",
    """import statsmodels.formula.api as smf
from lmmformula import load_dataset
sleepstudy = load_dataset("sleepstudy")""",
    _SLEEP,
    (
        Entry(
            "a random intercept",
            'm0 = smf.mixedlm("Reaction ~ Days", sleepstudy, groups="Subject").fit()',
            'm0 = fit("Reaction ~ Days + (1 | Subject)", sleepstudy)',
            "m0.llf",
            "m0.llf",
        ),
        Entry(
            "a random slope",
            'm = smf.mixedlm("Reaction ~ Days", sleepstudy, groups="Subject", re_formula="~Days").fit()',
            'm = fit("Reaction ~ Days + (Days | Subject)", sleepstudy)',
            "m.llf",
            "m.llf",
        ),
        Entry("fixed effects", 'm.fe_params["Days"]', 'm.params["Days"]'),
        Entry("their standard errors", 'm.bse_fe["Days"]', 'm.bse["Days"]', rtol=1e-3),
        Entry(
            "covariance of random effects",
            'm.cov_re.loc["Days", "Days"]',
            'm.varcorr()["vcov"][1]',
            rtol=2e-3,
        ),
        Entry("the residual variance", "m.scale", "m.sigma**2", rtol=1e-3),
        Entry("random effects", 'm.random_effects["308"]["Days"]', 'm.ranef()["condval"][18]', rtol=2e-3),
        Entry(
            "maximum likelihood",
            'smf.mixedlm("Reaction ~ Days", sleepstudy, groups="Subject").fit(reml=False).llf',
            'm0.update(method="ml").llf',
        ),
        Entry(
            "no random effects",
            'smf.ols("Reaction ~ Days", sleepstudy).fit().params["Days"]',
            'fit("Reaction ~ Days", sleepstudy).params["Days"]',
        ),
        Entry("tests", 'm.t_test("Days = 10").tvalue', 'm.t_test("Days = 10")', ""),
        Entry(
            "crossed factors",
            'groups=np.ones(n), vc_formula={"a": "0 + C(a)", "b": "0 + C(b)"}',
            '"y ~ x + (1 | a) + (1 | b)"',
            "",
        ),
        Entry("nested factors", 'groups="a", vc_formula={"b": "0 + C(b)"}', '"y ~ x + (1 | a / b)"', ""),
        Entry("a binary response", "BinomialBayesMixedGLM(...).fit_vb()", 'fit(..., family="binomial")', ""),
        Entry("the summary", "m.summary()", "m.summary()", ""),
        Entry("attributes", "m.aic, m.resid, m.fittedvalues, m.cov_params()", "the same", ""),
    ),
)

BAMBI = Package(
    "bambi",
    "bambi 0.17.2 with PyMC 5.28.5, 2 chains of 3,000 draws after 1,000 of warm-up; ours have the same priors of slopes "
    "and scales",
    "",
    """from lmmformula import fit, load_dataset
sleepstudy = load_dataset("sleepstudy")
scales = {"sd:Subject:Intercept": "half_normal(261)", "sd:Subject:Days": "half_normal(48.89)"}
scales |= {"b:Days": "normal(0, 48.89)", "sigma": "half_student_t(4, 56.17)"}""",
    (
        Entry(
            "a model",
            'm = bmb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy); idata = m.fit()',
            'm = fit("Reaction ~ Days + (Days || Subject)", sleepstudy, method="hmc", seed=1, priors=scales)',
            "",
        ),
        Entry(
            "coefficients",
            'idata.posterior["Days"].mean()',
            'm.params["Days"]',
            quoted=10.4212,
            rtol=0.02,
        ),
        Entry(
            "", 'idata.posterior["Intercept"].mean()', 'm.params["(Intercept)"]', quoted=251.271, rtol=0.005
        ),
        Entry("their errors", 'idata.posterior["Days"].std()', 'm.bse["Days"]', quoted=1.6858, rtol=0.06),
        Entry(
            "standard deviations of groups",
            'idata.posterior["1|Subject_sigma"].mean()',
            'm.posterior["sd:Subject:Intercept"].mean()',
            quoted=27.166,
            rtol=0.03,
        ),
        Entry(
            "",
            'idata.posterior["Days|Subject_sigma"].mean()',
            'm.posterior["sd:Subject:Days"].mean()',
            quoted=6.4995,
            rtol=0.03,
        ),
        Entry(
            "of the residual",
            'idata.posterior["sigma"].mean()',
            'm.posterior["sigma"].mean()',
            quoted=25.796,
            rtol=0.01,
        ),
        Entry("correlated intercepts and slopes", "the effects are independent", '"(x | g)"', ""),
        Entry("a family", 'family="bernoulli"', 'family="binomial"', ""),
        Entry(
            "a prior",
            'priors={"x": bmb.Prior("Normal", mu=0, sigma=1)}',
            'priors={"b:x": "normal(0, 1)"}',
            "",
        ),
        Entry(
            "a prior of a standard deviation",
            '{"1|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=2))}',
            'priors={"sd:g": "half_normal(2)"}',
            "",
        ),
        Entry("see the priors", "print(m)", "m.priors", ""),
        Entry("prior predictive", "m.prior_predictive()", "prior_predictive(formula, df, priors)", ""),
        Entry("draws for ArviZ", "idata", "m.to_datatree()", ""),
        Entry("the summary", "az.summary(idata)", "m.summary()", ""),
        Entry("leave-one-out cross-validation", "az.loo(idata)", "m.loo()", ""),
        Entry("predictions", "m.predict(idata, data=new)", 'm.predict(new, interval="confidence")', ""),
        Entry("for new groups", "sample_new_groups=True", 'new_levels="sample"', ""),
        Entry(
            "effects on a grid",
            'bmb.interpret.plot_predictions(m, idata, "x")',
            'm.conditional_effects("x")',
            "",
        ),
        Entry(
            "a distributional model",
            'bmb.Formula("y ~ x", "sigma ~ z")',
            'fit("bf(y ~ x, sigma ~ z)", df)',
            "",
        ),
    ),
)

PYMER4 = Package(
    "pymer4",
    "R",
    "suppressMessages(library(lmerTest))",
    _SLEEP,
    (
        Entry(
            "a model",
            'model = Lmer("Reaction ~ Days + (Days | Subject)", data=df); model.fit()',
            'model = fit("Reaction ~ Days + (Days | Subject)", sleepstudy)',
            "m <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy); logLik(m)",
            "model.llf",
        ),
        Entry(
            "coefficients", 'model.coefs.loc["Days", "Estimate"]', 'model.params["Days"]', 'fixef(m)["Days"]'
        ),
        Entry(
            "degrees of freedom",
            'model.coefs.loc["Days", "DF"]',
            'model.df["Days"]',
            'coef(summary(m))["Days", "df"]',
        ),
        Entry(
            "variances", 'model.ranef_var.loc["Residual", "Var"]', 'model.varcorr()["vcov"][3]', "sigma(m)^2"
        ),
        Entry("coefficients of levels", "model.fixef", 'model.coef()["Subject"]', ""),
        Entry("random effects", "model.ranef", "model.ranef()", ""),
        Entry("tests of terms", "model.anova()", "model.anova()", ""),
        Entry("contrasts", 'model.post_hoc(marginal_vars="a")', 'model.emmeans("pairwise ~ a")', ""),
        Entry("predictions", "model.predict(new, use_rfx=False)", "model.predict(new, re_form=None)", ""),
        Entry("draw responses", "model.simulate(10)", "model.simulate(10)", ""),
        Entry("a binary response", 'Lmer(..., family="binomial")', 'fit(..., family="binomial")', ""),
        Entry("a plot of coefficients", "model.plot_summary()", "model.plot.coefficients()", ""),
    ),
)

_TESTS = "its own tests, `test/pls.jl`"
MIXEDMODELS = Package(
    "MixedModels.jl",
    _TESTS,
    "",
    _SLEEP
    + """
dyestuff, insteval = load_dataset("Dyestuff"), load_dataset("InstEval")""",
    (
        Entry(
            "a model, maximum likelihood",
            "m = fit(MixedModel, @formula(reaction ~ 1 + days + (1 + days | subj)), sleepstudy)",
            'm = fit("Reaction ~ 1 + Days + (1 + Days | Subject)", sleepstudy, method="ml")',
            "",
        ),
        Entry("the objective", "objective(m)", "m.deviance", quoted=1751.9393444647046, rtol=1e-8),
        Entry("coefficients", "coef(m)[2]", 'm.params["Days"]', quoted=10.4672859595959, rtol=1e-8),
        Entry("standard errors", "stderror(m)[2]", 'm.bse["Days"]', quoted=1.5022354739749826),
        Entry("theta", "m.θ[3]", "m.theta.iloc[2]", quoted=0.22264487096, rtol=1e-3),
        Entry("the likelihood", "loglikelihood(m)", "m.llf", quoted=-875.9696722323523, rtol=1e-8),
        Entry(
            "uncorrelated effects",
            "zerocorr(1 + days | subj)",
            'fit("Reaction ~ Days + zerocorr(1 + Days | Subject)", sleepstudy, method="ml").deviance',
            quoted=1752.0032551398835,
            rtol=1e-7,
        ),
        Entry(
            "REML",
            "fit!(lmm, REML = true); objective(lmm)",
            'fit("Yield ~ 1 + (1 | Batch)", dyestuff).deviance',
            quoted=319.65427684225216,
            rtol=1e-7,
        ),
        Entry(
            "crossed, many levels",
            "@formula(y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept))",
            'fit("y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept)", insteval, method="ml").deviance',
            quoted=237721.7687745563,
            rtol=1e-8,
        ),
        Entry("variances", "VarCorr(m)", "m.varcorr()", ""),
        Entry("conditional modes", "raneftables(m)", "m.ranef()", ""),
        Entry("likelihood ratios", "lrtest(m0, m1)", "anova(m0, m1)", ""),
        Entry("profiles", "profile(m)", "m.profile()", ""),
        Entry("bootstrap", "parametricbootstrap(rng, 500, m)", "m.bootstrap(500, seed=1)", ""),
        Entry("interaction", "a & b, a * b", "the same, also `a:b`", ""),
        Entry(
            "Bernoulli",
            "fit(MixedModel, f, df, Bernoulli(); nAGQ = 9)",
            'fit(f, df, family="binomial", nagq=9)',
            "",
        ),
        Entry("blocks of the factorisation", "BlockDescription(m)", "m.plan", ""),
    ),
)
