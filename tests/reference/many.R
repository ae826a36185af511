# Moderated variances of limma, pooled imputations of mice, Benjamini-Hochberg: Rscript many.R > many.json
# R 4.2.2, limma 3.54.1, mice 3.15.0.
suppressMessages({library(limma); library(mice); library(jsonlite)})
options(digits = 17)
set.seed(20)
n <- 12; genes <- 40
design <- data.frame(a = rep(0:1, each = 6), z = round(rnorm(n), 3))
y <- round(matrix(rnorm(n * genes), genes) * sqrt(1 / rgamma(genes, 4, 4)) + outer(rnorm(genes), design$a), 4)
efit <- eBayes(lmFit(y, model.matrix(~ a + z, design)))
equal <- squeezeVar(rep(c(1, 1.1), 10), df = 5)
unequal <- squeezeVar(c(.5, 2, 1, .8, 4, .2, 1.5), df = c(3, 6, 9, 5, 4, 8, 7))

data <- nhanes
imp <- mice(data, m = 5, seed = 7, print = FALSE)
long <- complete(imp, "long")
fits <- with(imp, lm(chl ~ bmi + age))
pooled <- pool(fits)
s <- summary(pooled)
few <- mice::pool.scalar(Q = c(1.2, 1.5, 1.1), U = c(.2, .25, .22), n = 30, k = 2)
cat(toJSON(list(
  limma = list(y = t(y), a = design$a, z = design$z, coefficients = efit$coefficients, t = efit$t, p = efit$p.value,
    df_total = efit$df.total, df_prior = efit$df.prior, s2_prior = efit$s2.prior, s2_post = efit$s2.post, sigma = efit$sigma),
  equal = list(df_prior = equal$df.prior, var_prior = equal$var.prior),
  unequal = list(df_prior = unequal$df.prior, var_prior = unequal$var.prior, var_post = unequal$var.post),
  adjusted = p.adjust(efit$p.value[, 2], "BH"),
  mice = list(imputation = long$.imp, chl = long$chl, bmi = long$bmi, age = long$age, pooled = pooled$pooled, summary = s),
  scalar = few
), digits = NA, auto_unbox = TRUE, pretty = FALSE))
