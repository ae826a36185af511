# Reference numbers of model checks: run from this folder with the folder of the data sets as argument,
#   Rscript checking.R ../../datasets
# R 4.2.2, lme4 1.1-31, car 3.1-1, performance 0.10.2, lmtest 0.9-40, ape 5.7.
suppressMessages({library(lme4); library(car); library(performance); library(lmtest); library(ape); library(jsonlite)})
folder <- commandArgs(TRUE)[1]
read <- function(name) read.csv(file.path(folder, paste0(name, ".csv")), stringsAsFactors = TRUE)
out <- list(versions = sapply(c("lme4", "car", "performance", "lmtest", "ape"), function(p) as.character(packageVersion(p))))

ticks <- read("grouseticks"); ticks$YEAR <- factor(ticks$YEAR)
ticks$H <- ticks$cHEIGHT / 100 # glmer's differences of the deviance fail in metres
m <- glmer(TICKS ~ YEAR + H + (1 | BROOD) + (1 | LOCATION), ticks, poisson,
           control = glmerControl(optimizer = "bobyqa"))
z <- check_zeroinflation(m)
out$ticks <- list(vif = vif(m), zeros = list(observed = z$observed.zeros, predicted = z$predicted.zeros),
                  collinearity = as.data.frame(check_collinearity(m)))
cake <- read("cake"); cake$replicate <- factor(cake$replicate)
m <- lmer(angle ~ recipe + temp + I(temp^2) + (1 | recipe:replicate), cake)
out$cake <- list(vif = vif(m), collinearity = as.data.frame(check_collinearity(m)))
m <- lmer(angle ~ recipe * temp + (1 | recipe:replicate), cake)
out$cake_interaction <- list(vif = as.data.frame(vif(m)))

sleep <- read("sleepstudy")
m <- lmer(Reaction ~ Days + (Days | Subject), sleep)
e <- residuals(m)
one <- e[sleep$Subject == 308]
out$time <- list(
  all = list(greater = unlist(dwtest(e ~ 1, alternative = "greater")[c("statistic", "p.value")]),
             two = dwtest(e ~ 1, alternative = "two.sided")$p.value, less = dwtest(e ~ 1, alternative = "less")$p.value),
  one = list(greater = unlist(dwtest(one ~ 1, alternative = "greater")[c("statistic", "p.value")]),
             two = dwtest(one ~ 1, alternative = "two.sided")$p.value),
  residuals = e)
places <- cbind(sin(1:180 * 1.7) * 10, cos(1:180 * 0.37) * 7)
w <- 1 / as.matrix(dist(places)); diag(w) <- 0
out$space <- Moran.I(e, w)
w <- 1 / as.matrix(dist(places[1:10, ])); diag(w) <- 0
out$space_few <- Moran.I(e[1:10], w)
b <- bptest(e ~ fitted(m)) # of the residuals of this regression
out$breusch <- list(statistic = unname(b$statistic), p = unname(b$p.value))
out$performance <- list(icc = unlist(icc(m)[1:2]), r2 = unlist(r2(m)))
write_json(out, "checking.json", digits = 15, auto_unbox = TRUE, pretty = TRUE)
