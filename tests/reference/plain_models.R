# Models without random effects by R, for tests/reference/plain_models.json.
#     Rscript tests/reference/plain_models.R datasets > tests/reference/plain_models.json
suppressMessages({library(glmmTMB); library(jsonlite)})
folder <- commandArgs(trailingOnly = TRUE)[1]
data <- function(name) read.csv(file.path(folder, paste0(name, ".csv")), stringsAsFactors = TRUE)
sleep <- data("sleepstudy"); cake <- data("cake"); cbpp <- data("cbpp"); owls <- data("Owls")
cbpp$period <- factor(cbpp$period); cake$recipe <- factor(cake$recipe)
sleep$w <- 1 + sleep$Days %% 3; sleep$o <- 10 * sleep$Days
sleep$s <- sleep$Reaction / 1000; sleep$p <- (sleep$Reaction - 150) / 400
verb <- data("VerbAgg")
verb <- verb[as.integer(verb$id) %% 8 == 0, ]
verb$yes <- as.integer(verb$r2 == "Y")
control <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-15))

of_lm <- function(m, new = NULL) {
  t <- coef(summary(m))
  out <- list(coef = t[, 1], se = t[, 2], p = t[, 4], sigma = sigma(m), df = m$df.residual,
    logLik = logLik(m)[1], AIC = AIC(m), BIC = BIC(m), logLik_reml = logLik(m, REML = TRUE)[1],
    F = setNames(drop1(m, . ~ ., test = "F")[["F value"]][-1], rownames(drop1(m, . ~ ., test = "F"))[-1]),
    confint = unname(confint(m)), fitted = unname(fitted(m))[1:10], residuals = unname(resid(m))[1:10])
  if (!is.null(new)) {
    e <- predict(m, new, se.fit = TRUE)
    out$predict <- list(new = new, fit = unname(e$fit), se = unname(e$se.fit),
      prediction = unname(predict(m, new, interval = "prediction")[, 2:3]))
  }
  out
}
of_glm <- function(m) {
  t <- coef(summary(m))
  kinds <- c("response", "pearson", "deviance", "working")
  res <- lapply(setNames(kinds, kinds), function(k) unname(residuals(m, k))[1:10])
  list(coef = t[, 1], se = t[, 2], logLik = logLik(m)[1], AIC = AIC(m), BIC = BIC(m), residuals = res,
    fitted = unname(fitted(m))[1:10])
}
tmb <- function(...) { # Newton steps from where glmmTMB's optimiser ends, and the Hessian there
  m <- glmmTMB(..., control = control)
  o <- m$obj; p <- m$fit$par
  for (i in 1:6) {
    h <- optimHess(p, o$fn, o$gr, control = list(ndeps = rep(1e-4, length(p))))
    p <- p - solve(h, as.vector(o$gr(p)))
  }
  se <- sqrt(diag(solve(h))); f <- fixef(m); n <- nrow(m$frame); at <- function(v, k) unname(v[names(p) == k])
  names(se) <- names(p)
  list(coef = setNames(at(p, "beta"), names(f$cond)), se = at(se, "beta"), zi = at(p, "betazi"), zi_se = at(se, "betazi"),
    disp = at(p, "betad"), disp_se = at(se, "betad"), logLik = -o$fn(p)[1], AIC = 2 * o$fn(p)[1] + 2 * length(p),
    BIC = 2 * o$fn(p)[1] + log(n) * length(p), npar = length(p))
}
glm15 <- function(...) of_glm(glm(..., control = glm.control(epsilon = 1e-15, maxit = 100)))

