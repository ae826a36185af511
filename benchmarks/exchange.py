"""Data on disk that every interpreter reads alike: `data.csv`, and a text file of levels per factor.

Large tables may be kept as `data.parquet` instead, or beside it, which is read where there is pyarrow.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_frame", "write_frame"]


def write_frame(frame: pd.DataFrame, folder: Path, *, text: bool = True, parquet: bool = False) -> None:
    """Write `frame` into `folder`; numbers as the shortest text that reads back exactly."""
    import pandas as pd

    if parquet:
        frame.to_parquet(folder / "data.parquet", index=False)
    if not text:
        return
    frame.to_csv(folder / "data.csv", index=False)
    for name in frame.columns:
        dtype = frame[name].dtype
        if isinstance(dtype, pd.CategoricalDtype):
            lines = [f"{level}\n" for level in dtype.categories]
            (folder / f"{name}.levels").write_text("".join(lines), encoding="utf-8")


def read_frame(folder: Path) -> pd.DataFrame:
    """Read what `write_frame` wrote, factors as unordered categoricals."""
    import pandas as pd

    if (folder / "data.parquet").exists() and find_spec("pyarrow") is not None:
        return pd.read_parquet(folder / "data.parquet")
    levels = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in folder.glob("*.levels")}
    dtypes: dict[str, pd.CategoricalDtype] = {
        name: pd.CategoricalDtype(texts) for name, texts in levels.items()
    }
    return pd.read_csv(folder / "data.csv", dtype=dtypes, float_precision="round_trip")  # pyright: ignore
