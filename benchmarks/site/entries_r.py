"""The dictionaries of packages that are written in R: lme4 with its companions, glmmTMB, brms."""

from __future__ import annotations

from benchmarks.site.entries import Entry, Package

__all__ = ["BRMS", "GLMMTMB", "LME4"]

_OURS = """import pandas as pd
from lmmformula import anova, fit, load_dataset
sleepstudy, cbpp, oats = load_dataset("sleepstudy"), load_dataset("cbpp"), load_dataset("oats_MASS")"""

LME4 = Package(
    "lme4",
    "R",
    """suppressMessages({library(lme4); library(lmerTest); library(emmeans)})
oats <- MASS::oats
emm_options(lmer.df = "satterthwaite")""",
    _OURS,
    (
        Entry(
            "a linear mixed model, REML",
            "m <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)",
            'm = fit("Reaction ~ Days + (Days | Subject)", sleepstudy)',
            "logLik(m)",
            "m.llf",
        ),
        Entry(
            "maximum likelihood",
            "ml <- update(m, REML = FALSE)",
            'ml = m.update(method="ml")',
            "logLik(ml)",
            "ml.llf",
        ),
        Entry("fixed effects", 'fixef(m)["Days"]', 'm.params["Days"]'),
        Entry(
            "their standard errors",
            'sqrt(vcov(m)["Days", "Days"])',
            'm.bse["Days"]',
        ),
        Entry("a variance", 'VarCorr(m)$Subject["Days", "Days"]', 'm.varcorr()["vcov"][1]'),
        Entry("the residual standard deviation", "sigma(m)", "m.sigma"),
        Entry(
            "conditional modes",
            'ranef(m)$Subject["308", "Days"]',
            "m.ranef().query(\"grp == '308' and term == 'Days'\")[\"condval\"].item()",
        ),
        Entry(
            "coefficients of a level",
            'coef(m)$Subject["308", "Days"]',
            'm.coef()["Subject"].loc["308", "Days"]',
        ),
        Entry("relative covariance parameters", 'getME(m, "theta")[1]', "m.theta.iloc[0]"),
        Entry("AIC, BIC", "BIC(m)", "m.bic"),
        Entry(
            "profile intervals",
            'confint(m, "Days", quiet = TRUE)[1]',
            'm.conf_int(method="profile").loc["Days"].iloc[0]',
            rtol=1e-3,
        ),
        Entry(
            "Wald intervals, by the normal distribution",
            'confint(m, "Days", method = "Wald")[1]',
            'm.conf_int(method="wald").loc["Days"].iloc[0]',
        ),
        Entry(
            "Satterthwaite's t test (lmerTest)",
            'coef(summary(m))["Days", "df"]',
            'm.df["Days"]',
        ),
        Entry(
            "F tests by Kenward & Roger (pbkrtest)",
            'anova(m, ddf = "Kenward-Roger")[["F value"]]',
            'm.anova(ddf="kenward-roger")["F value"].item()',
        ),
        Entry(
            "models side by side",
            'anova(m, lmer(Reaction ~ Days + (1 | Subject), sleepstudy))[["Chisq"]][2]',
            'anova(m, m.update("Reaction ~ Days + (1 | Subject)"))["Chisq"].iloc[1]',
            'suppressMessages(anova(m, lmer(Reaction ~ Days + (1 | Subject), sleepstudy)))[["Chisq"]][2]',
        ),
        Entry("is a variance needed", "ranova(m)$LRT[2]", 'm.ranova()["LRT"].iloc[1]'),
        Entry(
            "uncorrelated slopes",
            "lmer(Reaction ~ Days + (Days || Subject), sleepstudy)",
            'fit("Reaction ~ Days + (Days || Subject)", sleepstudy)',
            "logLik(lmer(Reaction ~ Days + (Days || Subject), sleepstudy))",
            'fit("Reaction ~ Days + (Days || Subject)", sleepstudy).llf',
        ),
        Entry(
            "nested factors",
            "lmer(strength ~ 1 + (1 | batch / cask), Pastes)",
            'fit("strength ~ 1 + (1 | batch / cask)", load_dataset("Pastes"))',
            "logLik(lmer(strength ~ 1 + (1 | batch / cask), Pastes))",
            'fit("strength ~ 1 + (1 | batch / cask)", load_dataset("Pastes")).llf',
        ),
        Entry(
            "crossed factors",
            "lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)",
            'fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin"))',
            "logLik(lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin))",
            'fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin")).llf',
        ),
        Entry(
            "a prediction without random effects",
            "predict(m, data.frame(Days = 3), re.form = NA)",
            'm.predict(pd.DataFrame({"Days": [3]}), re_form=None)[0]',
        ),
        Entry(
            "a prediction for somebody new",
            'predict(m, data.frame(Days = 3, Subject = "new"), allow.new.levels = TRUE)',
            'm.predict({"Days": [3], "Subject": ["new"]}, new_levels="population")[0]',
        ),
        Entry(
            "without an effect",
            "update(m, . ~ . - Days)",
            'm.update(". ~ . - Days")',
            "logLik(update(m, . ~ . - Days))",
            'm.update(". ~ . - Days").llf',
        ),
        Entry(
            "marginal means (emmeans)",
            'summary(emmeans(lmer(Y ~ V + N + (1 | B / V), oats), "V"))$emmean[1]',
            'fit("Y ~ V + N + (1 | B / V)", oats).emmeans("V").frame["estimate"].iloc[0]',
        ),
        Entry(
            "a binomial response",
            "g <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial)",
            'g = fit("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, family="binomial")',
            'fixef(g)["period2"]',
            'g.params["period2"]',
            rtol=1e-3,
        ),
        Entry(
            "adaptive quadrature",
            "update(g, nAGQ = 9)",
            "g.update(nagq=9)",
            "sqrt(VarCorr(update(g, nAGQ = 9))$herd[1])",
            'g.update(nagq=9).varcorr()["sdcor"][0]',
            rtol=1e-3,
        ),
        Entry("singular?", "isSingular(m)", "m.is_singular", ""),
        Entry("draw responses", "simulate(m, 10, seed = 1)", "m.simulate(10, seed=1)", ""),
        Entry("parametric bootstrap", "bootMer(m, fixef, 500)", "m.bootstrap(500, seed=1)", ""),
        Entry("all optimisers", "allFit(m)", "m.allfit()", ""),
        Entry("principal components of the random effects", "rePCA(m)", "m.repca()", ""),
    ),
)

