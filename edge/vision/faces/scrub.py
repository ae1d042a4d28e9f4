"""Writes over what libraries took from the heap for a moment and gave back as it was.

cv2, numpy and LiteRT copy windows of a picture into memory of their own, and free it without wiping it. Mostly the
next frame is written there; after the last face of a visit there may be none for hours. The heap cannot be searched for
what is free in it, but it can be asked for: blocks of many sizes take the free pieces, are zeros, and are given back;
then the allocator hands whole free pages to the kernel, which forgets them.

Limits: a free piece smaller than the smallest block stays as it is, and so do those beyond as many of a size as there
are blocks; memory of other threads' arenas is only trimmed.
"""

import ctypes
from typing import Final

BLOCKS: Final = ((65_536, 32), (16_384, 128), (4096, 512), (2048, 512), (1024, 1024), (512, 2048))
"""Bytes and how many, the largest first: 9 MiB, several times what following and aligning a face take. 4.4 ms of
processor time once a visit (x86, 2026-11)."""

_libc: Final = ctypes.CDLL(None)


def scrub_heap() -> None:
    """Free memory of this process holds nothing of what was in it, as far as the head of this module says."""
    blocks = [bytearray(size) for size, count in BLOCKS for _ in range(count)]  # each takes what the larger left
    del blocks
    if hasattr(_libc, "malloc_trim"):  # glibc's; other C libraries give pages back by themselves or not at all
        _libc.malloc_trim(0)
