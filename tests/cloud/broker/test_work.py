"""The bookkeeping of batches, on made-up times."""

from random import Random

from cloud.broker.messages import Inbound
from cloud.broker.work import PAUSE_MAX_S, PAUSE_MIN_S, Arrived, Work
from shared.ids import DeviceId
from shared.topics import Up


def arrive(mid: int) -> Arrived:
    return Arrived(mid=mid, message=Inbound(device=DeviceId("k1"), kind=Up.EVENT, data=b""))


def make(count: int = 0, *, batch_max: int = 4, bound: int = 100) -> Work:
    work = Work(batch_max=batch_max, batch_wait_s=1.0, bound=bound)
    for mid in range(1, count + 1):
        work.put(arrive(mid), 0.0)
    return work


def mids(work: Work, now: float) -> list[int]:
    return [arrived.mid for arrived in work.take(now)]


def test_nothing_is_due_while_nothing_is_there() -> None:
    work = make()
    assert work.due_in(5.0) == float("inf")
    assert mids(work, 5.0) == []


def test_a_first_message_waits_for_others_but_not_for_long() -> None:
    work = make(1)
    assert mids(work, 0.5) == []
    assert work.due_in(0.5) == 0.5
    assert mids(work, 1.0) == [1]


def test_later_messages_do_not_make_the_first_wait_longer() -> None:
    work = make(1)
    work.put(arrive(2), 0.9)
    assert mids(work, 1.0) == [1, 2]


def test_a_whole_batch_goes_at_once_and_the_rest_follows() -> None:
    work = make(6)
    assert work.due_in(0.0) == 0.0
    assert mids(work, 0.0) == [1, 2, 3, 4]
    work.succeed(0.0)
    assert mids(work, 0.0) == []
    assert mids(work, 1.0) == [5, 6]


def test_a_failed_batch_comes_again_in_halves_after_a_pause() -> None:
    work = make(4)
    work.fail(work.take(0.0), 0.0, Random(1))
    assert work.has_failed
    assert mids(work, 0.0) == []
    due = work.due_in(0.0)
    assert PAUSE_MIN_S / 2 <= due <= PAUSE_MIN_S
    assert mids(work, due) == [1, 2]
    work.succeed(due)
    assert mids(work, due) == [3, 4]
    work.succeed(due)
    assert not work.has_failed


def test_one_message_that_never_succeeds_is_soon_alone_and_holds_up_nobody() -> None:
    work, now, random = make(8, batch_max=8), 0.0, Random(2)
    stored: list[int] = []
    tries = 0
    while len(stored) < 7:
        now += work.due_in(now)
        batch = work.take(now)
        if any(arrived.mid == 5 for arrived in batch):
            tries += 1
            work.fail(batch, now, random)
        else:
            stored += [arrived.mid for arrived in batch]
            work.succeed(now)
    assert sorted(stored) == [1, 2, 3, 4, 6, 7, 8]
    assert tries <= 8
    for _ in range(20):  # it is alone now: its pauses grow to their bound, and fresh messages pass it
        now += work.due_in(now)
        work.fail(work.take(now), now, random)
    assert work.due_in(now) <= PAUSE_MAX_S
    work.put(arrive(9), now)
    assert mids(work, now + 1.0) in ([9], [5])


def test_fresh_messages_pause_a_moment_after_a_failure_as_the_database_may_be_away() -> None:
    work = make(8)
    work.fail(work.take(0.0), 0.0, Random(1))
    assert mids(work, PAUSE_MIN_S / 4) == []
    assert work.due_in(0.0) > 0


def test_it_is_full_beyond_what_was_announced_failed_ones_included() -> None:
    work = make(4, bound=4)
    assert not work.is_full
    work.fail(work.take(0.0), 0.0, Random(1))
    work.put(arrive(5), 0.0)
    assert work.is_full
