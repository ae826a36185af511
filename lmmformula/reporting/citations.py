"""What to cite for a fit: the software, and the papers of the methods that made its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Citation", "bibtex", "citations"]


@dataclass(frozen=True, slots=True)
class Citation:
    """One reference.

    Attributes
    ----------
    key : str
        Of the BibTeX entry.
    entry : str
        Type of the entry: "article", "misc", ...
    author, title, year : str
        Authors as BibTeX writes them, ``Last, First and Last, First``.
    place : tuple of (field, value) pairs
        Journal, volume, pages and the like, in the order of the entry.
    why : str
        What of the fit it stands for.
    """

    key: str
    entry: str
    author: str
    title: str
    year: str
    place: tuple[tuple[str, str], ...]
    why: str

    @property
    def text(self) -> str:
        """One line of a list of references."""
        fields = dict(self.place)
        where = fields.get("journal") or fields.get("booktitle") or fields.get("howpublished", "")
        if "volume" in fields:
            where += f" {fields['volume']}"
        if "number" in fields:
            where += f"({fields['number']})"
        if "pages" in fields:
            where += ", " + fields["pages"].replace("--", "–")
        tail = f". doi:{fields['doi']}" if "doi" in fields else ""
        tail += f". arXiv:{fields['eprint']}" if "eprint" in fields else ""
        authors = self.author.replace(" and ", "; ").replace("{", "").replace("}", "")
        return f"{authors} ({self.year}). {self.title}.{' ' + where if where else ''}{tail}."

    @property
    def link(self) -> str:
        """Address of the paper; empty if none is known."""
        fields = dict(self.place)
        if "doi" in fields:
            return f"https://doi.org/{fields['doi']}"
        return f"https://arxiv.org/abs/{fields['eprint']}" if "eprint" in fields else ""

    @property
    def bibtex(self) -> str:
        """The BibTeX entry; the title is braced, so that its capitals stay."""
        fields = (("author", self.author), ("title", f"{{{self.title}}}"), ("year", self.year), *self.place)
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields)
        return f"@{self.entry}{{{self.key},\n{body}\n}}"


def _article(
    key: str, author: str, title: str, year: str, journal: str, volume: str, pages: str, doi: str, why: str
) -> Citation:
    number = volume.partition("(")[2].rstrip(")")
    place = (("journal", journal), ("volume", volume.partition("(")[0]))
    place += (("number", number),) if number else ()
    place += (("pages", pages),)
    return Citation(key, "article", author, title, year, place + ((("doi", doi),) if doi else ()), why)


_LME4 = _article(
    "bates2015lme4",
    "Bates, Douglas and Mächler, Martin and Bolker, Ben and Walker, Steve",
    "Fitting Linear Mixed-Effects Models Using lme4",
    "2015",
    "Journal of Statistical Software",
    "67(1)",
    "1--48",
    "10.18637/jss.v067.i01",
    "formula language and penalised least squares",
)
_REML = _article(
    "patterson1971recovery",
    "Patterson, H. D. and Thompson, R.",
    "Recovery of Inter-Block Information when Block Sizes Are Unequal",
    "1971",
    "Biometrika",
    "58(3)",
    "545--554",
    "10.1093/biomet/58.3.545",
    "restricted maximum likelihood",
)
_LMERTEST = _article(
    "kuznetsova2017lmertest",
    "Kuznetsova, Alexandra and Brockhoff, Per B. and Christensen, Rune H. B.",
    "lmerTest Package: Tests in Linear Mixed Effects Models",
    "2017",
    "Journal of Statistical Software",
    "82(13)",
    "1--26",
    "10.18637/jss.v082.i13",
    "Satterthwaite's degrees of freedom",
)
_LAPLACE = _article(
    "tierney1986accurate",
    "Tierney, Luke and Kadane, Joseph B.",
    "Accurate Approximations for Posterior Moments and Marginal Densities",
    "1986",
    "Journal of the American Statistical Association",
    "81(393)",
    "82--86",
    "10.1080/01621459.1986.10478240",
    "Laplace's approximation",
)
_QUADRATURE = _article(
    "pinheiro1995approximations",
    "Pinheiro, José C. and Bates, Douglas M.",
    "Approximations to the Log-Likelihood Function in the Nonlinear Mixed-Effects Model",
    "1995",
    "Journal of Computational and Graphical Statistics",
    "4(1)",
    "12--35",
    "10.1080/10618600.1995.10474663",
    "adaptive Gauss-Hermite quadrature",
)
_PQL = _article(
    "breslow1993approximate",
    "Breslow, N. E. and Clayton, D. G.",
    "Approximate Inference in Generalized Linear Mixed Models",
    "1993",
    "Journal of the American Statistical Association",
    "88(421)",
    "9--25",
    "10.1080/01621459.1993.10594284",
    "penalised quasi-likelihood",
)
_SCHALL = _article(
    "schall1991estimation",
    "Schall, Robert",
    "Estimation in Generalized Linear Models with Random Effects",
    "1991",
    "Biometrika",
    "78(4)",
    "719--727",
    "10.1093/biomet/78.4.719",
    "variances by effective degrees of freedom",
)
_BACKFITTING = _article(
    "ghosh2022scalable",
    "Ghosh, Swarnadip and Hastie, Trevor and Owen, Art B.",
    "Scalable Logistic Regression with Crossed Random Effects",
    "2022",
    "Electronic Journal of Statistics",
    "16(2)",
    "4604--4635",
    "",
    "clubbed backfitting, and naivete and inefficiency",
)
_KRYLOV = Citation(
    "kuendig2025scalable",
    "misc",
    "Kündig, Pascal and Sigrist, Fabio",
    "Scalable Krylov Subspace Methods for Generalized Mixed Effects Models with Crossed Random Effects",
    "2025",
    (("eprint", "2505.09552"), ("archiveprefix", "arXiv")),
    "Krylov methods for crossed random effects",
)
_LANCZOS = _article(
    "ubaru2017fast",
    "Ubaru, Shashanka and Chen, Jie and Saad, Yousef",
    "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature",
    "2017",
    "SIAM Journal on Matrix Analysis and Applications",
    "38(4)",
    "1075--1099",
    "10.1137/16M1104974",
    "the log-determinant and its standard error",
)
_MARGINAL = Citation(
    "lai2024hamiltonian",
    "inproceedings",
    "Lai, Jinlin and Domke, Justin and Sheldon, Daniel",
    "Hamiltonian Monte Carlo Inference of Marginalized Linear Mixed-Effects Models",
    "2024",
    (("booktitle", "Advances in Neural Information Processing Systems"), ("volume", "37")),
    "effects integrated out before sampling",
)
_NUTS = _article(
    "hoffman2014nouturn",
    "Hoffman, Matthew D. and Gelman, Andrew",
    "The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian Monte Carlo",
    "2014",
    "Journal of Machine Learning Research",
    "15(47)",
    "1593--1623",
    "",
    "the sampler",
)
_RHAT = _article(
    "vehtari2021rank",
    "Vehtari, Aki and Gelman, Andrew and Simpson, Daniel and Carpenter, Bob and Bürkner, Paul-Christian",
    "Rank-Normalization, Folding, and Localization: An Improved R-hat for Assessing Convergence of MCMC",
    "2021",
    "Bayesian Analysis",
    "16(2)",
    "667--718",
    "10.1214/20-BA1221",
    "R-hat, effective sample sizes and rank plots",
)

_NUMPYRO = Citation(
    "phan2019composable",
    "misc",
    "Phan, Du and Pradhan, Neeraj and Jankowiak, Martin",
    "Composable Effects for Flexible and Accelerated Probabilistic Programming in NumPyro",
    "2019",
    (("eprint", "1912.11554"), ("archiveprefix", "arXiv")),
    "the implementation of the sampler",
)
_PARETO = _article(
    "vehtari2024pareto",
    "Vehtari, Aki and Simpson, Daniel and Gelman, Andrew and Yao, Yuling and Gabry, Jonah",
    "Pareto Smoothed Importance Sampling",
    "2024",
    "Journal of Machine Learning Research",
    "25(72)",
    "1--58",
    "",
    "importance weights and their diagnostic",
)
_BY_SAMPLER = {"nuts": (_NUTS, _NUMPYRO), "importance": (_PARETO,)}

_BY_KIND = {
    "exact": (),
    "laplace": (_LAPLACE,),
    "fast": (_LAPLACE,),
    "quadrature": (_QUADRATURE,),
    "krylov": (_KRYLOV, _LANCZOS),
    "quasi": (_PQL, _SCHALL, _BACKFITTING),
    "corrected": (_PQL, _SCHALL, _BACKFITTING, _LAPLACE),
    "posterior": (_MARGINAL, _RHAT),
}


def citations(*fits: Fitted, naivete: bool = False) -> tuple[Citation, ...]:
    """References of the methods behind the fits, each once, the software first.

    Parameters
    ----------
    *fits : Fit
    naivete : bool
        Whether :meth:`Fit.naivete` is reported too.
    """
    found = [_software(), _LME4]
    for fit in fits:
        found += [_REML] if fit.estimate.restricted else []
        found += [_LMERTEST] if fit.problem.terms and fit.inference.is_gaussian else []
        found += [_LAPLACE] if fit.llf_stderr and not fit.problem.is_linear else []
        found += _BY_KIND[fit.backend.trust] if fit.problem.terms else ()
        found += _BY_SAMPLER.get(fit.inference.sampler, ())
    found += [_BACKFITTING] if naivete else []
    return tuple(dict.fromkeys(found))


def bibtex(references: Iterable[Citation]) -> str:
    """The entries as one block."""
    return "\n\n".join(reference.bibtex for reference in references)


def _software() -> Citation:
    from lmmformula.version import __version__

    return Citation(
        "lmmformula",
        "misc",
        "{The lmmformula developers}",
        "lmmformula: Mixed Models from One Formula",
        "2026",
        (("howpublished", f"Python package, version {__version__}"),),
        "the software",
    )
