"""What happened in a world, in order: the last lines for a person, a digest of all of them for a comparison."""

import hashlib
from collections import Counter, deque
from enum import StrEnum

LINES_KEPT = 30


class Fault(StrEnum):
    """Everything that a world may do to the product, counted when it happened."""

    LOST = "lost"
    DOUBLED = "doubled"
    DELAYED = "delayed"
    STALE = "stale"
    GARBLED = "garbled"
    PARTITION = "partition"
    BLACK_HOLE = "black_hole"
    BROKER_EMPTIED = "broker_emptied"
    CLOUD_AWAY = "cloud_away"
    CLOUD_CUT_BEFORE_COMMIT = "cloud_cut_before_commit"
    CLOUD_CUT_AFTER_COMMIT = "cloud_cut_after_commit"
    POWER_CUT = "power_cut"
    BLACKOUT = "blackout"
    PROCESS_KILLED = "process_killed"
    LINK_KILLED = "link_killed"
    DISK_FULL = "disk_full"
    CLOCK_STEP = "clock_step"
    KERNEL_TIME = "kernel_time"
    QUIET_WEEKS = "quiet_weeks"
    TAKEN_BACK = "taken_back"
    POLICY_CHANGE = "policy_change"
    RAN_DRY = "ran_dry"
    DENIAL = "denial"
    LEAVE = "leave"
    REVOCATION = "revocation"
    LAN_LOST = "lan_lost"
    LAN_PARTITION = "lan_partition"
    HUB_DEATH = "hub_death"
    DEFERRED = "deferred"


class Trace:
    """Notes of a world: a digest over all lines, the last of them, and how often each fault happened.

    Nothing in a line may depend on the process: no address, no order of a set.
    """

    def __init__(self, *, echo: bool = False) -> None:
        self._echo = echo
        self._digest = hashlib.sha256()
        self.tail: deque[str] = deque(maxlen=LINES_KEPT)
        self.faults: Counter[Fault] = Counter()

    def note(self, at_ns: int, who: str, what: str) -> None:
        """Adds a line."""
        line = f"{at_ns / 1e9:14.6f} {who:<8} {what}"
        self.tail.append(line)
        self._digest.update(line.encode())
        if self._echo:
            print(line)

    def count(self, fault: Fault) -> None:
        """The fault happened once more."""
        self.faults[fault] += 1

    @property
    def digest(self) -> str:
        """The same for the same lines and no others, in hexadecimal."""
        return self._digest.hexdigest()
