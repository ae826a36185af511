"""The canonical form of a formula on rows that are read batch by batch: what it learns, and how batches are encoded."""

from lmmformula.frame.streamed.draft import Draft, Kept, of_rows
from lmmformula.frame.streamed.learning import learn
from lmmformula.frame.streamed.seen import Seen
from lmmformula.frame.streamed.writing import written

__all__ = ["Draft", "Kept", "Seen", "learn", "of_rows", "written"]
