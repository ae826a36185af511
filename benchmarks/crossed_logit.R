# Arguments: program, folder, formula, file of the paper's functions or "", repeats, budget in seconds. Prints one line of JSON.
# Programs: glmer0 and glmer1 (glmer with nAGQ = 0 and 1), paper (the functions that Ghosh, Hastie & Owen published).
# Follows measure() of measure.py, except that a first fit longer than a second is itself the measurement.
arguments <- commandArgs(trailingOnly = TRUE)
program <- arguments[1]
folder <- arguments[2]
model <- as.formula(arguments[3])
code <- arguments[4]
repeats <- as.integer(arguments[5])
budget <- as.numeric(arguments[6])
options(warn = -1)

file <- file.path(folder, "data.csv")
if (requireNamespace("data.table", quietly = TRUE)) {
  data <- as.data.frame(data.table::fread(file))
} else {
  data <- read.csv(file)
}

if (program == "paper") {
  paper <- new.env(parent = globalenv())
  suppressPackageStartupMessages(sys.source(code, paper))
  x <- cbind(1, as.matrix(data[grep("^x", names(data))]))
  f1 <- as.integer(factor(data$g))
  f2 <- as.integer(factor(data$h))
  version <- "published functions"
  ask <- function() {
    found <- paper$backfitting_outer_loop(x, data$y, f1, f2, max_iter = 1000, trace.it = FALSE)
    spread <- paper$var_betahat_glmm(x, f1, f2, FALSE, found, epsilon = 1e-8, max_iter = 1000)
    list(beta = as.numeric(found$beta), sd = c(found$sigma_a, found$sigma_b), outer = found$iteration)
  }
} else {
  suppressPackageStartupMessages(library(lme4))
  version <- as.character(packageVersion("lme4"))
  nodes <- if (program == "glmer0") 0L else 1L
  ask <- function() {
    found <- suppressMessages(glmer(model, data = data, family = binomial, nAGQ = nodes))
    sds <- as.data.frame(VarCorr(found))
    list(beta = unname(fixef(found)), sd = sds$sdcor[match(c("g", "h"), sds$grp)], outer = found@optinfo$feval)
  }
}

peak_mb <- function() {
  status <- tryCatch(readLines("/proc/self/status"), error = function(e) character())
  line <- grep("^VmHWM", status, value = TRUE)
  if (length(line)) as.numeric(gsub("[^0-9]", "", line)) * 1024 / 1e6 else NA
}

before <- peak_mb()
timed <- function() {
  start <- Sys.time()
  fit <<- ask()
  as.numeric(Sys.time()) - as.numeric(start)
}
first <- timed()
times <- if (first > 1) first else numeric()
while (first <= 1 && length(times) < repeats && sum(times) <= budget) times <- c(times, timed())

numbers <- function(x) paste(ifelse(is.na(x), "null", sprintf("%.15g", x)), collapse = ", ")
cat(sprintf(
  '{"seconds": %s, "memory": %s, "before": %s, "outer": %d, "beta": [%s], "sd": [%s], "version": "%s"}\n',
  numbers(median(times)), numbers(peak_mb()), numbers(before), as.integer(fit$outer),
  numbers(fit$beta), numbers(fit$sd), version
))
