"""What a kiosk does about the secret of its store's group, given what it holds and what the cloud said.

The cloud says which kiosks the store has and carries wraps; it cannot make a member of the group. So a first secret is
made here, a wrap for us is taken here, and a kiosk that was revoked is answered here, with a new secret for the rest.
"""

from dataclasses import dataclass
from typing import Final

RANK_WAIT_NS: Final = 60_000_000_000
"""A kiosk waits so long for each that comes before it, by device id: one acts, and the others hear of it first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """What the step depends on.

    `wanted` when faces are. `held` names the secret held, `listed` are the kiosks of its list. `key`, `kiosks` and
    `wrap` (None once it was tried) are the cloud's word, heard `heard_ns` ago. `outdated` while that word may be from
    before what we told.
    """

    device: str
    wanted: bool
    held: bytes | None
    listed: tuple[str, ...]
    key: bytes | None
    kiosks: tuple[str, ...]
    wrap: bytes | None
    heard_ns: int
    outdated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeSecret:
    """Make the store's first secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeWrap:
    """Take the secret, or a newer list of its kiosks, out of this wrap."""

    key: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceSecret:
    """Make a new secret for these kiosks only."""

    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSecret:
    """Tell the cloud the name of the secret held: it knows none, as it was restored from a copy."""


GroupStep = MakeSecret | TakeWrap | ReplaceSecret | NameSecret


def next_step(view: GroupView) -> GroupStep | None:
    """What to do now, or None. A kiosk the cloud no longer lists does nothing: it is the one that was revoked."""
    if view.outdated or view.device not in view.kiosks:
        return None
    if view.key is None:
        if not view.wanted or not _is_turn(view, view.kiosks):
            return None
        return MakeSecret() if view.held is None else NameSecret()
    if view.wrap and (view.key != view.held or not set(view.kiosks) <= set(view.listed)):
        return TakeWrap(key=view.key, sealed=view.wrap)
    if view.key != view.held:
        return None
    kept = tuple(kiosk for kiosk in view.listed if kiosk in view.kiosks)
    if kept != view.listed and _is_turn(view, kept):
        return ReplaceSecret(kept=kept)
    return None


def _is_turn(view: GroupView, among: tuple[str, ...]) -> bool:
    return view.heard_ns >= sorted(among).index(view.device) * RANK_WAIT_NS
