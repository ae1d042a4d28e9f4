"""Who may be offered what about their face: every row of the table."""

from itertools import product

import pytest

from edge.core.invitation import Invitation, Visitor, invite
from shared.policy import Means

N, A, L, F = Invitation.NOTHING, Invitation.ASK, Invitation.LEARN, Invitation.FORGET


@pytest.mark.parametrize(
    ("means", "fresh", "consents", "held", "looking", "touch", "invitation"),
    [
        (Means.PHONE, True, False, False, True, True, A),
        (Means.PHONE, True, False, False, True, False, N),
        (Means.PHONE, True, True, False, True, True, L),
        (Means.PHONE, True, True, False, True, False, L),
        (Means.PHONE, True, True, False, False, True, N),
        (Means.PHONE, False, True, False, True, True, N),
        (Means.PHONE, False, False, False, True, True, N),
        (Means.CARD, True, True, False, True, True, N),
        (Means.CARD, True, False, False, True, True, N),
        (Means.CARD, True, True, True, True, True, F),
        (Means.PHONE, False, True, True, False, True, F),
        (Means.PHONE, True, True, True, True, False, N),
    ],
)
def test_what_is_offered(
    means: Means, fresh: bool, consents: bool, held: bool, looking: bool, touch: bool, invitation: Invitation
) -> None:
    visitor = Visitor(means=means, fresh=fresh, consents=consents, held=held)
    assert invite(visitor, looking=looking, touch=touch) is invitation


def test_nobody_is_ever_learnt_but_with_a_fresh_code_of_a_phone() -> None:
    both = (True, False)
    for means, fresh, consents, held, looking, touch in product(Means, both, both, both, both, both):
        visitor = Visitor(means=means, fresh=fresh, consents=consents, held=held)
        if invite(visitor, looking=looking, touch=touch) in (Invitation.ASK, Invitation.LEARN):
            assert means is Means.PHONE
            assert fresh
            assert looking
