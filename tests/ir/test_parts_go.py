"""Parts of streamed rows are gone with their last reference: nothing waits for a collection of circles."""

from __future__ import annotations

import gc
import weakref
from typing import cast

from oracle import make_problem
from streamed import streamed

from lmmformula.ir.streamed import StreamedRows
from lmmformula.ir.streamed.store import Store


def test_a_part_is_gone_with_its_last_reference() -> None:
    rows = cast("StreamedRows", streamed(make_problem("crossed slopes")).data)
    store = cast("Store", rows.store)
    gc.collect()
    gc.disable()
    try:
        part = store.part(store.blocks[0], ())
        chunk = part.chunk
        assert chunk.terms[0].codes.size == chunk.fixed.shape[0] == part.met.n == len(chunk.y)
        part.rows.gram(part.weights, fixed=True)
        seen = weakref.ref(part.rows.levels), weakref.ref(part)
        del part, chunk
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()
