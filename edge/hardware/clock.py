"""The machine's clocks, read together. What they are worth is judged in `core.clock`."""

import ctypes
import time
from pathlib import Path

from edge.core.clock import RawTime

TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RTC_SET_THE_CLOCK = Path("/sys/class/rtc/rtc0/hctosys")


class MachineClock:
    """Linux: the kernel's synchronisation flag, the boot's id, uptime that counts suspension, the system clock."""

    def __init__(self) -> None:
        self._boot = _BOOT_ID.read_text().strip()
        self._battery = _RTC_SET_THE_CLOCK.exists() and _RTC_SET_THE_CLOCK.read_text().strip() == "1"
        self._libc = ctypes.CDLL(None, use_errno=True)

    def read(self) -> RawTime:
        """All clocks, read together."""
        return RawTime(
            boot=self._boot,
            monotonic_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            wall_ms=time.time_ns() // 1_000_000,
            kernel_synced=self._is_synced(),
            battery=self._battery,
        )

    def _is_synced(self) -> bool:
        request = ctypes.create_string_buffer(256)  # struct timex is 208 bytes; modes = 0 only reads
        state: int = self._libc.adjtimex(request)
        return 0 <= state < TIME_ERROR
