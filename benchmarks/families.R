# glmmTMB on the rows that benchmarks/families.py wrote: Rscript benchmarks/families.R ROWS.csv FORMULA FAMILY ZEROS REPEATS
# Prints one line of JSON, as families_process.py does.
suppressPackageStartupMessages(library(glmmTMB))
given <- commandArgs(trailingOnly = TRUE)
options(warn = -1)
d <- read.csv(given[1], stringsAsFactors = TRUE)
d$g <- factor(d$g)
if (!is.null(d$h)) d$h <- factor(d$h)
formula <- as.formula(given[2])
family <- eval(parse(text = given[3]))
zeros <- as.formula(given[4])
start <- if (family$family == "ordbeta") list(psi = c(-1, 1)) else NULL # its own start may have no density
times <- NULL
for (i in seq_len(as.integer(given[5]) + 1)) {
  before <- proc.time()
  fit <- glmmTMB(formula, d, family = family, ziformula = zeros, start = start)
  se <- sqrt(diag(vcov(fit)$cond))
  spent <- proc.time() - before
  times <- rbind(times, c(spent[["user.self"]] + spent[["sys.self"]], spent[["elapsed"]]))
  if (times[1, 1] > 20) break # a first fit this long is itself the number
}
kept <- if (nrow(times) > 1) times[-1, , drop = FALSE] else times
numbers <- function(x) paste(sprintf("%.12g", x), collapse = ", ")
cat(sprintf(
  '{"cpu": %s, "wall": %s, "first_cpu": %s, "loglik": %s, "beta": [%s], "se": [%s], "version": "%s"}\n',
  numbers(median(kept[, 1])), numbers(median(kept[, 2])), numbers(times[1, 1]), numbers(logLik(fit)),
  numbers(fixef(fit)$cond), numbers(se), as.character(packageVersion("glmmTMB"))
))
