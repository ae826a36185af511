"""Distributions on the real line (the lognormal by the logarithm of its response).

With weights ``var y = sigma^2 / w``, as in lme4; ``z = (y - mu) sqrt(w) / sigma``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.checks import check_positive, check_weights
from lmmformula.families.distribution import Distribution, Normal, Support, WeightsAre
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part
from lmmformula.families.special import LOG_2PI, digamma_step, lgamma_step, namespace
from lmmformula.families.tails import normal_tails, student_tails
from lmmformula.typing import Namespace

__all__ = ["Gaussian", "Lognormal", "Student"]


def _itself(y: Array) -> Array:
    return y


def _nothing(y: Array) -> float:
    return 0.0


def _log(y: Array) -> Array:
    if not (y > 0).all():
        raise DataError(
            f"{int((y <= 0).sum())} of {len(y)} values of the response are zero or negative, which a lognormal "
            "response cannot be. Remove these rows, or model the response as gaussian."
        )
    return np.log(y)


def _minus_log(y: Array) -> Array:
    return -np.log(y)


def _normal(z2: Array, a: Maybe, w: Maybe) -> Array:
    """l of squared residuals in units of sigma / sqrt(w)."""
    return -0.5 * (LOG_2PI + z2) + 0.5 * namespace(w).log(w) - a


@dataclass(frozen=True, slots=True)
class Gaussian(Distribution):
    """``l = -log(2 pi sigma^2 / w)/2 - z^2/2``, a = log sigma."""

    name: ClassVar[str] = "gaussian"
    mean_range: ClassVar[MeanRange] = "real"
    links: ClassVar[tuple[str, ...]] = ("identity", "log", "inverse")
    canonical: ClassVar[str] = "identity"
    weights_are: ClassVar[WeightsAre] = "precision"
    normal: ClassVar[Normal | None] = Normal("response", _itself, _nothing, True)
    scales: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        meaning = "residual standard deviation: var = sigma^2"
        return (Auxiliary("sigma", meaning, role="dispersion", power=1.0, typical=-1.0),)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        return _normal(w * ((y - c[0]) * xp.exp(-aux[0])) ** 2, aux[0], w)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        (mu,), (a,) = c, aux
        precision = w * np.exp(-2.0 * a)
        residual = y - mu
        d1 = precision * residual
        z2 = d1 * residual
        loglik = constant + _normal(z2, a, w)
        if not derivatives:
            return Density(loglik, (Part(d1, -precision),))
        return Density(loglik, (Part(d1, -precision, 0.0, (-2 * d1,), (2 * precision,)),), (z2 - 1.0,))

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        precision = w * np.exp(-2.0 * aux[0])
        return (Information(precision, 0.0, (-2 * precision,)),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return np.ones(np.shape(mu))

    def dispersion(self, aux: Aux) -> Maybe:
        return np.exp(2.0 * aux[0])

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return w * (y - mu) ** 2

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return mu + np.exp(aux[0]) / np.sqrt(w) * rng.standard_normal(np.shape(mu))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import ndtr

        return ndtr((y - mu) * np.sqrt(w) * np.exp(-aux[0]))

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        return normal_tails((y - c[0]) * xp.exp(-aux[0]) * np.sqrt(w), xp)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (_log_sd(w * (y - mu) ** 2),)


@dataclass(frozen=True, slots=True)
class Lognormal(Gaussian):
    """``log y ~ N(mu, sigma^2 / w)``: mu is the mean of log y, exp(mu) the median of y.

    The same model as a Gaussian one of log(y), whose log-likelihood it shares up to the Jacobian ``-sum log y``,
    so that it can be compared with other families of y. Coefficients are those of the model of log(y), and
    random effects stay Gaussian on the scale where the residuals are. (glmmTMB instead models log E y, with
    sigma the standard deviation of y; its coefficients differ.)
    """

    name: ClassVar[str] = "lognormal"
    links: ClassVar[tuple[str, ...]] = ("identity",)
    normal: ClassVar[Normal | None] = Normal("log response", _log, _minus_log, False)
    scales: ClassVar[bool] = False

    @property
    def support(self) -> Support:
        return "positive"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (Auxiliary("sigma", "standard deviation of log y", role="dispersion", typical=-1.0),)

    # super() cannot be named in a slotted dataclass, which is built twice
    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        return Gaussian.log_density(self, namespace(y).log(y), c, aux, w, xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        return Gaussian.density(self, np.log(y), c, aux, w, constant, derivatives=derivatives)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return -np.log(y)

    def mean(self, mu: Array, aux: Aux) -> Array:
        return np.exp(mu + 0.5 * np.exp(2.0 * aux[0]))

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        s2 = np.exp(2.0 * aux[0])
        return np.expm1(s2) * np.exp(2.0 * mu + s2)

    def dispersion(self, aux: Aux) -> Maybe:
        return 1.0

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return w * (np.log(y) - mu) ** 2

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return np.exp(Gaussian.draw(self, rng, mu, aux, w))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        with np.errstate(divide="ignore"):
            return Gaussian.cdf(self, np.log(np.maximum(y, 0.0)), mu, aux, w)

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        return Gaussian.tails(self, np.log(y), c, aux, w, xp)

    def start(self, y: Array, w: Maybe) -> Array:
        return np.log(y)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (_log_sd(w * (np.log(y) - mu) ** 2),)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        check_positive(y, label, self.name)
        check_weights(w, label, zero=False)


def _df(b: Array) -> Array:
    return 1.0 + np.exp(b)


def _df_predictor(df: Array) -> Array:
    return np.log(np.asarray(df) - 1.0)


@dataclass(frozen=True, slots=True)
class Student(Distribution):
    """Student's t with location mu and scale ``sigma / sqrt(w)`` (sigma is not the standard deviation).

    ``l = lgamma((df+1)/2) - lgamma(df/2) - log(pi df sigma^2 / w)/2 - (df+1)/2 log(1 + z^2/df)``.
    Estimated degrees of freedom are ``1 + exp(b)``: above 1, so that the mean exists (brms's parameterisation).

    Parameters
    ----------
    df : float, optional
        Fixed degrees of freedom; estimated when None.
    """

    forgives: ClassVar[bool] = True
    name: ClassVar[str] = "student"
    mean_range: ClassVar[MeanRange] = "real"
    links: ClassVar[tuple[str, ...]] = ("identity", "log", "inverse")
    weights_are: ClassVar[WeightsAre] = "precision"
    scales: ClassVar[bool] = True

    df: float | None = None

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        sigma = Auxiliary("sigma", "scale: var = sigma^2 df / (df - 2)", power=1.0, typical=-1.0)
        if self.df is not None:
            return (sigma,)
        df = Auxiliary(
            "df",
            "",
            _df,
            _df_predictor,
            role="shape",
            range="above one",
            link="logm1",
            prior="gamma(2, 0.1)",
            aliases=("nu",),
            title="Degrees of freedom",
            typical=1.5,
        )
        return (sigma, df)

    @property
    def label(self) -> str:
        return self.name if self.df is None else f"{self.name}(df={self.df:g})"

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        df = 1.0 + xp.exp(aux[1]) if self.df is None else self.df
        tail = xp.log1p(((y - c[0]) * xp.exp(-aux[0])) ** 2 * w / df)
        return _student(0.5 * namespace(w).log(w) - aux[0], df, tail, xp)

    def _scale_df(self, aux: Aux, w: Maybe) -> tuple[Maybe, Maybe]:
        return np.sqrt(w) * np.exp(-aux[0]), _df(aux[1]) if self.df is None else self.df  # type: ignore[arg-type]

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        k, df = self._scale_df(aux, w)
        z = (y - c[0]) * k
        u = df + z**2
        tail = np.log1p(z**2 / df)
        loglik = constant + _student(np.log(k), df, tail, np)
        # g = -dl/dz and its derivatives in z
        g, g1 = (df + 1) * z / u, (df + 1) * (df - z**2) / u**2
        if not derivatives:
            return Density(loglik, (Part(k * g, -(k**2) * g1),))
        g2 = 2 * (df + 1) * z * (z**2 - 3 * df) / u**3
        d1_aux, d2_aux = (-k * (g + z * g1),), (k**2 * (2 * g1 + z * g2),)
        d_aux = (z * g - 1.0,)
        if self.df is None:
            rate = df - 1.0  # d df / db
            by_df = digamma_step(df / 2, 0.5) - 1.0 / df - tail + (df + 1) * z**2 / (df * u)
            g_df = z * (z**2 - 1) / u**2
            g1_df = ((3 * z**2 - 1) * u - 4 * z**2 * (z**2 - 1)) / u**3
            d1_aux, d2_aux = (*d1_aux, rate * k * g_df), (*d2_aux, -rate * k**2 * g1_df)
            d_aux = (*d_aux, 0.5 * rate * by_df)
        return Density(loglik, (Part(k * g, -(k**2) * g1, k**3 * g2, d1_aux, d2_aux),), d_aux)

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        k, df = self._scale_df(aux, w)
        value = k**2 * (df + 1) / (df + 3)
        by_df = () if self.df is not None else (2 * k**2 * (df - 1.0) / (df + 3) ** 2,)
        return (Information(value, 0.0, (-2 * value, *by_df)),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        _, df = self._scale_df(aux, 1.0)
        with np.errstate(divide="ignore"):
            return np.where(np.asarray(df) > 2, df / np.maximum(df - 2.0, 0.0), np.inf) * np.ones(
                np.shape(mu)
            )

    def dispersion(self, aux: Aux) -> Maybe:
        return np.exp(2.0 * aux[0])

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        k, df = self._scale_df(aux, w)
        return np.exp(2.0 * aux[0]) * (df + 1) * np.log1p(((y - mu) * k) ** 2 / df)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        k, df = self._scale_df(aux, w)
        return mu + rng.standard_t(df, np.shape(mu)) / k

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        from scipy.special import stdtr

        k, df = self._scale_df(aux, w)
        return stdtr(df, (y - mu) * k)

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        if self.df is None:
            raise PlanError(
                "cens() and trunc() take family 'student' with known degrees of freedom: write family='student(df=4)', or "
                "compare several."
            )
        return student_tails((y - c[0]) * xp.exp(-aux[0]) * np.sqrt(w), self.df, xp)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        sigma = _log_sd(w * (y - mu) ** 2)
        return (sigma,) if self.df is not None else (sigma, float(np.log(9.0)))


def _student(log_k: Maybe, df: Maybe, tail: Array, xp: Namespace) -> Array:
    return log_k - 0.5 * LOG_2PI + lgamma_step(0.5 * df, 0.5, xp) - 0.5 * (df + 1.0) * tail


def _log_sd(squares: Array) -> float:
    return 0.5 * float(np.log(max(float(np.mean(squares)), 1e-300)))
