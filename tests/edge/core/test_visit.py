"""What counts as a new showing of a code, and when the door closes to codes."""

from edge.core.visit import (
    CLOSED_FOR_NS,
    FAILURE_WINDOW_NS,
    FORGET_AFTER_NS,
    IN_VIEW_MAX,
    Judge,
    Visit,
    is_same_stay,
    not_accepted,
    recognised,
    see_codes,
)
from shared.ids import MemberId

SECOND = 1_000_000_000
ANNA, BERT = MemberId(b"a" * 10), MemberId(b"b" * 10)


def test_a_code_held_still_is_judged_once() -> None:
    visit, judge = see_codes(Visit(), ("A",), 0)
    assert judge == Judge(texts=("A",))
    for at_ns in range(0, 20 * SECOND, SECOND):
        visit, judge = see_codes(visit, ("A",), at_ns)
        assert judge is None


def test_a_code_counts_again_after_the_view_was_clear_of_it() -> None:
    visit, _ = see_codes(Visit(), ("A",), 0)
    assert see_codes(visit, ("A",), FORGET_AFTER_NS)[1] is None
    assert see_codes(visit, ("A",), FORGET_AFTER_NS + 1)[1] == Judge(texts=("A",))


def test_a_code_that_flickers_is_not_new() -> None:
    visit, _ = see_codes(Visit(), ("A",), 0)
    visit, _ = see_codes(visit, ("B",), SECOND)
    visit, judge = see_codes(visit, ("A", "B"), SECOND + 1)
    assert judge is None


def test_with_one_new_code_all_in_view_are_judged() -> None:
    visit, _ = see_codes(Visit(), ("A",), 0)
    assert see_codes(visit, ("A", "B"), 1)[1] == Judge(texts=("A", "B"))


def test_the_number_of_codes_remembered_is_bounded_and_the_newest_stay() -> None:
    visit = Visit()
    for number in range(3 * IN_VIEW_MAX):
        visit, _ = see_codes(visit, (str(number),), number)
    assert len(visit.in_view) == IN_VIEW_MAX
    assert visit.in_view[0].text == str(3 * IN_VIEW_MAX - 1)


def test_a_stay_lasts_while_codes_are_in_view_and_ends_with_a_pause() -> None:
    visit, _ = see_codes(Visit(), ("A",), 0)
    visit = recognised(visit, ANNA, 0)
    for at_ns in range(SECOND, 60 * SECOND, SECOND):
        visit, _ = see_codes(visit, (f"step {at_ns // (30 * SECOND)}",), at_ns)
        assert is_same_stay(visit, ANNA)
        assert not is_same_stay(visit, BERT)
    visit, _ = see_codes(visit, ("B",), 59 * SECOND + FORGET_AFTER_NS + 1)
    assert not is_same_stay(visit, ANNA)


def test_the_fifth_failure_within_the_window_closes_the_door() -> None:
    visit = Visit()
    for at_ns in (0, 1, 2, FAILURE_WINDOW_NS):
        visit = not_accepted(visit, at_ns)
        assert see_codes(visit, ("A",), at_ns)[1] is not None
    visit = not_accepted(visit, FAILURE_WINDOW_NS)
    assert visit.failures_ns == ()
    assert see_codes(visit, ("A",), FAILURE_WINDOW_NS + CLOSED_FOR_NS - 1)[1] is None
    assert see_codes(visit, ("A",), FAILURE_WINDOW_NS + CLOSED_FOR_NS)[1] == Judge(texts=("A",))


def test_failures_far_apart_do_not_add_up() -> None:
    visit = Visit()
    for number in range(50):
        visit = not_accepted(visit, number * (FAILURE_WINDOW_NS // 3))
    assert visit.closed_until_ns == 0


def test_a_code_held_up_before_a_closed_door_is_judged_when_it_opens() -> None:
    visit = Visit()
    for at_ns in range(5):
        visit = not_accepted(visit, at_ns)
    for at_ns in range(SECOND, 10 * SECOND, SECOND):
        visit, judge = see_codes(visit, ("A",), at_ns)
        assert judge is None
    assert see_codes(visit, ("A",), 4 + CLOSED_FOR_NS)[1] == Judge(texts=("A",))
