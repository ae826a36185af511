# ordinal::clmm on the rows that benchmarks/ordinal_speed.py wrote: Rscript benchmarks/ordinal_speed.R ROWS.csv LINK
suppressMessages(library(ordinal))
given <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(given[1])
rows$y <- ordered(rows$y)
rows$person <- factor(rows$person)
rows$item <- factor(rows$item)
time <- system.time(m <- clmm(y ~ x + f + (1 | person) + (1 | item), rows, link = given[2]))
cat(sprintf('{"cpu": %.3f, "logLik": %.9f}\n', sum(time[1:2]), as.numeric(logLik(m))))
