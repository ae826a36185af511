# Arguments: package, folder, formula, method, family, repeats, budget in seconds, way of asking lme4. Prints one line of JSON.
# Follows measure() of measure.py: a warm-up fit, then `repeats` fits, more of a quick one, none after the budget.
arguments <- commandArgs(trailingOnly = TRUE)
package <- arguments[1]
folder <- arguments[2]
model <- as.formula(arguments[3])
reml <- arguments[4] == "reml"
distribution <- arguments[5]
repeats <- as.integer(arguments[6])
budget <- as.numeric(arguments[7])
way <- if (length(arguments) > 7) arguments[8] else "default"
suppressWarnings(suppressPackageStartupMessages(library(package, character.only = TRUE)))

file <- file.path(folder, "data.csv")
if (requireNamespace("data.table", quietly = TRUE)) {
  data <- as.data.frame(data.table::fread(file))
} else {
  data <- read.csv(file)
}
for (path in list.files(folder, "\\.levels$", full.names = TRUE)) {
  name <- sub("\\.levels$", "", basename(path))
  data[[name]] <- factor(as.character(data[[name]]), levels = readLines(path))
}

peak_mb <- function() {
  status <- tryCatch(readLines("/proc/self/status"), error = function(e) character())
  line <- grep("^VmHWM", status, value = TRUE)
  if (length(line)) as.numeric(gsub("[^0-9]", "", line)) * 1024 / 1e6 else NA
}

ask <- if (package == "glmmTMB") {
  function() glmmTMB(model, data = data, family = distribution, REML = reml)
} else if (distribution == "gaussian") {
  control <- if (way == "default") lmerControl() else lmerControl(calc.derivs = FALSE)
  function() lmer(model, data = data, REML = reml, control = control)
} else if (way != "default") {
  control <- glmerControl(optimizer = "nloptwrap", calc.derivs = FALSE)
  function() glmer(model, data = data, family = distribution, nAGQ = if (way == "nagq0") 0 else 1, control = control)
} else {
  function() glmer(model, data = data, family = distribution, nAGQ = 1)
}

before <- peak_mb()
spent <- function() sum(proc.time()[c("user.self", "sys.self")])
timed <- function() {
  start <- Sys.time()
  fit <<- suppressMessages(suppressWarnings(ask()))
  as.numeric(Sys.time()) - as.numeric(start)
}
begun <- spent()
first <- timed()
cpu <- spent() - begun
times <- if (first > budget) first else numeric()
invisible(gc())
while (first <= budget && (length(times) < repeats || sum(times) < 0.2) && sum(times) <= budget) {
  times <- c(times, timed())
}

number <- function(x) if (is.na(x)) "null" else sprintf("%.15g", x)
cat(sprintf(
  '{"seconds": %s, "first": %s, "fits": %d, "memory": %s, "before": %s, "loglik": %s, "cpu": %s, "version": "%s"}\n',
  number(median(times)), number(first), length(times), number(peak_mb()), number(before),
  number(as.numeric(logLik(fit))), number(cpu), as.character(packageVersion(package))
))