GLMMTMB = Package(
    "glmmTMB",
    "R",
    """suppressMessages(library(glmmTMB))
data(sleepstudy, package = "lme4")""",
    """from lmmformula import fit, load_dataset
Salamanders, sleepstudy = load_dataset("Salamanders"), load_dataset("sleepstudy")""",
    (
        Entry(
            "negative binomial counts",
            "m <- glmmTMB(count ~ mined + (1 | site), Salamanders, family = nbinom2)",
            'm = fit("count ~ mined + (1 | site)", Salamanders, family="nbinom2")',
            "logLik(m)",
            "m.llf",
        ),
        Entry("fixed effects", 'fixef(m)$cond["minedno"]', 'm.params["minedno"]', rtol=1e-3),
        Entry("the dispersion", "sigma(m)", 'm.dispersion["phi"]', rtol=1e-3),
        Entry(
            "a standard deviation",
            'attr(VarCorr(m)$cond$site, "stddev")',
            'm.varcorr()["sdcor"][0]',
            rtol=1e-3,
        ),
        Entry(
            "the other negative binomial",
            "update(m, family = nbinom1)",
            'm.update(family="nbinom1")',
            "logLik(update(m, family = nbinom1))",
            'm.update(family="nbinom1").llf',
        ),
        Entry(
            "too many zeros",
            "z <- update(m, family = poisson, ziformula = ~ mined)",
            'z = m.update(family="poisson", ziformula="~ mined")',
            "logLik(z)",
            "z.llf",
        ),
        Entry(
            "probability of a structural zero",
            'predict(z, type = "zprob")[1]',
            'z.predict(kind="zi").iloc[0]',
            rtol=1e-3,
        ),
        Entry(
            "a mean without the zeros",
            'predict(z, type = "conditional")[1]',
            'z.predict(kind="conditional").iloc[0]',
            rtol=1e-3,
        ),
        Entry(
            "dispersion with predictors",
            "update(m, dispformula = ~ DOY)",
            'm.update(dispformula="~ DOY")',
            "logLik(update(m, dispformula = ~ DOY))",
            'm.update(dispformula="~ DOY").llf',
        ),
        Entry(
            "hurdle counts",
            "update(m, family = truncated_nbinom2, ziformula = ~ 1)",
            'm.update(family="hurdle_nbinom2")',
            "logLik(update(m, family = truncated_nbinom2, ziformula = ~ 1))",
            'm.update(family="hurdle_nbinom2").llf',
        ),
        Entry(
            "independent slopes",
            "glmmTMB(Reaction ~ Days + diag(Days | Subject), sleepstudy)",
            'fit("Reaction ~ Days + diag(Days | Subject)", sleepstudy, method="ml")',
            "logLik(glmmTMB(Reaction ~ Days + diag(Days | Subject), sleepstudy))",
            'fit("Reaction ~ Days + diag(Days | Subject)", sleepstudy, method="ml").llf',
        ),
        Entry(
            "autocorrelation in time",
            "glmmTMB(Reaction ~ Days + ar1(0 + factor(Days) | Subject), sleepstudy)",
            'fit("Reaction ~ Days + ar1(0 + factor(Days) | Subject)", sleepstudy, method="ml")',
            "",
        ),
        Entry(
            "REML", "REML = TRUE", 'the default of a Gaussian model; `method="ml"` is glmmTMB\'s default', ""
        ),
        Entry("residuals by simulation (DHARMa)", "simulateResiduals(m)", "m.simulated_residuals()", ""),
        Entry("profile intervals", 'confint(m, method = "profile")', 'm.conf_int(method="profile")', ""),
    ),
)

