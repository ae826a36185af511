"""Two crossed factors of any size, Gaussian or binary: seeded arrays that every program of the Krylov studies reads alike.

Needs numpy alone, so that a peer's interpreter can use it. Rows pair the factors' levels at random; five standard normal
predictors. Variances are those of the paper's kind of design, 0.25 for each factor and for the error, and the
predictors' part has as much variance as the two factors together.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["FORMULA", "FRAME_COLUMNS", "Data", "Setting", "design", "frame", "read_arrays", "write_arrays"]

Data = dict[str, np.ndarray]

FORMULA = "y ~ x1 + x2 + x3 + x4 + x5 + (1 | g) + (1 | h)"
FRAME_COLUMNS = ("x1", "x2", "x3", "x4", "x5")
SLOPES = np.sqrt(0.1) * np.array([1.0, -1.0, 1.0, -1.0, 1.0])
VARIANCE = 0.25


@dataclass(frozen=True, slots=True)
class Setting:
    """One data set.

    Attributes
    ----------
    family : {"gaussian", "binomial"}
    rows : int
    levels : tuple of int
        Of the two factors.
    intercept : float
    effect_variances : tuple of float
        Of the two factors.
    tail : float or None
        Tail index of the Pareto popularity of levels; None for levels that are all alike.
    seed : int
    """

    family: str
    rows: int
    levels: tuple[int, int]
    intercept: float = 0.0
    effect_variances: tuple[float, float] = (VARIANCE, VARIANCE)
    tail: float | None = None
    seed: int = 1

    @property
    def key(self) -> dict[str, Any]:
        """What tells settings apart in a record."""
        return asdict(self) | {"levels": list(self.levels), "effect_variances": list(self.effect_variances)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Response y, codes g and h, predictors x, (rows, 5)."""
        rng = np.random.default_rng(self.seed)
        codes = [self._codes(rng, count) for count in self.levels]
        x = rng.standard_normal((self.rows, len(SLOPES)))
        eta = self.intercept + x @ SLOPES
        for code, count, variance in zip(codes, self.levels, self.effect_variances, strict=True):
            eta += np.sqrt(variance) * rng.standard_normal(count)[code]
        if self.family == "gaussian":
            y = eta + np.sqrt(VARIANCE) * rng.standard_normal(self.rows)
        else:
            y = (rng.random(self.rows) * (1.0 + np.exp(-eta)) < 1.0).astype(float)
        return {"y": y, "g": codes[0], "h": codes[1], "x": x}

    def _codes(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Levels that each occur, the rest of the rows at random."""
        weights = np.ones(count) if self.tail is None else 1.0 + rng.pareto(self.tail, count)
        more = rng.choice(count, size=self.rows - count, p=weights / weights.sum())
        return rng.permutation(np.concatenate([np.arange(count), more])).astype(np.int32)


def write_arrays(setting: Setting, folder: Path) -> None:
    """Make the data and keep them in `folder`."""
    np.savez(folder / "data.npz", **setting.arrays())  # pyright: ignore[reportArgumentType]
    (folder / "setting.json").write_text(json.dumps(setting.key), encoding="utf-8")


def read_arrays(folder: Path) -> tuple[Setting, dict[str, np.ndarray]]:
    """What `write_arrays` kept."""
    key = json.loads((folder / "setting.json").read_text(encoding="utf-8"))
    setting = Setting(**key | {name: tuple(key[name]) for name in ("levels", "effect_variances")})
    with np.load(folder / "data.npz") as held:
        return setting, {name: held[name] for name in held.files}


def frame(data: Data) -> Any:
    """A data frame with integer factors."""
    import pandas as pd

    columns = {name: data["x"][:, j] for j, name in enumerate(FRAME_COLUMNS)}
    return pd.DataFrame({"y": data["y"], "g": data["g"], "h": data["h"]} | columns)


def design(data: Data) -> np.ndarray:
    """Intercept and predictors."""
    return np.column_stack([np.ones(len(data["y"])), data["x"]])
