"""The dictionaries of packages that are written in Python or Julia."""

from __future__ import annotations

from benchmarks.site.entries import Entry, Package

__all__ = ["MIXEDMODELS", "PYMER4", "STATSMODELS"]

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
