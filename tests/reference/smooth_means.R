# Marginal means, trends and tests of models with smooths: mgcv and emmeans on smooths.csv. Writes smooth_means.json.
# Rscript smooth_means.R, in this folder.
suppressMessages({library(mgcv); library(emmeans); library(jsonlite)})
d <- read.csv("smooths.csv", stringsAsFactors = TRUE)
m <- gam(y ~ f + s(x, by = f) + s(z), data = d, method = "REML")
cols <- function(e, names) as.list(as.data.frame(e)[, names])
at <- list(x = c(0.2, 0.5, 0.8))

# with a random intercept: rows of the design matrix, those of the groups zero
g <- gam(y ~ f + s(x) + s(g, bs = "re"), data = d, method = "REML")
new <- data.frame(f = factor(c("a", "b"), levels(d$f)), x = c(0.3, 0.7), g = d$g[1])
rows <- function(x) { L <- predict(g, data.frame(f = new$f, x = x, g = new$g), type = "lpmatrix"); L[, grep("s\\(g\\)", colnames(L))] <- 0; L }
L <- rows(new$x); h <- 1e-5; D <- (rows(new$x + h) - rows(new$x - h)) / (2 * h)
said <- function(L) list(estimate = as.numeric(L %*% coef(g)), SE = sqrt(diag(L %*% vcov(g) %*% t(L))))

a <- anova(m)
out <- list(
  versions = list(R = as.character(getRversion()), mgcv = as.character(packageVersion("mgcv")),
                  emmeans = as.character(packageVersion("emmeans"))),
  means = cols(emmeans(m, "f"), c("emmean", "SE")),
  pairs = cols(pairs(emmeans(m, "f")), c("estimate", "SE")),
  along = cols(emmeans(m, "x", at = at), c("emmean", "SE")),
  trends = cols(emtrends(m, "f", "x", delta.var = 1e-5), c("x.trend", "SE")),
  grouped = said(L), grouped_trends = said(D),
  anova = list(F = a$s.table[, "F"], p = a$s.table[, "p-value"], edf = a$s.table[, "edf"], ref = a$s.table[, "Ref.df"],
               residual = m$df.residual, f = a$pTerms.table[, "F"]))
write(toJSON(out, digits = 12, auto_unbox = TRUE, pretty = TRUE), "smooth_means.json")
