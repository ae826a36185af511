# glmmTMB, or clmm of ordinal, on the rows that benchmarks/families.py wrote:
# Rscript benchmarks/families.R ROWS.csv FORMULA FAMILY ZEROS PACKAGE
# Prints one line of JSON, as families_process.py does.
given <- commandArgs(trailingOnly = TRUE)
package <- given[5]
suppressPackageStartupMessages(library(package, character.only = TRUE))
options(warn = -1)
d <- read.csv(given[1], stringsAsFactors = TRUE)
d$g <- factor(d$g)
if (!is.null(d$h)) d$h <- factor(d$h)
formula <- as.formula(given[2])
if (package == "ordinal") {
  d$y <- ordered(d$y)
  fitted <- function() clmm(formula, d, link = "logit")
  estimates <- function(fit) fit$beta
  errors <- function(fit) sqrt(diag(vcov(fit)))[names(fit$beta)]
} else {
  family <- eval(parse(text = given[3]))
  zeros <- as.formula(given[4])
  start <- if (family$family == "ordbeta") list(psi = c(-1, 1)) else NULL # its own start may have no density
  fitted <- function() glmmTMB(formula, d, family = family, ziformula = zeros, start = start)
  estimates <- function(fit) fixef(fit)$cond
  errors <- function(fit) sqrt(diag(vcov(fit)$cond))
}
before <- proc.time()
fit <- fitted() # nothing is compiled: the first fit is like any other
se <- errors(fit)
spent <- proc.time() - before
numbers <- function(x) paste(sprintf("%.12g", x), collapse = ", ")
cat(sprintf(
  '{"cpu": %s, "wall": %s, "loglik": %s, "beta": [%s], "se": [%s], "version": "%s"}\n',
  numbers(spent[["user.self"]] + spent[["sys.self"]]), numbers(spent[["elapsed"]]), numbers(logLik(fit)),
  numbers(estimates(fit)), numbers(se), as.character(packageVersion(package))
))