out <- list(
  lm = of_lm(lm(Reaction ~ Days, sleep), data.frame(Days = c(0, 4.5, 12))),
  lm_weights_offset = of_lm(lm(Reaction ~ Days + I(Days^2), sleep, weights = w, offset = o)),
  lm_factors = of_lm(lm(angle ~ recipe * temp, cake, contrasts = list(recipe = "contr.sum"))),
  logit = glm15(cbind(incidence, size - incidence) ~ period, binomial, cbpp),
  probit = tmb(cbind(incidence, size - incidence) ~ period, family = binomial("probit"), data = cbpp),
  cloglog = tmb(cbind(incidence, size - incidence) ~ period, family = binomial("cloglog"), data = cbpp),
  bernoulli = glm15(yes ~ Anger + Gender + btype, binomial, verb),
  poisson = glm15(SiblingNegotiation ~ FoodTreatment + ArrivalTime + offset(log(BroodSize)), poisson, owls),
  gaussian_log = tmb(Reaction ~ Days, family = gaussian("log"), data = sleep),
  gaussian_disp = tmb(Reaction ~ Days, dispformula = ~ Days, data = sleep),
  gamma_log = tmb(Reaction ~ Days, family = Gamma("log"), data = sleep),
  gamma_inverse = tmb(s ~ Days, family = Gamma("inverse"), data = sleep),
  gamma_disp = tmb(Reaction ~ Days, family = Gamma("log"), dispformula = ~ Days, data = sleep),
  nbinom2 = tmb(SiblingNegotiation ~ FoodTreatment + ArrivalTime, family = nbinom2, data = owls),
  nbinom1 = tmb(SiblingNegotiation ~ FoodTreatment + ArrivalTime, family = nbinom1, data = owls),
  zip = tmb(SiblingNegotiation ~ FoodTreatment, ziformula = ~ ArrivalTime, family = poisson, data = owls),
  zinb = tmb(SiblingNegotiation ~ FoodTreatment, ziformula = ~ 1, family = nbinom2, data = owls),
  beta = tmb(p ~ Days, family = beta_family, data = sleep)
)
ig <- glm(s ~ Days, inverse.gaussian("log"), sleep, control = glm.control(epsilon = 1e-15, maxit = 100))
out$inverse_gaussian <- list(coef = coef(ig), logLik = logLik(ig)[1], AIC = AIC(ig), sigma = sqrt(deviance(ig) / 180))
ln <- lm(log(Reaction) ~ Days, sleep)
out$lognormal <- list(coef = coef(ln), logLik = logLik(ln)[1] - sum(log(sleep$Reaction)), AIC = AIC(ln) + 2 * sum(log(sleep$Reaction)),
  sigma = sqrt(mean(resid(ln)^2)))
minus <- function(v) {
  scale <- exp(v[3])
  -sum(dt((sleep$Reaction - v[1] - v[2] * sleep$Days) / scale, 1 + exp(v[4]), log = TRUE) - log(scale))
}
found <- c(251, 10, log(40), log(7))
for (i in 1:20) found <- optim(found, minus, method = "BFGS", hessian = TRUE,
  control = list(reltol = 1e-16, maxit = 1e4, parscale = c(5, 1, .1, .5)))$par
last <- optim(found, minus, method = "BFGS", hessian = TRUE, control = list(reltol = 1e-16, parscale = c(5, 1, .1, .5)))
out$student <- list(coef = last$par[1:2], logLik = -last$value, AIC = 2 * last$value + 8, sigma = exp(last$par[3]),
  nu = 1 + exp(last$par[4]), se = sqrt(diag(solve(last$hessian)))[1:2])
q <- glm(cbind(incidence, size - incidence) ~ period, quasibinomial, cbpp, control = glm.control(epsilon = 1e-15))
out$quasibinomial <- list(coef = coef(q), se = coef(summary(q))[, 2], phi = summary(q)$dispersion)
g <- glm(Reaction ~ Days, Gamma("log"), sleep, control = glm.control(epsilon = 1e-15))
out$quasi_gamma <- list(coef = coef(g), se = coef(summary(g))[, 2], phi = summary(g)$dispersion)
out$versions <- list(R = as.character(getRversion()), glmmTMB = as.character(packageVersion("glmmTMB")))
cat(toJSON(lapply(out, function(v) lapply(v, function(x) if (is.numeric(x) && !is.null(names(x))) as.list(x) else x)),
  digits = NA, auto_unbox = TRUE, null = "null", na = "null", pretty = TRUE), "\n")
