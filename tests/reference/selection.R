# lmerTest, RLRsim, cAIC4 and lme4 on selection of terms, for tests/reference/selection.json (written to the folder it runs in).
#     Rscript selection.R
suppressMessages({library(lme4); library(lmerTest); library(RLRsim); library(cAIC4); library(jsonlite)})
tab <- function(t) { t <- as.data.frame(t); list(rows=rownames(t), columns=names(t), values=lapply(as.list(t), function(v) if (is.factor(v)) as.character(v) else as.numeric(v))) }
ctl <- lmerControl(optCtrl=list(ftol_abs=1e-14, xtol_abs=1e-12, maxeval=1e5), calc.derivs=TRUE)
out <- list()
data(Pastes); data(Penicillin); data(cake); data(sleepstudy)
Machines <- nlme::Machines; Machines$Worker <- factor(as.character(Machines$Worker)); Machines <- as.data.frame(Machines)
Oats <- as.data.frame(nlme::Oats); Oats$Block <- factor(as.character(Oats$Block)); 
sleepstudy$Subject <- factor(sleepstudy$Subject)
L <- function(f, d, REML=TRUE) { dn <- substitute(d); if (identical(dn, quote(d))) dn <- as.name(DN); suppressMessages(suppressWarnings(eval(bquote(lmerTest::lmer(.(f), data=.(dn), REML=.(REML), control=ctl))))) }
models <- list(
 sleep_slope=list("sleepstudy", Reaction ~ Days + (Days|Subject), TRUE),
 sleep_slope_ml=list("sleepstudy", Reaction ~ Days + (Days|Subject), FALSE),
 sleep_split=list("sleepstudy", Reaction ~ Days + (1|Subject) + (0+Days|Subject), TRUE),
 pastes=list("Pastes", strength ~ 1 + (1|batch) + (1|sample), TRUE),
 penicillin=list("Penicillin", diameter ~ 1 + (1|plate) + (1|sample), TRUE),
 machines=list("Machines", score ~ Machine + (Machine|Worker), TRUE),
 cake=list("cake", angle ~ recipe*temp + (1|recipe:replicate), TRUE),
 oats=list("Oats", yield ~ Variety*nitro + (1|Block) + (1|Block:Variety), TRUE))
for (n in names(models)) { m <- models[[n]]; DN <- m[[1]]; d <- get(m[[1]]); f <- L(m[[2]], d, m[[3]])
  r <- list(dataset=m[[1]], formula=deparse(m[[2]], width.cutoff=500), reml=m[[3]])
  r$ranova <- tab(ranova(f)); r$ranova_noreduce <- tab(ranova(f, reduce.terms=FALSE))
  if (length(attr(terms(f),"term.labels"))) {
    r$drop1_f <- tab(drop1(f)); 
    if (m[[3]]) r$drop1_kr <- tab(drop1(f, ddf="Kenward-Roger"))
    r$drop1_chisq <- tab(drop1(as(f,"lmerMod"), test="Chisq")) 
    s <- suppressMessages(suppressWarnings(lmerTest::step(f)))
    r$step <- list(random=tab(s$random), fixed=tab(s$fixed), final=deparse(formula(get_model(s)), width.cutoff=500))
  }
  pc <- rePCA(as(f,"lmerMod")); r$repca <- lapply(pc, function(p) list(sdev=p$sdev, rotation=p$rotation))
  k <- cAIC(as(f,"lmerMod")); r$caic <- list(loglik=k$loglikelihood, df=k$df, caic=k$caic, new=k$new)
  out[[n]] <- r; cat(n, "\n") }
# RLRsim
set.seed(1)
N <- 100000
m0 <- lm(Reaction ~ Days, sleepstudy); m <- L(Reaction ~ Days + (1|Subject), sleepstudy)
e <- function(x) list(statistic=as.numeric(x$statistic), p=as.numeric(x$p.value), q=as.numeric(quantile(x$sample, c(.5,.75,.9,.95,.99))), zero=mean(x$sample==0))
rl <- list()
rl$sleep_int <- e(exactRLRT(m, nsim=N, seed=1))
mA <- L(Reaction ~ Days + (1|Subject)+(0+Days|Subject), sleepstudy); mS <- L(Reaction ~ Days + (0+Days|Subject), sleepstudy)
rl$sleep_slope_given_int <- e(exactRLRT(mS, mA, m, nsim=N, seed=1))
rl$sleep_int_given_slope <- e(exactRLRT(m, mA, mS, nsim=N, seed=1))
dy <- Dyestuff; d1 <- L(Yield ~ 1 + (1|Batch), dy); rl$dyestuff <- e(exactRLRT(d1, nsim=N, seed=1))
d1m <- L(Yield ~ 1 + (1|Batch), dy, FALSE); rl$dyestuff_lrt <- e(exactLRT(d1m, lm(Yield~1, dy), nsim=N, seed=1))
mm <- L(Reaction ~ Days + (1|Subject), sleepstudy, FALSE); rl$sleep_int_lrt <- e(exactLRT(mm, m0, nsim=N, seed=1))
pA <- L(strength ~ 1 + (1|batch) + (1|sample), Pastes); pb <- L(strength ~ 1 + (1|batch), Pastes); ps <- L(strength ~ 1 + (1|sample), Pastes)
rl$pastes_batch <- e(exactRLRT(pb, pA, ps, nsim=N, seed=1))
out$rlrsim <- rl
# generalised models, tightly converged; the binary correction with responses that are changed (cAIC4 1.0 fits the same one again)
cb <- lme4::cbpp; g <- glmer(cbind(incidence, size-incidence) ~ period + (1|herd), cb, binomial)
out$cbpp_drop1 <- tab(drop1(g, test="Chisq"))
gctl <- glmerControl(optimizer="bobyqa", optCtrl=list(rhoend=1e-9, maxfun=1e5), tolPwrss=1e-12, calc.derivs=FALSE)
ep <- subset(transform(MASS::epil, lbase=log(base/4)), subject %% 3 == 0); m <- glmer(y ~ trt + lbase + V4 + (1|subject), ep, poisson, control=gctl)
eta <- m@resp$eta; y <- m@resp$y; bc <- 0
for (i in which(y>0)) { w <- y; w[i] <- w[i]-1; r <- refit(m, newresp=w, control=gctl); bc <- bc + y[i]*(eta[i]-r@resp$eta[i]) }
out$epil_caic <- list(formula="y ~ trt + log(base/4) + V4 + (1|subject)", loglik=sum(dpois(y, m@resp$mu, log=TRUE)), df=bc)
ba <- MASS::bacteria; ba$y01 <- as.numeric(ba$y=="y"); ba <- ba[as.integer(substr(as.character(ba$ID), 2, 3)) %% 2 == 1,]; b <- glmer(y01 ~ trt + (1|ID), ba, binomial, control=gctl)
mu <- b@resp$mu; s <- 0
for (i in seq_along(mu)) { w <- ba$y01; w[i] <- 1-w[i]; r <- refit(b, newresp=w, control=gctl); s <- s + mu[i]*(1-mu[i])*(1-2*ba$y01[i])*(qlogis(r@resp$mu[i])-qlogis(mu[i])) }
out$bacteria_caic <- list(formula="y ~ trt + (1|ID)", loglik=sum(dbinom(ba$y01,1,mu,log=TRUE)), df=s)
out$versions <- sapply(c("lme4","lmerTest","RLRsim","cAIC4","pbkrtest"), function(p) as.character(packageVersion(p)))
write_json(out, "selection.json", digits=15, auto_unbox=TRUE, null="null", na="null")
