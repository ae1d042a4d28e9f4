"""What of a device's life a technician may want to look up later. Pure; none of it decides anything."""

from dataclasses import dataclass
from enum import StrEnum


class DeviceEventKind(StrEnum):
    """What happened."""

    STARTED = "started"
    LINE_UP = "line_up"
    LINE_DOWN = "line_down"
    CAMERA_LOST = "camera_lost"
    CAMERA_BACK = "camera_back"
    CLOCK_STEPPED = "clock_stepped"
    STORAGE_LOW = "storage_low"
    STORAGE_FULL = "storage_full"
    STORAGE_BACK = "storage_back"
    SNAPSHOT_TAKEN = "snapshot_taken"
    SNAPSHOT_FAILED = "snapshot_failed"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """One of them. `at_ms` is None while the time was not known; `uptime_ms` counts in the boot named by `boot`."""

    kind: DeviceEventKind
    at_ms: int | None
    boot: str
    uptime_ms: int
    detail: str
