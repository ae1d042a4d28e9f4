"""What a kiosk does about the secret of its group: every case of what it holds and what the cloud said."""

from dataclasses import replace

import pytest

from edge.core.group_steps import (
    RANK_WAIT_NS,
    GroupStep,
    GroupView,
    MakeSecret,
    NameSecret,
    ReplaceSecret,
    TakeWrap,
    next_step,
)

KEY, OTHER = b"group--1", b"group--2"
IN = GroupView(
    device="b",
    wanted=True,
    held=KEY,
    listed=("b", "a", "c"),
    key=KEY,
    kiosks=("a", "b", "c"),
    wrap=b"w",
    heard_ns=0,
    outdated=False,
)
NEW = replace(IN, held=None, listed=(), key=None, kiosks=("b",), wrap=None)


@pytest.mark.parametrize(
    ("view", "step"),
    [
        (IN, None),
        (NEW, MakeSecret()),
        (replace(NEW, wanted=False), None),
        (replace(NEW, held=KEY, outdated=True), None),  # told, and the cloud has not read it
        (replace(NEW, held=KEY), NameSecret()),  # the cloud was restored from a copy
        (replace(NEW, held=KEY, wanted=False), None),
        (replace(NEW, kiosks=("a", "b")), None),
        (replace(NEW, kiosks=("a", "b"), heard_ns=RANK_WAIT_NS - 1), None),
        (replace(NEW, kiosks=("a", "b"), heard_ns=RANK_WAIT_NS), MakeSecret()),
        (replace(NEW, kiosks=()), None),
        (replace(IN, held=None, listed=()), TakeWrap(key=KEY, sealed=b"w")),
        (replace(IN, held=None, listed=(), wanted=False), TakeWrap(key=KEY, sealed=b"w")),
        (replace(IN, held=None, listed=(), wrap=None), None),
        (replace(IN, key=OTHER), TakeWrap(key=OTHER, sealed=b"w")),
        (replace(IN, key=OTHER, wrap=None), None),
        (replace(IN, key=OTHER, outdated=True), None),
        (replace(IN, kiosks=("a", "b", "c", "d")), TakeWrap(key=KEY, sealed=b"w")),
        (replace(IN, kiosks=("a", "b", "c", "d"), wrap=None), None),  # d has not asked to join yet
        (replace(IN, kiosks=("b", "c")), ReplaceSecret(kept=("b", "c"))),
        (replace(IN, kiosks=("b", "c", "d"), wrap=None), ReplaceSecret(kept=("b", "c"))),
        (replace(IN, kiosks=("a", "b")), None),
        (replace(IN, kiosks=("a", "b"), heard_ns=RANK_WAIT_NS), ReplaceSecret(kept=("b", "a"))),
        (replace(IN, kiosks=("a", "c")), None),  # it is this one that was revoked
        (replace(IN, kiosks=("a", "c"), key=OTHER), None),
    ],
)
def test_the_next_step(view: GroupView, step: GroupStep | None) -> None:
    assert next_step(view) == step
