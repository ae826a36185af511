"""Seeded data of random-effect structures: curves, animals, repeated visits, a field. Needs numpy and pandas alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Herd", "curves", "field", "herd", "visits"]

Numbers = NDArray[np.float64]


def curves(rows: int = 10_000, groups: int = 200) -> pd.DataFrame:
    """Three curves and a random intercept: y, x, z, w, g."""
    rng = np.random.default_rng(1)
    g = rng.integers(0, groups, rows)
    x, z, w = rng.uniform(size=(3, rows))
    mean = np.sin(6 * x) + z**2 + 0.3 * np.cos(9 * w)
    y = mean + 0.5 * rng.normal(size=groups)[g] + 0.6 * rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "z": z, "w": w, "g": [f"g{v:03d}" for v in g]})


@dataclass(frozen=True, slots=True)
class Herd:
    """A pedigree and a record of each animal.

    Attributes
    ----------
    rows : DataFrame
        y, x, sex, animal.
    pedigree : DataFrame
        animal, sire, dam.
    """

    rows: pd.DataFrame
    pedigree: pd.DataFrame


def herd(animals: int = 20_000, generations: int = 10, *, heritability: float = 0.4) -> Herd:
    """Discrete generations; a tenth of one are the dams of the next, a tenth of these as many sires, mated at random."""
    rng, per = np.random.default_rng(1), animals // generations
    sires, dams = max(per // 10, 2), max(per // 2, 4)
    sire, dam = np.full(animals, -1), np.full(animals, -1)
    for generation in range(1, generations):
        before = rng.permutation(np.arange((generation - 1) * per, generation * per))
        own = slice(generation * per, (generation + 1) * per)
        sire[own], dam[own] = rng.choice(before[:sires], per), rng.choice(before[sires : sires + dams], per)
    value = np.zeros(animals)
    for i, z in enumerate(rng.normal(size=animals)):
        parents = [p for p in (sire[i], dam[i]) if p >= 0]
        value[i] = sum(value[p] for p in parents) / 2 + z * np.sqrt(1 - len(parents) / 4)
    x, sex = rng.normal(size=animals), rng.integers(0, 2, animals)
    noise = np.sqrt(1.0 - heritability) * rng.normal(size=animals)
    y = 10 + 0.5 * x + 0.3 * sex + np.sqrt(heritability) * value + noise
    name = np.array([*(f"a{i}" for i in range(animals)), None], dtype=object)
    rows = pd.DataFrame({"y": y, "x": x, "sex": np.where(sex, "m", "f"), "animal": name[:animals]})
    return Herd(rows, pd.DataFrame({"animal": name[:animals], "sire": name[sire], "dam": name[dam]}))


def visits(subjects: int = 500, times: int = 8) -> pd.DataFrame:
    """Repeated visits of two arms with a covariance of their own, dropout and gaps: y, arm, visit, subject."""
    rng = np.random.default_rng(1)
    half = rng.normal(size=(times, times))
    cov = half @ half.T / times + np.diag(np.linspace(0.5, 2, times))
    errors = rng.multivariate_normal(np.zeros(times), cov, size=subjects)
    subject, visit = np.repeat(np.arange(subjects), times), np.tile(np.arange(1, times + 1), subjects)
    arm = np.repeat(rng.choice(["a", "b"], subjects), times)
    y = 1 + 0.3 * visit + (arm == "b") * 0.1 * visit + errors.ravel()
    last = np.repeat(rng.integers(3, 14, subjects), times)
    kept = (visit <= last) & (rng.uniform(size=visit.size) > 0.03)
    table = pd.DataFrame(
        {"y": y, "arm": arm, "visit": [f"v{v}" for v in visit], "subject": [f"s{s:03d}" for s in subject]}
    )
    return table.loc[kept].reset_index(drop=True)


def field(locations: int = 500) -> pd.DataFrame:
    """One observation at each of some points in the plane, exponential covariance and noise: y, x, cx, cy, one."""
    rng = np.random.default_rng(1)
    side = 10.0 * np.sqrt(locations / 500)
    at = rng.uniform(0, side, (locations, 2)).round(4)
    distance = np.sqrt(((at[:, None] - at[None]) ** 2).sum(axis=2))
    b = np.linalg.cholesky(np.exp(-distance / 2)) @ rng.normal(size=locations)
    x = rng.normal(size=locations)
    y = 1 + 0.5 * x + b + 0.5 * rng.normal(size=locations)
    return pd.DataFrame({"y": y, "x": x, "cx": at[:, 0], "cy": at[:, 1], "one": "a"})