_README = "README of brms, the first example (2,000 iterations of 4 chains); two decimals"
BRMS = Package(
    "brms",
    _README,
    "",
    """import numpy as np
from lmmformula import fit, load_dataset
epilepsy = load_dataset("epil").rename(columns={"subject": "patient", "y": "count"})
z = lambda x: (x - x.mean()) / x.std()
epilepsy = epilepsy.assign(zAge=z(epilepsy["age"]), zBase=z(epilepsy["base"]), Trt=(epilepsy["trt"] == "progabide") * 1)""",
    (
        Entry(
            "a model",
            "m <- brm(count ~ zAge + zBase * Trt + (1 | patient), epilepsy, poisson())",
            'm = fit("count ~ zAge + zBase * Trt + (1 | patient)", epilepsy, family="poisson", method="hmc", seed=1)',
            "",
        ),
        Entry(
            "population-level effects",
            'fixef(m)["Intercept", "Estimate"]',
            'm.params["(Intercept)"]',
            quoted=1.77,
            rtol=0.02,
        ),
        Entry("", 'fixef(m)["zBase", "Estimate"]', 'm.params["zBase"]', quoted=0.70, rtol=0.05),
        Entry("their errors", 'fixef(m)["zBase", "Est.Error"]', 'm.bse["zBase"]', quoted=0.12, rtol=0.1),
        Entry(
            "group-level standard deviations",
            'VarCorr(m)$patient$sd[1, "Estimate"]',
            'm.varcorr()["sdcor"][0]',
            quoted=0.58,
            rtol=0.05,
        ),
        Entry("all parameters", "summary(m)", "m.summary()", ""),
        Entry("priors", "prior_summary(m)", "m.priors", ""),
        Entry(
            "a prior",
            'prior(normal(0, 1), class = "b")',
            'priors={"b": "normal(0, 1)"}',
            "",
        ),
        Entry("draws", "as_draws(m)", "m.to_datatree()", ""),
        Entry("leave-one-out cross-validation", "loo(m)", "m.loo()", ""),
        Entry("compare", "loo_compare(loo(m1), loo(m2))", "loo_compare(m1, m2)", ""),
        Entry("posterior predictive check", "pp_check(m)", "m.pp_check()", ""),
        Entry("R2", "bayes_R2(m)", "m.bayes_r2()", ""),
        Entry("effects with bands", "conditional_effects(m)", 'm.conditional_effects("zBase")', ""),
        Entry("hypotheses", 'hypothesis(m, "zBase > 0")', 'm.hypothesis("zBase > 0")', ""),
        Entry("parameters with formulas", "bf(y ~ x, sigma ~ z)", 'fit(["y ~ x", "sigma ~ z"], ...)', ""),
        Entry(
            "known relationship",
            "(1 | gr(id, cov = A))",
            '"(1 | gr(id, cov = A))", with `data2={"A": A}`',
            "",
        ),
        Entry("membership of several groups", "(1 | mm(s1, s2))", '"(1 | mm(s1, s2))"', ""),
        Entry("monotonic effects, smooths", "mo(x), s(x), t2(x, z)", "the same", ""),
        Entry("several responses", "mvbind(y1, y2) ~ x", '"mvbind(y1, y2) ~ x"', ""),
        Entry("censoring, truncation, weights", "y | cens(c), y | trunc(lb), y | weights(w)", "the same", ""),
    ),
)
