"""How much memory there is, and in words."""

from __future__ import annotations

import os

__all__ = ["available_memory", "in_words"]


def available_memory() -> int:
    """Bytes that can be allocated without swapping; half of a guess where the system does not say."""
    try:
        with open("/proc/meminfo", "rb", buffering=0) as file:  # its third line
            head = file.read(512)
        return int(head.partition(b"MemAvailable:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def in_words(size: float) -> str:
    """``1.5 GB`` and the like."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 1000 else f"{size:,.0f} TB"
