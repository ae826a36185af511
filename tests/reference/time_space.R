# Fits of glmmTMB to the data of time_space.json: run in this folder, prints JSON of logLik, fixed effects and parameters.
library(glmmTMB)
library(jsonlite)
given <- fromJSON("time_space.json")
long <- as.data.frame(given$data$long)
space <- as.data.frame(given$data$space)
long$ftime <- factor(long$ftime, levels = 1:8)
long$ntime <- numFactor(long$tcont)
long$high <- as.integer(long$y > 2.5)
space$pos <- numFactor(space$cx, space$cy)
control <- glmmTMBControl(optCtrl = list(iter.max = 5000, eval.max = 5000, rel.tol = 1e-14))
told <- function(m) list(logLik = as.numeric(logLik(m)), fixef = unname(fixef(m)$cond), se = unname(sqrt(diag(vcov(m)$cond))), theta = unname(m$fit$par[names(m$fit$par) == "theta"]))
fits <- list(
  exp_pois = glmmTMB(cnt ~ x + exp(0 + pos | one), space, poisson, control = control),
  gau_gauss = glmmTMB(y ~ x + gau(0 + pos | one), space, control = control),
  ar1_pois = glmmTMB(cnt ~ x + ar1(0 + ftime | id), long, poisson, control = control),
  ou_pois = glmmTMB(cnt ~ x + ou(0 + ntime | id), long, poisson, control = control),
  ar1_binom = glmmTMB(high ~ x + ar1(0 + ftime | id), long, binomial, control = control),
  ar1_reml = glmmTMB(y ~ x + arm + ar1(0 + ftime | id), long, REML = TRUE, control = control)
)
cat(toJSON(lapply(fits, told), digits = 14, auto_unbox = TRUE))
