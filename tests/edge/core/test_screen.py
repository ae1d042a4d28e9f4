"""Which tap still counts when the screen was told anew."""

from dataclasses import replace

from edge.core.screen import Offer, Screen, ScreenName, StandHint, is_same_dialog

LEARNING = Screen(name=ScreenName.ENROL, hint=StandHint.COME, offers=(Offer.DECLINE,))


def test_how_far_learning_has_come_makes_no_other_dialog() -> None:
    assert is_same_dialog(LEARNING, replace(LEARNING, hint=StandHint.GOOD, taken=3, wanted=9))


def test_everything_else_does() -> None:
    greeting = Screen(name=ScreenName.GREETING, claim="ab", offers=(Offer.NOT_ME,))
    assert not is_same_dialog(LEARNING, greeting)
    assert not is_same_dialog(greeting, replace(greeting, claim="cd"))
    assert not is_same_dialog(greeting, replace(greeting, offers=()))
