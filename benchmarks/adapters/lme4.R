# Arguments: folder, formula, method, repeats, budget in seconds. Prints one line of JSON.
# Follows measure() of measure.py: a warm-up fit, then `repeats` fits, more of a quick one, none after the budget.
suppressPackageStartupMessages(library(lme4))

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
model <- as.formula(arguments[2])
reml <- arguments[3] == "reml"
repeats <- as.integer(arguments[4])
budget <- as.numeric(arguments[5])

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

before <- peak_mb()
timed <- function() {
  start <- Sys.time()
  fit <<- suppressMessages(suppressWarnings(lmer(model, data = data, REML = reml)))
  as.numeric(Sys.time()) - as.numeric(start)
}
first <- timed()
times <- if (first > budget) first else numeric()
invisible(gc())
while (first <= budget && (length(times) < repeats || sum(times) < 0.2) && sum(times) <= budget) {
  times <- c(times, timed())
}

number <- function(x) if (is.na(x)) "null" else sprintf("%.15g", x)
cat(sprintf(
  '{"seconds": %s, "first": %s, "fits": %d, "memory": %s, "before": %s, "loglik": %s, "version": "%s"}\n',
  number(median(times)), number(first), length(times), number(peak_mb()), number(before),
  number(as.numeric(logLik(fit))), as.character(packageVersion("lme4"))
))
