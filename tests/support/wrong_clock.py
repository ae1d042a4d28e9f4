"""A system clock that is wrong for one process: what a kiosk without a battery clock has when it boots.

A library that is loaded before the C library answers for the real-time clock and leaves the others alone.
"""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long offset(void) { return atol(getenv("CLOCK_OFFSET_S")); }

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, at);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) at->tv_sec += offset();
    return done;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


def compiler() -> str | None:
    """The C compiler of this machine, or None."""
    return shutil.which("cc")


def make_library(folder: Path) -> Path:
    """The library, to be preloaded."""
    source, library = folder / "wrong_clock.c", folder / "wrong_clock.so"
    source.write_text(SOURCE)
    subprocess.run([compiler() or "cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def under_clock(library: Path, boots_in: datetime) -> list[str]:
    """The prefix of a command whose system clock says that it is this instant now."""
    offset_s = int((boots_in - datetime.now(UTC)).total_seconds())
    return ["/usr/bin/env", f"LD_PRELOAD={library}", f"CLOCK_OFFSET_S={offset_s}"]
