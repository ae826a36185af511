# Marginal means, contrasts, trends and joint tests by emmeans, on models by lme4 and lmerTest with tight tolerances.
# Rscript emmeans.R > emmeans.json
suppressMessages({library(lme4); library(lmerTest); library(emmeans); library(jsonlite)})
emm_options(lmer.df = "satterthwaite", msg.interaction = FALSE, msg.nesting = FALSE)
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))
columns <- function(x, ...) { if (!inherits(x, "summary_emm")) x <- summary(x, ...); d <- unclass(x)[names(x)]
  lapply(d, function(v) if (is.factor(v)) as.character(v) else if (is.numeric(v)) ifelse(is.finite(v), v, NA) else v) }
tests <- function(x) { d <- as.data.frame(x); lapply(as.list(d), function(v) if (is.numeric(v)) ifelse(is.finite(v), v, NA) else as.character(v)) }
out <- list()

cake$temperature <- factor(cake$temperature, ordered = FALSE)
m <- lmer(angle ~ recipe * temperature + (1 | recipe:replicate), cake, control = tight)
e <- emmeans(m, ~ temperature)
out$cake_pairs <- columns(pairs(e))
out$cake_pairs_ci <- columns(confint(pairs(e)))
for (a in c("scheffe", "sidak", "bonferroni", "holm", "fdr", "none")) out[[paste0("cake_", a)]] <- columns(pairs(e, adjust = a))
out$cake_scheffe_ci <- columns(confint(pairs(e, adjust = "scheffe")))
out$cake_ctrl <- columns(contrast(e, "trt.vs.ctrl", ref = 2))
out$cake_ctrl_ci <- columns(confint(contrast(e, "trt.vs.ctrl", ref = 2)))
out$cake_consec <- columns(contrast(e, "consec", adjust = "none"))
out$cake_eff <- columns(contrast(e, "eff"))
out$cake_poly <- columns(contrast(e, "poly"))
out$cake_mean_chg <- columns(contrast(e, "mean_chg", adjust = "none"))
out$cake_within <- columns(pairs(emmeans(m, ~ recipe | temperature)))
out$cake_interaction <- columns(contrast(emmeans(m, ~ recipe * temperature), interaction = c("pairwise", "consec")))
out$cake_joint <- tests(joint_tests(m))
out$cake_joint_by <- tests(joint_tests(m, by = "recipe"))
out$cake_equivalence <- columns(test(pairs(e), delta = 4))
out$cake_noninferiority <- columns(test(e, null = 30, delta = 2, side = ">"))
out$cake_greater <- columns(test(e, null = 30, side = ">", adjust = "holm"))
out$cake_at <- columns(emmeans(m, ~ recipe, at = list(temperature = c("175", "225"))))
out$cake_kr <- columns(pairs(emmeans(m, ~ recipe, lmer.df = "kenward-roger")))

m <- lmer(angle ~ recipe * poly(temp, 2) + (1 | recipe:replicate), cake, control = tight)
out$poly_means <- columns(emmeans(m, ~ recipe))
out$poly_at <- columns(emmeans(m, ~ recipe | temp, at = list(temp = c(180, 210))))

m <- lmer(angle ~ recipe + temp + (1 | recipe:replicate), cake, control = tight)
out$temp_joint <- tests(joint_tests(m))
out$temp_trend <- columns(emtrends(lmer(angle ~ recipe * temp + (1 | recipe:replicate), cake, control = tight), ~ recipe, var = "temp"))

m <- lmer(log(angle) ~ recipe * temp + (1 | recipe:replicate), cake, control = tight)
e <- emmeans(m, ~ recipe)
out$log_response <- columns(e, type = "response")
out$log_pairs <- columns(pairs(e), type = "response")
out$log_pairs_ci <- columns(confint(pairs(e), type = "response"))
out$log_bias <- columns(e, type = "response", bias.adj = TRUE, sigma = 0.3)
out$log_regrid <- columns(pairs(regrid(e)))

# unbalanced, an empty cell: rows of cake left out by position
keep <- (seq_len(nrow(cake)) %% 7 != 3) & !(cake$recipe == "A" & cake$temperature %in% c("175", "185") & cake$replicate %in% c("1", "2", "3", "4", "5", "6", "7"))
some <- droplevels(cake[keep, ])
m <- lmer(angle ~ recipe + temperature + (1 | recipe:replicate), some, control = tight)
for (w in c("equal", "proportional", "outer", "cells", "flat")) out[[paste0("weights_", w)]] <- columns(emmeans(m, ~ recipe, weights = w))
empty <- droplevels(cake[!(cake$recipe == "C" & cake$temperature %in% c("215", "225")), ])
m <- lmer(angle ~ recipe * temperature + (1 | recipe:replicate), empty, control = tight)
out$empty_means <- columns(emmeans(m, ~ recipe))
out$empty_cells <- columns(emmeans(m, ~ recipe | temperature))
out$empty_pairs <- columns(pairs(emmeans(m, ~ temperature | recipe), adjust = "none"))
out$empty_joint <- tests(joint_tests(m))

m <- glmmTMB::glmmTMB(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial,
  control = glmmTMB::glmmTMBControl(optCtrl = list(rel.tol = 1e-14, x.tol = 1e-12)))
e <- emmeans(m, ~ period, df = Inf)
out$cbpp_bias <- columns(e, type = "response", bias.adj = TRUE, sigma = 0.6423)
out$cbpp_ctrl <- columns(contrast(e, "trt.vs.ctrl"), type = "response")
out$cbpp_ci <- columns(confint(pairs(e), type = "response"))

cat(toJSON(list(versions = list(R = as.character(getRversion()), lme4 = as.character(packageVersion("lme4")),
  lmerTest = as.character(packageVersion("lmerTest")), emmeans = as.character(packageVersion("emmeans"))),
  results = out), digits = 12, auto_unbox = FALSE, na = "null"))
