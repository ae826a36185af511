"""Files that are either whole or not there: written beside the target under another name, then renamed onto it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Where to write, within the block, what `path` shall hold after it.

    The name handed out lies in the same folder and has the same suffixes, so that writers which look at the name do the same.
    If the block ends well, the file is flushed to the disk and renamed onto `path`, which other processes see either as it
    was or whole. If it does not, be it by a full disk or an interrupt, `path` is as it was. The permissions of a file that is
    replaced are kept; a link is followed. What is no regular file (a pipe, ``/dev/stdout``) is written directly, and so is a
    file in a folder that takes no new ones.

    Raises
    ------
    OSError
        As the system says: no such folder, no right to write, no space.
    """
    target = Path(os.path.realpath(path))
    known = _status(target)
    if known is not None and not stat.S_ISREG(known.st_mode):
        yield Path(path)
        return
    if known is not None and not os.access(target, os.W_OK):
        raise PermissionError(13, "no right to write", str(path))
    suffixes = "".join(target.suffixes)
    try:
        handle, name = tempfile.mkstemp(suffix=suffixes, prefix=f".{target.name[:40]}.", dir=target.parent)
    except PermissionError:
        if known is None:
            raise
        yield target
        return
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, stat.S_IMODE(known.st_mode) if known is not None else 0o666 & ~_umask())
        _flush(name)
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _umask() -> int:
    """The process's mask of permissions, which can be read by setting it only."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _flush(name: str) -> None:
    """To the disk, not to its cache: else a crash soon after the rename could leave an empty file."""
    handle = os.open(name, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
