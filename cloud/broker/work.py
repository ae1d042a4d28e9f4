"""What arrived and is not stored yet, cut into batches; and what could not be stored, tried again with patience.

Pure bookkeeping on times that are given: the session reads the clock. Fresh messages make a batch when enough are
there or the first has waited long enough. A batch that failed is set aside and tried again in smaller pieces, so a
single message that cannot be handled is soon alone: it then costs one try every few seconds and holds up nobody.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cloud.broker.messages import Inbound

PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0  # between two tries: a database restarts in seconds
DOUBLINGS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message and its number on this connection; 0 when it needs no acknowledgement."""

    mid: int
    message: Inbound


class Work:
    """Fresh and failed messages of one session."""

    def __init__(self, *, batch_max: int, batch_wait_s: float, bound: int) -> None:
        self._batch_max = batch_max
        self._batch_wait_s = batch_wait_s
        self._bound = bound
        self._fresh: deque[Arrived] = deque()
        self._fresh_due = 0.0
        self._resume_at = 0.0
        self._failed: deque[Arrived] = deque()
        self._failed_due = 0.0
        self._piece = batch_max
        self._failures = 0
        self._took_failed = False

    @property
    def is_full(self) -> bool:
        """True when more waits than we said we would take: a 3.1.1 broker is not told, so the line holds it back."""
        return len(self._fresh) + len(self._failed) > self._bound

    @property
    def has_failed(self) -> bool:
        """True while a message waits for another try."""
        return bool(self._failed)

    def put(self, arrived: Arrived, now: float) -> None:
        """A fresh message waits for its batch."""
        if not self._fresh:
            self._fresh_due = now + self._batch_wait_s
        self._fresh.append(arrived)

    def due_in(self, now: float) -> float:
        """Seconds until `take` gives something, if nothing more arrives; infinity when nothing waits."""
        dues = [self._failed_due] if self._failed else []
        if self._fresh:
            is_whole = len(self._fresh) >= self._batch_max
            dues.append(self._resume_at if is_whole else max(self._resume_at, self._fresh_due))
        return max(min(dues) - now, 0.0) if dues else float("inf")

    def take(self, now: float) -> Sequence[Arrived]:
        """The next batch, empty when none is due."""
        self._took_failed = bool(self._failed) and now >= self._failed_due
        if self._took_failed:
            return _take(self._failed, self._piece)
        if now >= self._resume_at and (len(self._fresh) >= self._batch_max or now >= self._fresh_due):
            return _take(self._fresh, self._batch_max)
        return ()

    def succeed(self, now: float) -> None:
        """The batch taken last is stored. When it had failed before, the others that failed are tried at once."""
        if self._took_failed:
            self._piece = min(self._piece * 2, self._batch_max)
            self._failures = 0
            self._failed_due = now

    def fail(self, batch: Sequence[Arrived], now: float, random: Random) -> None:
        """The batch taken last waits for another try in halves; fresh ones pause a moment, as all may be in trouble."""
        ceiling = min(PAUSE_MAX_S, PAUSE_MIN_S * 2**self._failures)
        self._failures = min(self._failures + 1, DOUBLINGS_MAX)
        self._failed.extend(batch)
        self._piece = max(len(batch) // 2, 1)
        self._failed_due = now + random.uniform(PAUSE_MIN_S / 2, ceiling)
        self._resume_at = now + PAUSE_MIN_S


def _take(waiting: deque[Arrived], count: int) -> list[Arrived]:
    return [waiting.popleft() for _ in range(min(len(waiting), count))]
