"""Every argument of the public calls, once: its name and what it may be."""

from __future__ import annotations

from collections.abc import Mapping

from lmmformula.arguments.kinds import (
    Kind,
    anything,
    bytes_of_memory,
    flag,
    flag_or_positive,
    formula,
    function,
    mapping,
    mappings,
    names,
    optional,
    path,
    real,
    reports,
    responses,
    seed,
    side,
    text,
    whole,
    word,
)
from lmmformula.arguments.kinds_of_data import axes, labels_of_rows, numbers_of_rows, positions, table

__all__ = ["ARGUMENTS"]

_LEVEL = real("a number between 0 and 1, for example 0.95", lambda x: 0.0 < x < 1.0)
_COLUMN_OR_ROWS = optional(
    numbers_of_rows("the name of a column, or one number for each row of the table", column=True)
)
_MOST = 10_000_000
"""More than any count that a computer gets to the end of."""
_COUNT = whole(1, _MOST)

ARGUMENTS: Mapping[str, Kind] = {
    # the model
    "formula": formula(),
    "data": table(),
    "family": anything(
        "the name of a family, such as 'binomial', a Family, or a mapping from responses to these"
    ),
    "weights": _COLUMN_OR_ROWS,
    "offset": _COLUMN_OR_ROWS,
    "contrasts": optional(mapping("a mapping from variables to contrasts, such as {'f': 'contr.sum'}")),
    "ziformula": optional(text("a one-sided formula such as '~ x'")),
    "dispformula": optional(text("a one-sided formula such as '~ x'")),
    "missing": word("drop", "raise"),
    "rescor": optional(flag()),
    "entrance": word("auto", "cells", "rows"),
    "context": optional(mapping("a mapping from names to functions and constants")),
    "data2": optional(
        mapping("a mapping from names to covariance matrices, pedigrees, trees or adjacencies")
    ),
    "priors": optional(
        mappings("a mapping from parameters to text, such as {'b': 'normal(0, 5)'}, or a list of prior(...)")
    ),
    "seed": seed(),
    "progress": reports(),
    "checkpoint": optional(path()),
    "memory_limit": optional(bytes_of_memory()),
    "sample": optional(
        real(
            "a number of rows, or a share of them between 0 and 1",
            lambda x: x > 0.0 and (x < 1.0 or x.is_integer()),
        )
    ),
    # comparisons
    "methods": anything("names of methods, or a mapping from names to arguments of fit()"),
    "repeats": _COUNT,
    "reference": optional(text("the name of a method that was fitted")),
    "fits": anything("fits, one by one"),
    "refit": flag(),
    "type": anything("1, 2 or 3; of bootstrap intervals 'percentile', 'basic', 'normal' or 'bca'"),
    # many fits
    "responses": responses(),
    "moderated": flag(),
    "effect": mapping("a mapping from coefficients to their values, such as {'x': 0.5}"),
    "vary": optional(mapping("a mapping from one name to a list of values, such as {'subject': [20, 40]}")),
    "within": optional(names("the name of a grouping factor, or a list of these")),
    "design": optional(table()),
    "alpha": real("a number between 0 and 1, for example 0.05", lambda x: 0.0 < x < 1.0),
    "term": optional(text("the name of a coefficient")),
    # what follows from a fit
    "level": _LEVEL,
    "n": _COUNT,
    "y": numbers_of_rows(
        "one number for each row of the fit (refit_many() takes many responses)", column=False
    ),
    "rows": positions(),
    "newdata": optional(table()),
    "re_form": optional(text("'all', None or a formula such as '~ (1 | g)'")),
    "new_levels": word("error", "population", "sample", "na"),
    "interval": optional(word("confidence", "prediction")),
    "se": flag(),
    "uncertainty": optional(word("full")),
    "correlation": optional(flag()),
    "table": anything("a pandas Series or DataFrame, or a dict of them"),
    "condsd": flag(),
    "conf_int": flag(),
    "predictive": flag(),
    "log_likelihood": flag(),
    "statistic": optional(function("a function of a fit")),
    "workers": whole(1, 1_000),
    "points": whole(2, _MOST),
    "parameters": optional(names("names of parameters")),
    "parameter": text("the name of a parameter"),
    "ddf": optional(text("the name of a rule for degrees of freedom")),
    "hypotheses": names("text such as 'Days > 5', or a list of such texts"),
    "vcov": optional(word("CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3")),
    "cluster": optional(
        labels_of_rows("the name of a grouping factor or column, or one label for each row of the table")
    ),
    "effects": text("'all' or a part of the table"),
    "kind": text("the name of a kind"),
    "method": optional(text("the name of a method")),
    # checks
    "conditional": flag(),
    "by_group": optional(
        numbers_of_rows("the name of a column or grouping factor, or one entry for each row", column=True)
    ),
    "time": optional(numbers_of_rows("the name of a column, or one number for each row", column=True)),
    "coords": optional(anything("names of columns of coordinates, or numbers (rows, d)")),
    "moment_match": flag(),
    "reloo": flag(),
    "folds": whole(2, _MOST),
    "conditions": optional(mapping("a mapping from columns to where they are held")),
    # selection
    "reduce": flag(),
    "test": optional(text("the name of a test")),
    "direction": text("'backward'"),
    "score": optional(names("names of scores")),
    "alpha_random": _LEVEL,
    "alpha_fixed": _LEVEL,
    "keep": optional(names("names of terms of the fixed part")),
    "variances": word("estimated", "known"),
    "criterion": word("aicc", "aic", "bic", "caic"),
    # marginal means
    "specs": names("names of variables, such as 'a', 'a * b', 'a | b' or 'pairwise ~ a'"),
    "at": optional(mapping("a mapping from variables to values, such as {'temp': [180, 200]}")),
    "var": text("the name of a numeric variable"),
    "regrid": flag(),
    "bias_adjust": flag_or_positive("True, False, or a standard deviation"),
    "average": word("typical", "population"),
    "adjust": optional(
        word(
            *("none", "tukey", "sidak", "bonferroni", "holm", "hochberg", "fdr", "bh", "by"),
            *("scheffe", "mvt", "single-step", "dunnett", "dunnettx"),
            any_case=True,
        )
    ),
    "simple": optional(names("names of variables")),
    "interaction": anything(
        "names of contrasts, one or one for each factor, or a mapping from factors to these"
    ),
    "ref": anything("a level, or its place"),
    "reverse": flag(),
    "side": side(),
    "null": real("a number", lambda x: True),
    "delta": real("a number of at least 0", lambda x: x >= 0.0),
    "comparisons": flag(),
    # reports and plots
    "results": anything("a fit, a comparison of methods, or a result of one of the verbs of a fit"),
    "sections": anything("a list of results, or a mapping from headings to results"),
    "path": path(),
    "title": optional(text(blank=True)),
    "date": text(blank=True),
    "label": text(blank=True),
    "index": text("the name of a column", blank=True),
    "name": text("the name of a data set"),
    "plots": flag(),
    "naivete": flag(),
    "profiles": optional(flag()),
    "ax": axes(),
    "intercept": flag(),
    "variable": optional(text("the name of a variable of the fixed part")),
    "spread": flag(),
    "group": optional(text("the name of a grouping factor")),
    "measure": text("the name of a measure of influence"),
    "by": text("the name of a measure of influence"),
    "count": _COUNT,
    "column": optional(text("the name of a column of random effects")),
    "most": whole(2, _MOST),
    "bins": optional(_COUNT),
}
"""Argument -> what it may be. Options of methods say so in :mod:`lmmformula.methods.options`, functions that mean
something else by a name where they are defined."""
