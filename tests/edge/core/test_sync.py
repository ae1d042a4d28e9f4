"""Sending, under whatever the line does: nothing is lost, nothing runs ahead of the window, everything is resent."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.core.sync import (
    MESSAGE_ENVELOPES,
    RESEND_AFTER_MAX_NS,
    RESEND_AFTER_NS,
    WINDOW,
    Send,
    Sync,
    appended,
    line_down,
    line_up,
    receipt,
    tick,
)

NOTHING = Send(messages=())
ONLINE = Sync(online=True, head=10, settled=4, sent=10)


def numbers(send: Send) -> list[int]:
    return [seq for message in send.messages for seq in message]


def test_a_line_that_comes_up_sends_what_waits_oldest_first_in_full_messages() -> None:
    sync, send = line_up(Sync(head=450, settled=100, ahead=frozenset({102})), 7)
    assert numbers(send) == [101, *range(103, 301)]
    assert [len(message) for message in send.messages] == [100, 99]
    assert (sync.sent, sync.quiet_since_ns, sync.waiting) == (300, 7, 349)


def test_with_nothing_waiting_nothing_is_sent() -> None:
    assert line_up(Sync(head=3, settled=3), 0)[1] == NOTHING
    assert tick(Sync(online=True, head=3, settled=3, sent=3), 10**15, 0.0)[1] == NOTHING


def test_what_is_written_while_the_line_is_down_waits_for_it() -> None:
    sync, send = appended(Sync(), 3, 0)
    assert send == NOTHING
    assert numbers(line_up(sync, 1)[1]) == [1, 2, 3]


def test_a_new_envelope_goes_out_at_once_and_starts_the_clock_of_an_idle_line() -> None:
    idle = Sync(online=True, head=10, settled=10, sent=10, quiet_since_ns=5)
    sync, send = appended(idle, 11, 99)
    assert numbers(send) == [11]
    assert sync.quiet_since_ns == 99
    again, send = appended(sync, 12, 200)
    assert numbers(send) == [12]
    assert again.quiet_since_ns == 99


def test_a_receipt_moves_the_window_on() -> None:
    sync, _ = line_up(Sync(head=450), 0)
    sync, send = receipt(sync, 100, frozenset(range(1, 101)), (), 1)
    assert numbers(send) == list(range(201, 301))
    assert (sync.settled, sync.sent) == (100, 300)


def test_numbers_settled_out_of_order_join_up() -> None:
    sync, send = receipt(ONLINE, 4, frozenset({6, 7, 9}), (), 1)
    assert (sync.settled, sync.ahead, sync.waiting, send) == (4, frozenset({6, 7, 9}), 3, NOTHING)
    sync, _ = receipt(sync, 5, frozenset(), (), 2)
    assert (sync.settled, sync.ahead, sync.waiting) == (7, frozenset({9}), 2)


def test_a_receipt_heard_twice_or_late_changes_nothing() -> None:
    once, _ = receipt(ONLINE, 8, frozenset({10}), (), 1)
    assert receipt(once, 8, frozenset({10}), (), 9) == (once, NOTHING)
    assert receipt(once, 5, frozenset({6}), (), 9) == (once, NOTHING)


def test_a_receipt_beyond_the_head_settles_no_more_than_there_is() -> None:
    sync, _ = receipt(ONLINE, 99, frozenset({50}), (), 1)
    assert (sync.settled, sync.ahead, sync.waiting) == (10, frozenset(), 0)


@pytest.mark.parametrize(
    ("missing", "again"),
    [((5, 6), [5, 6]), ((6, 5, 6), [5, 6]), ((0, -1, 11, 99), []), ((2,), [2]), (tuple(range(1, 11)), [*range(1, 11)])],
)
def test_what_the_cloud_misses_is_sent_again_at_once(missing: tuple[int, ...], again: list[int]) -> None:
    assert numbers(receipt(ONLINE, 4, frozenset(), missing, 1)[1]) == again


def test_a_receipt_that_comes_when_the_line_is_gone_settles_and_sends_nothing() -> None:
    sync, send = receipt(line_down(ONLINE), 6, frozenset(), (7,), 1)
    assert (sync.settled, sync.sent, send) == (6, 6, NOTHING)


def test_without_a_receipt_all_that_is_unsettled_is_sent_again_and_ever_more_slowly() -> None:
    sync, _ = line_up(Sync(head=3), 0)
    at_ns, waits = 0, []
    for _ in range(12):
        before = at_ns
        while True:
            at_ns += RESEND_AFTER_NS // 10
            sync, send = tick(sync, at_ns, 1.0)
            if send != NOTHING:
                break
        assert numbers(send) == [1, 2, 3]
        waits.append(at_ns - before)
    assert waits[:4] == [RESEND_AFTER_NS, 2 * RESEND_AFTER_NS, 4 * RESEND_AFTER_NS, 8 * RESEND_AFTER_NS]
    assert max(waits) == RESEND_AFTER_MAX_NS


@pytest.mark.parametrize(("drawn", "wait_ns"), [(0.0, RESEND_AFTER_NS), (0.5, 1.5 * RESEND_AFTER_NS)])
def test_jitter_spreads_a_fleet_over_the_second_half_of_the_wait(drawn: float, wait_ns: float) -> None:
    sync, _ = tick(ONLINE, RESEND_AFTER_NS, drawn)
    due_ns = RESEND_AFTER_NS + int(wait_ns)
    for later in (0.0, 1.0):  # what is drawn while it waits has no say
        assert tick(sync, due_ns - 1, later)[1] == NOTHING
        assert numbers(tick(sync, due_ns, later)[1]) == [5, 6, 7, 8, 9, 10]


def test_a_receipt_that_moves_something_ends_the_back_off() -> None:
    sync, _ = receipt(replace(ONLINE, resends=6), 5, frozenset(), (), 77)
    assert (sync.resends, sync.quiet_since_ns) == (0, 77)
    sync, _ = receipt(replace(ONLINE, resends=6), 4, frozenset(), (), 77)
    assert (sync.resends, sync.quiet_since_ns) == (6, 0)


@dataclass(slots=True)
class Cloud:
    """Knows what reached it and can answer for it."""

    has: set[int] = field(default_factory=set)

    @property
    def contiguous(self) -> int:
        reached = 0
        while reached + 1 in self.has:
            reached += 1
        return reached


class Line(RuleBasedStateMachine):
    """Any sequence of appends, line changes, lost messages, late, repeated and reordered receipts, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.sync = Sync()
        self.cloud = Cloud()
        self.receipts: list[tuple[int, frozenset[int], tuple[int, ...]]] = []
        self.now_ns = 0
        self.settled_before = 0

    def take(self, sync: Sync, send: Send, *, arrives: bool = True) -> None:
        self.sync = sync
        sent = numbers(send)
        assert all(len(message) <= MESSAGE_ENVELOPES for message in send.messages)
        assert all(0 < seq <= min(sync.head, sync.settled + WINDOW) for seq in sent)
        assert sync.online or not sent
        if arrives and sent:
            self.cloud.has |= set(sent)
            gaps = tuple(sorted(set(range(1, max(self.cloud.has))) - self.cloud.has))
            self.receipts.append((self.cloud.contiguous, frozenset(sent), gaps))

    @rule(count=st.integers(1, 150), arrives=st.booleans())
    def write(self, count: int, arrives: bool) -> None:
        self.take(*appended(self.sync, self.sync.head + count, self.now_ns), arrives=arrives)

    @rule(arrives=st.booleans())
    def come_up(self, arrives: bool) -> None:
        self.take(*line_up(self.sync, self.now_ns), arrives=arrives)

    @rule()
    def go_down(self) -> None:
        self.sync = line_down(self.sync)

    @rule(seconds=st.integers(0, 400), jitter=st.floats(0, 1), arrives=st.booleans())
    def wait(self, seconds: int, jitter: float, arrives: bool) -> None:
        self.now_ns += seconds * 1_000_000_000
        self.take(*tick(self.sync, self.now_ns, jitter), arrives=arrives)

    @precondition(lambda self: self.receipts)
    @rule(pick=st.integers(0, 1000), keep=st.booleans(), arrives=st.booleans())
    def hear(self, pick: int, keep: bool, arrives: bool) -> None:
        index = pick % len(self.receipts)
        heard = self.receipts[index] if keep else self.receipts.pop(index)
        self.take(*receipt(self.sync, *heard, self.now_ns), arrives=arrives)

    @invariant()
    def what_is_settled_is_with_the_cloud(self) -> None:
        settled = set(range(1, self.sync.settled + 1)) | self.sync.ahead
        assert settled <= self.cloud.has
        assert self.sync.waiting == self.sync.head - len(settled)
        assert self.settled_before <= self.sync.settled <= self.sync.head
        self.settled_before = self.sync.settled

    def teardown(self) -> None:
        """A line that works from now on, and a cloud that answers everything, settle all there is."""
        self.receipts.clear()
        self.take(*line_up(self.sync, self.now_ns))
        for _ in range(2 * (self.sync.head // WINDOW + 2)):
            while self.receipts:
                self.take(*receipt(self.sync, *self.receipts.pop(0), self.now_ns))
            self.now_ns += RESEND_AFTER_MAX_NS
            self.take(*tick(self.sync, self.now_ns, 1.0))
        assert self.sync.waiting == 0


TestLine = Line.TestCase
TestLine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@given(st.sets(st.integers(1, 60)), st.integers(1, 60))
def test_a_line_that_loses_everything_but_receipts_still_ends_with_all_resent(lost: set[int], head: int) -> None:
    sync, send = line_up(Sync(head=head), 0)
    arrived = {seq for seq in numbers(send) if seq not in lost}
    contiguous = Cloud(has=arrived).contiguous
    sync, _ = receipt(sync, contiguous, frozenset(arrived), (), 1)
    sync, send = tick(sync, 2 + RESEND_AFTER_NS, 0.5)
    assert set(numbers(send)) == set(range(1, head + 1)) - arrived
