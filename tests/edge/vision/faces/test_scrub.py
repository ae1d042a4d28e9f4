"""What was freed is looked for in the memory of the process that freed it: a fresh one, whose heap is its own."""

import ctypes
import random
import subprocess
import sys
from pathlib import Path

import pytest

from edge.vision.faces.scrub import scrub_heap

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)
libc.free.argtypes = (ctypes.c_void_p,)

PIECE_BYTES = 24


def piece(seed: int) -> bytes:
    return random.Random(seed).randbytes(PIECE_BYTES)


def leave(size: int, seeds: range) -> list[int]:
    """Blocks of the heap that were written full of pieces and freed; returns where they were."""
    blocks = []
    for seed in seeds:
        block = libc.malloc(size)
        assert block is not None
        held = libc.malloc(64)  # a neighbour that stays, so that free blocks do not grow together
        assert held is not None
        text = piece(seed)
        for at in range(0, size - PIECE_BYTES, PIECE_BYTES):
            ctypes.memmove(block + at, text, PIECE_BYTES)
        blocks.append(block)
    for block in blocks:
        libc.free(block)
    return blocks


def remains(blocks: list[int], size: int, seeds: range) -> int:
    """How many pieces can still be read in the places."""
    count = 0
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for block, seed in zip(blocks, seeds, strict=True):
            memory.seek(block)
            try:
                count += memory.read(size).count(piece(seed))
            except OSError:  # the page is gone
                continue
    return count


def look(size: int) -> tuple[int, int]:
    """How many pieces can be read before and after."""
    seeds = range(20)
    blocks = leave(size, seeds)
    before = remains(blocks, size, seeds)
    scrub_heap()
    return before, remains(blocks, size, seeds)


@pytest.mark.parametrize("size", [57_600, 20_000, 5000, 1500])
def test_what_was_freed_is_written_over(size: int) -> None:
    program = f"from tests.edge.vision.faces.test_scrub import look; print(*look({size}))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())
    assert before > 10 * size // PIECE_BYTES, "the search finds what is there"
    assert after <= before // 20, "what is left are the ends of blocks, smaller than the smallest that is written"
