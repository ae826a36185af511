"""Sums as bytes for other processes, with what their vectors hold of levels beside them, so that each is sent its own levels.

Sums hold functions, lambdas among them, and recipes of vectors. All that is the same for every process is packed once; a recipe
that holds numbers of levels leaves its place, and is put there again, with the levels that are there, where the sums are used.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass

from lmmformula.ir.streamed.vectors import OnLevels
from lmmformula.ir.streamed.workers import Remote
from lmmformula.ir.sums import Place, Share

__all__ = ["Parcel", "sealed"]


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """Something packed.

    Attributes
    ----------
    content : bytes
    apart : tuple of OnLevels
        Vectors that are left out of it.
    """

    content: bytes
    apart: tuple[OnLevels, ...]

    def restricted(self, place: Place, number: int) -> tuple[Parcel, list[Remote]]:
        """For the rows of a store, whose levels stand at a place among all, and what it already has of it."""
        held: list[Remote] = []
        return Parcel(self.content, tuple(v.restricted(place, number, held) for v in self.apart)), held

    def opened(self, held: Sequence[Share] = ()) -> Share:
        """What was packed, with what the store has."""
        return _Opening(Parcel(self.content, tuple(v.filled(held) for v in self.apart))).load()


def sealed(packed: Share) -> Parcel:
    """Something as bytes; what comes twice in it is the same object again when it is opened."""
    from cloudpickle import Pickler

    class Sealing(Pickler):
        def persistent_id(self, obj: object) -> int | None:
            if not hasattr(type(obj), "restricted"):
                return None
            if id(obj) not in known:
                known[id(obj)] = len(apart)
                apart.append(obj)  # type: ignore[arg-type]
            return known[id(obj)]

    known: dict[int, int] = {}
    apart: list[OnLevels] = []
    out = io.BytesIO()
    Sealing(out, protocol=5).dump(packed)
    return Parcel(out.getvalue(), tuple(apart))


class _Opening(pickle.Unpickler):
    def __init__(self, parcel: Parcel) -> None:
        super().__init__(io.BytesIO(parcel.content))
        self._apart = parcel.apart

    def persistent_load(self, pid: int) -> OnLevels:
        return self._apart[pid]
