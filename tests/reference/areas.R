# Intrinsic autoregressions of areas by mgcv's bs = "mrf" on lip_cancer.csv. Writes areas.json.
# Rscript areas.R ../../datasets, in this folder.
suppressMessages({library(mgcv); library(jsonlite)})
folder <- commandArgs(trailingOnly = TRUE)[1]
lip <- read.csv(file.path(folder, "lip_cancer.csv"))
pairs <- read.csv(file.path(folder, "lip_cancer_neighbours.csv"))
lip$district <- factor(lip$district, levels = 1:56)
P <- matrix(0, 56, 56, dimnames = list(1:56, 1:56))
for (i in seq_len(nrow(pairs))) P[pairs[i, 1], pairs[i, 2]] <- P[pairs[i, 2], pairs[i, 1]] <- -1
diag(P) <- -rowSums(P)
lip$y <- log((lip$observed + 0.5) / lip$expected)
two <- rbind(lip, transform(lip, y = y + 0.4 * cos(1:56), observed = (observed + 3 * (1:56)) %% 17))
control <- list(epsilon = 1e-12, newton = list(conv.tol = 1e-10))
told <- function(formula, data, family, method) {
  b <- gam(formula, data = data, family = family, method = method, control = control)
  own <- seq_len(b$nsdf)
  list(formula = deparse1(formula), method = method, criterion = as.numeric(b$gcv.ubre), coef = unname(coef(b)[own]),
    se = unname(sqrt(diag(vcov(b)))[own]), scale = b$sig2, tau2 = b$sig2 * b$smooth[[1]]$S.scale / b$sp[[1]],
    fitted = unname(fitted(b)[1:4]))
}
mrf <- list(penalty = P)
fits <- list(
  one = told(y ~ s(district, bs = "mrf", xt = mrf, k = 56), lip, gaussian(), "REML"),
  two = told(y ~ aff + s(district, bs = "mrf", xt = mrf, k = 56), two, gaussian(), "REML"),
  counts = told(observed ~ aff + offset(log(expected)) + s(district, bs = "mrf", xt = mrf, k = 56), two, poisson(), "ML")
)
out <- list(versions = list(R = as.character(getRversion()), mgcv = as.character(packageVersion("mgcv"))), fits = fits)
write(toJSON(out, digits = 12, auto_unbox = TRUE, pretty = 1), "areas.json")
