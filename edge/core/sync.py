"""When to send which envelope: order, window, resending and back-off, as a pure state machine.

Sent means nothing and acknowledged by a broker means nothing; only the cloud's own receipt settles. The machine
knows the outbox as numbers: all up to `settled` are settled, `ahead` are settled beyond it, `head` is the newest.
"""

from dataclasses import dataclass, replace

WINDOW = 200  # unsettled envelopes on their way at once: two full messages
MESSAGE_ENVELOPES = 100
RESEND_AFTER_NS = 5_000_000_000  # the cloud answers in milliseconds; five seconds without a receipt is a loss
RESEND_AFTER_MAX_NS = 300_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """The state of sending.

    `sent` is the highest number sent since the line came up; `quiet_since_ns` when a receipt last moved something or
    something was first sent; `resends` counts back-off steps since then; `jitter` was drawn at the last of them.
    """

    online: bool = False
    head: int = 0
    settled: int = 0
    ahead: frozenset[int] = frozenset()
    sent: int = 0
    quiet_since_ns: int = 0
    resends: int = 0
    jitter: float = 1.0

    @property
    def waiting(self) -> int:
        """How many envelopes are not settled."""
        return self.head - self.settled - len(self.ahead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """The command to publish these numbers as one message each tuple."""

    messages: tuple[tuple[int, ...], ...]


def line_up(sync: Sync, at_ns: int) -> tuple[Sync, Send]:
    """The line is there: everything unsettled goes out again, oldest first, as far as the window allows."""
    return _fill(replace(sync, online=True, sent=sync.settled, quiet_since_ns=at_ns, resends=0), at_ns)


def line_down(sync: Sync) -> Sync:
    """The line is gone; nothing is on its way."""
    return replace(sync, online=False, sent=sync.settled)


def appended(sync: Sync, head: int, at_ns: int) -> tuple[Sync, Send]:
    """A new envelope was committed."""
    return _fill(replace(sync, head=head), at_ns)


def receipt(
    sync: Sync, contiguous: int, verdicts: frozenset[int], missing: tuple[int, ...], at_ns: int
) -> tuple[Sync, Send]:
    """A receipt was stored: its numbers are settled, what it misses is sent again at once, and the window moves on."""
    settled = max(sync.settled, min(contiguous, sync.head))
    ahead = frozenset(seq for seq in sync.ahead | verdicts if settled < seq <= sync.head)
    while settled + 1 in ahead:
        settled += 1
        ahead -= {settled}
    moved = settled > sync.settled or ahead != sync.ahead
    state = replace(
        sync,
        settled=settled,
        ahead=ahead,
        sent=max(sync.sent, settled),
        quiet_since_ns=at_ns if moved else sync.quiet_since_ns,
        resends=0 if moved else sync.resends,
    )
    again = tuple(sorted({seq for seq in missing if 0 < seq <= state.sent}))[:WINDOW]
    state, send = _fill(state, at_ns)
    return state, Send(messages=_cut(again) + send.messages) if sync.online else Send(messages=())


def tick(sync: Sync, at_ns: int, jitter: float) -> tuple[Sync, Send]:
    """Time passed: when nothing moved for too long, everything unsettled that was sent is sent again.

    `jitter` from 0 to 1 spreads the devices of a fleet over the back-off's second half. It is drawn once a wait: of
    a new draw each second the smallest would soon win, and the fleet would meet at the half.
    """
    wait_ns = min(RESEND_AFTER_NS * 2**sync.resends, RESEND_AFTER_MAX_NS)
    due = sync.quiet_since_ns + int(wait_ns * (0.5 + 0.5 * sync.jitter) if sync.resends else wait_ns)
    if not sync.online or sync.sent <= sync.settled or at_ns < due:
        return sync, Send(messages=())
    again = replace(sync, sent=sync.settled, quiet_since_ns=at_ns, resends=min(sync.resends + 1, 10), jitter=jitter)
    return _fill(again, at_ns)


def _fill(sync: Sync, at_ns: int) -> tuple[Sync, Send]:
    if not sync.online:
        return sync, Send(messages=())
    limit = min(sync.head, sync.settled + WINDOW)
    numbers = tuple(seq for seq in range(sync.sent + 1, limit + 1) if seq not in sync.ahead)
    if not numbers:
        return sync, Send(messages=())
    idle = sync.sent <= sync.settled
    state = replace(sync, sent=limit, quiet_since_ns=at_ns if idle else sync.quiet_since_ns)
    return state, Send(messages=_cut(numbers))


def _cut(numbers: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(numbers[at : at + MESSAGE_ENVELOPES] for at in range(0, len(numbers), MESSAGE_ENVELOPES))
