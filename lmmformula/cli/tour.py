"""``lmmformula tour``: what the package does, shown by doing it; each step says the Python that it runs."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["STEPS", "tour"]

STEPS = (
    (
        "Eighteen people sleep three hours a night. Reaction times grow by the day, for everybody at a speed of their own.",
        (
            "from lmmformula import fit, load_dataset, plan",
            'sleep = load_dataset("sleepstudy")',
            'm = fit("Reaction ~ Days + (Days | Subject)", sleep)',
            "print(m.summary())",
        ),
    ),
    (
        "Is it needed that the slopes vary? The p value knows that a variance cannot be negative.",
        ("print(m.ranova())",),
    ),
    (
        "A known person, and somebody new, on day 9, each with the interval of a new measurement.",
        (
            'new = {"Days": [9, 9], "Subject": ["308", "someone new"]}',
            'print(m.predict(new, new_levels="population", interval="prediction").round(1))',
        ),
    ),
    (
        "Binary answers of 316 persons to 24 items, crossed; and what a logistic regression without them gets wrong.",
        (
            'answers = load_dataset("VerbAgg")',
            'g = fit("r2 ~ Anger + btype + situ + (1 | id) + (1 | item)", answers, family="binomial")',
            "print(g.naivete().round(2))",
        ),
    ),
    (
        "Before a fit: how large it is, what it takes, and why this method. Nothing is fitted here.",
        ('print(plan("y ~ service + (1 | s) + (1 | d) + (1 | dept)", load_dataset("InstEval")))',),
    ),
    (
        "What cannot be done says so, where, and what to do.",
        (
            "try:",
            '    fit("Reaction ~ Days + (Days | Subject", sleep)',
            "except Exception as error:",
            "    print(error)",
        ),
    ),
)
"""Words and the lines of Python that they are about; all steps share their names."""


def tour(_: argparse.Namespace) -> int:
    """Run the steps, with their words and lines."""
    names: dict[str, Any] = {}
    for number, (words, lines) in enumerate(STEPS, start=1):
        print(f"\n[{number}/{len(STEPS)}] {words}\n")
        print("\n".join(("... " if line.startswith((" ", "except")) else ">>> ") + line for line in lines))
        exec("\n".join(lines), names)
    print("\nThe same from the shell: lmmformula --help. Data sets: lmmformula datasets.")
    return 0
