"""The machine's clocks as this machine has them."""

import time
from pathlib import Path

from edge.hardware.clock import MachineClock

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def test_all_clocks_are_read_together_and_in_the_units_they_promise() -> None:
    before_ns, before_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns() // 1_000_000
    first, second = (MachineClock().read() for _ in range(2))
    after_ns, after_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns() // 1_000_000
    assert before_ns <= first.monotonic_ns < second.monotonic_ns <= after_ns
    assert before_ms <= first.wall_ms <= second.wall_ms <= after_ms
    assert first.boot == second.boot == BOOT_ID.read_text().strip()


def test_the_kernels_flag_is_the_one_it_shows_elsewhere() -> None:
    # adjtimex answers TIME_ERROR exactly while the time is not synchronised; it is the same question asked twice.
    clock = MachineClock()
    assert clock.read().kernel_synced is clock.read().kernel_synced
