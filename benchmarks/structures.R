# Arguments: peer, model, folder, repeats. Prints one line of JSON, as structures_process.py does.
# Peers: bam, bam-discrete (mgcv), gls (nlme), glmmTMB, and for animals, of whose packages none is in Debian, two programs written
# by hand: cholmod (one factorisation by Matrix for each of optimize()'s evaluations) and TMB. A^-1 is given to both.
arguments <- commandArgs(trailingOnly = TRUE)
peer <- arguments[1]
model <- arguments[2]
folder <- arguments[3]
repeats <- as.integer(arguments[4])
options(warn = -1)
d <- read.csv(file.path(folder, "data.csv"), stringsAsFactors = TRUE)
told <- function(package, loglik, beta, se, spread) list(loglik = loglik, beta = as.numeric(beta), se = as.numeric(se), spread = as.numeric(spread), version = as.character(packageVersion(package)))

if (peer %in% c("bam", "bam-discrete")) {
  suppressPackageStartupMessages(library(mgcv))
  ask <- function() {
    b <- bam(y ~ s(x) + s(z) + s(w) + s(g, bs = "re"), data = d, method = "fREML", discrete = peer == "bam-discrete")
    told("mgcv", -as.numeric(b$gcv.ubre), coef(b)[1], sqrt(vcov(b)[1, 1]), sqrt(b$sig2))
  }
} else if (peer == "gls") {
  suppressPackageStartupMessages(library(nlme))
  d$v <- as.integer(d$visit)
  ask <- function() {
    b <- gls(y ~ arm * visit, d, correlation = corSymm(form = ~ v | subject), weights = varIdent(form = ~ 1 | visit), method = "REML")
    told("nlme", logLik(b), coef(b), sqrt(diag(vcov(b))), b$sigma)
  }
} else if (peer == "glmmTMB") {
  suppressPackageStartupMessages(library(glmmTMB))
  d$pos <- numFactor(d$cx, d$cy)
  formula <- if (model == "exp") y ~ x + exp(0 + pos | one) else y ~ x + mat(0 + pos | one)
  ask <- function() {
    b <- glmmTMB(formula, d)
    told("glmmTMB", logLik(b), fixef(b)$cond, sqrt(diag(vcov(b)$cond)), c(exp(b$fit$par[names(b$fit$par) == "theta"][1]), sigma(b)))
  }
} else {
  suppressPackageStartupMessages(library(Matrix))
  Q <- forceSymmetric(as(as(readMM(file.path(folder, "precision.mtx")), "generalMatrix"), "CsparseMatrix"))
  log_det <- as.numeric(readLines(file.path(folder, "log_det.txt")))
  X <- model.matrix(~ x + sex, d)
  y <- d$y
  n <- nrow(X)
  p <- ncol(X)
  q <- ncol(Q)
  Z <- sparseMatrix(seq_len(n), d$code + 1L, x = 1, dims = c(n, q))
  if (peer == "cholmod") {
    ask <- function() {
      ZZ <- forceSymmetric(crossprod(Z)); ZX <- as.matrix(crossprod(Z, X)); Zy <- as.numeric(crossprod(Z, y))
      XX <- crossprod(X); Xy <- crossprod(X, y); yy <- sum(y * y)
      factor <- Cholesky(ZZ + Q, perm = TRUE, LDL = FALSE, super = TRUE)
      at <- function(log_lambda) { # lambda = sigma^2 / sd^2: M = Z'Z + lambda A^-1, the restricted likelihood with sigma profiled out
        factor <<- update(factor, ZZ + exp(log_lambda) * Q)
        S <- solve(factor, cbind(ZX, Zy))
        R <- chol(as.matrix(XX - crossprod(ZX, S[, 1:p])))
        z <- backsolve(R, as.numeric(Xy - crossprod(ZX, S[, p + 1])), transpose = TRUE)
        r2 <- yy - sum(Zy * S[, p + 1]) - sum(z^2)
        half <- 2 * as.numeric(determinant(factor)$modulus) - q * log_lambda - log_det + 2 * sum(log(diag(R)))
        list(deviance = half + (n - p) * (1 + log(2 * pi * r2 / (n - p))), R = R, z = z, s2 = r2 / (n - p))
      }
      best <- optimize(function(v) at(v)$deviance, c(-4, 4), tol = 1e-6)$minimum
      here <- at(best)
      h <- 1e-3 # the curvature, for the standard error of the variance ratio
      curvature <- (at(best + h)$deviance - 2 * here$deviance + at(best - h)$deviance) / h^2
      stopifnot(curvature > 0)
      told("Matrix", -here$deviance / 2, backsolve(here$R, here$z), sqrt(here$s2 * diag(chol2inv(here$R))), sqrt(here$s2 * exp(-best)))
    }
  } else {
    library(TMB)
    code <- file.path(folder, "animal.cpp")
    writeLines("#include <TMB.hpp>
template<class Type> Type objective_function<Type>::operator() () {
  DATA_VECTOR(y); DATA_MATRIX(X); DATA_SPARSE_MATRIX(Z); DATA_SPARSE_MATRIX(Q);
  PARAMETER_VECTOR(beta); PARAMETER_VECTOR(a); PARAMETER(log_sd); PARAMETER(log_sigma);
  vector<Type> r = y - X * beta - exp(log_sd) * (Z * a);
  vector<Type> own = Q * a;
  return 0.5 * (a * own).sum() + 0.5 * (r * r).sum() * exp(-2.0 * log_sigma) + y.size() * log_sigma;
}", code)
    invisible(capture.output(compile(code, "-O2 -w")))
    dyn.load(dynlib(sub(".cpp", "", code, fixed = TRUE)))
    Q <- as(Q, "generalMatrix")
    ask <- function() {
      start <- list(beta = rep(0, p), a = rep(0, q), log_sd = 0, log_sigma = 0)
      f <- MakeADFun(list(y = y, X = X, Z = Z, Q = Q), start, random = c("beta", "a"), DLL = "animal", silent = TRUE)
      o <- nlminb(f$par, f$fn, f$gr)
      s <- sdreport(f)
      own <- summary(s, "random")
      own <- own[rownames(own) == "beta", ]
      told("TMB", -o$objective + 0.5 * (log_det - (n + q) * log(2 * pi)), own[, 1], own[, 2], exp(o$par))
    }
  }
}

times <- NULL
repeat {
  before <- proc.time()
  fit <- ask()
  spent <- proc.time() - before
  times <- rbind(times, c(spent[["user.self"]] + spent[["sys.self"]], spent[["elapsed"]]))
  if (times[1, 1] > 20 || nrow(times) > repeats) break
}
kept <- if (nrow(times) > 1) times[-1, , drop = FALSE] else times
numbers <- function(x) paste(sprintf("%.12g", x), collapse = ", ")
cat(sprintf(
  '{"cpu": %s, "wall": %s, "first_cpu": %s, "first_wall": %s, "fits": %d, "loglik": %s, "beta": [%s], "se": [%s], "spread": [%s], "version": "%s"}\n',
  numbers(median(kept[, 1])), numbers(median(kept[, 2])), numbers(times[1, 1]), numbers(times[1, 2]), nrow(kept),
  numbers(fit$loglik), numbers(fit$beta), numbers(fit$se), numbers(fit$spread), fit$version
))
