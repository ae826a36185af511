"""The checks of a fit as an object that prints what was found in words, the worst first."""

from __future__ import annotations

from html import escape

from lmmformula.inference.checking.finding import ORDER, Finding, Verdict
from lmmformula.inference.checking.report import Findings
from lmmformula.reporting.exhibits import Exhibit
from lmmformula.reporting.lines import wrapped

__all__ = ["Check", "findings_html"]

_HEADS: dict[Verdict, str] = {
    "problem": "PROBLEM",
    "doubtful": "Doubtful",
    "fine": "Fine",
    "not checked": "Not checked",
}


class Check(Findings):
    """What the checks of a fit found; printing gives sentences, ``frame`` a row for each.

    ``m.plot.check()`` draws the same fit.
    """

    def __repr__(self) -> str:
        lines = [*wrapped(self.title), ""]
        for finding in self.problems:
            head = f"{_HEADS[finding.verdict]} - {_subject(finding)}: "
            lines += wrapped(finding.found, head, "  ")
            lines += wrapped(finding.means, "  Means: ", "         ") if finding.means else []
            lines += wrapped(finding.advice, "  To do: ", "         ") if finding.advice else []
            lines.append("")
        for verdict in ORDER[2:]:
            rest = [f for f in self.findings if f.verdict == verdict]
            if rest:
                lines.append(f"{_HEADS[verdict]}:")
                lines += [line for f in rest for line in wrapped(f"{_subject(f)}: {f.found}", "  ", "    ")]
        return "\n".join(lines).rstrip()

    @property
    def title(self) -> str:
        """The model and how many findings there are of each kind."""
        fit = self.look.fit
        counts = [(v, sum(f.verdict == v for f in self.findings)) for v in ORDER]
        named = {
            "problem": "problem(s)",
            "doubtful": "doubtful",
            "fine": "fine",
            "not checked": "not checked",
        }
        told = ", ".join(f"{count} {named[v]}" for v, count in counts if count)
        subset = f" Residuals of {self.look.in_words}." if self.look.in_words else ""
        return f"Check of {fit.formula} ({fit.problem.family}, {fit.method}): {told}.{subset} Seed {self.look.seed}."

    def exhibit(self) -> Exhibit:
        """What a report shows of it: each finding, the worst first."""
        found = tuple(
            " ".join(
                part for part in (f"{_HEADS[f.verdict]} - {_subject(f)}: {f.found}", *_further(f)) if part
            )
            for verdict in ORDER
            for f in self.findings
            if f.verdict == verdict
        )
        return Exhibit("Model checks", said=(self.title,), findings=found)

    def _repr_html_(self) -> str:
        return f"<div><p><strong>{escape(self.title)}</strong></p>{findings_html(self.findings)}</div>"


def findings_html(findings: tuple[Finding, ...]) -> str:
    """Lists of findings: those to act on with what they mean, the others in one line each."""
    bad = [f for f in findings if f.verdict in ORDER[:2]]
    parts = []
    if bad:
        parts.append(f"<ul>{''.join(_item(f, full=True) for f in bad)}</ul>")
    for verdict in ORDER[2:]:
        rest = [f for f in findings if f.verdict == verdict]
        if rest:
            body = "".join(_item(f, full=False) for f in rest)
            parts.append(
                f"<details open><summary>{_HEADS[verdict]} ({len(rest)})</summary><ul>{body}</ul></details>"
            )
    return "".join(parts)


def _item(finding: Finding, *, full: bool) -> str:
    head = f"{_HEADS[finding.verdict]} &ndash; " if full else ""
    text = f"<strong>{head}{escape(_subject(finding))}</strong>: {escape(finding.found)}"
    more = [part for part in (finding.means, finding.advice) if part] if full else []
    return f"<li>{text}{''.join(f'<br>{escape(part)}' for part in more)}</li>"


def _further(finding: Finding) -> tuple[str, ...]:
    """What a finding to act on means, and what to do."""
    return (finding.means, finding.advice) if finding.verdict in ORDER[:2] else ()


def _subject(finding: Finding) -> str:
    """The check, and of what it is where there are several of it."""
    several = finding.check in ("normality", "linearity", "homogeneity", "singularity")
    return f"{finding.check} of {finding.about}" if several and finding.about else finding.check
