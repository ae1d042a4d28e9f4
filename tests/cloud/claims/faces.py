"""What kiosks say of faces, and what they hold of them once they were told; beside tests.cloud.claims.world."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from cloud.devices.actions import catch_up
from cloud.kit.database import reading, writing
from cloud.kit.keyring import Keyring
from cloud.members.queries import consents_of, member_by_id
from cloud.members.rules import ConsentRecord
from cloud.members.verify import verify_faces
from shared.answers import GroupPage, RosterPage, TemplatePage, TemplateWanted
from shared.biometrics import Forgetting, SealedTemplate, Wrap
from shared.consent import BIOMETRIC_TEXT_VERSION, Purpose
from shared.envelope import (
    ConsentSaid,
    Envelope,
    FaceDisputed,
    FeedVersions,
    SecretWrapped,
    TemplateEnrolled,
    TemplateForgotten,
    TemplateShared,
)
from shared.ids import MemberId, StoreId
from shared.policy import Means
from tests.cloud.claims.world import NOON, TENANT, World
from tests.support.kiosk import VirtualKiosk

EMBEDDER = b"embedder"
FIRST, SECOND, THIRD = (name * 4 for name in (b"k1", b"k2", b"k3"))
OTHER_STORE, OTHER_KEY = StoreId("porto"), b"o1" * 4


def sealed_of(member: MemberId, key: bytes, salt: bytes = b"") -> SealedTemplate:
    """A sealed template that is nobody's: bytes in which nothing can be found."""
    return SealedTemplate(
        member=member, key=key, embedder=EMBEDDER, sealed=hashlib.shake_256(member + key + salt).digest(289)
    )


def consent(
    kiosk: VirtualKiosk, member: MemberId, at: datetime | None = NOON, /, *, given: bool = True, **changes: object
) -> Envelope:
    """The member gave, or withdrew, the biometric consent at the kiosk."""
    header = changes.pop("header", {})
    assert isinstance(header, dict)
    fact = ConsentSaid(
        tenant=TENANT,
        store=kiosk.policy.store,
        member=member,
        purpose=Purpose.BIOMETRIC,
        given=given,
        text_version=BIOMETRIC_TEXT_VERSION,
        language="it",
        means=Means.PHONE,
    )
    return kiosk.say(msgspec.structs.replace(fact, **changes), at, header)


def enrolled(
    kiosk: VirtualKiosk, member: MemberId, at: datetime | None = NOON, /, *, key: bytes = FIRST, **changes: object
) -> Envelope:
    """The kiosk learnt the member's face."""
    fact = TemplateEnrolled(
        tenant=TENANT,
        store=kiosk.policy.store,
        template=sealed_of(member, key, kiosk.device.encode()),
        frames=5,
        text_version=BIOMETRIC_TEXT_VERSION,
    )
    return kiosk.say(msgspec.structs.replace(fact, **changes), at, {})


def shared(
    kiosk: VirtualKiosk,
    member: MemberId,
    at: datetime | None = NOON,
    /,
    *,
    to: StoreId = OTHER_STORE,
    key: bytes = OTHER_KEY,
    **changes: object,
) -> Envelope:
    """The kiosk sealed the member's template for the other store."""
    fact = TemplateShared(
        tenant=TENANT,
        store=kiosk.policy.store,
        for_store=to,
        template=sealed_of(member, key, kiosk.device.encode()),
        text_version=BIOMETRIC_TEXT_VERSION,
    )
    return kiosk.say(msgspec.structs.replace(fact, **changes), at, {})


def forgotten(
    kiosk: VirtualKiosk, member: MemberId, at: datetime = NOON, /, *, why: Forgetting = Forgetting.WITHDRAWN
) -> Envelope:
    """The kiosk holds no template of the member any more."""
    return kiosk.say(TemplateForgotten(tenant=TENANT, store=kiosk.policy.store, member=member, why=why), at, {})


def wrapped(
    kiosk: VirtualKiosk,
    for_whom: str,
    at: datetime = NOON,
    /,
    *,
    key: bytes = FIRST,
    previous: bytes | None = None,
    salt: bytes = b"",
) -> Envelope:
    """The kiosk wrapped the secret of that name for another, or for itself."""
    wrap = Wrap(device=for_whom, sealed=wrap_of(for_whom, key, kiosk, salt))
    fact = SecretWrapped(tenant=TENANT, store=kiosk.policy.store, key=key, previous=previous, wrap=wrap)
    return kiosk.say(fact, at, {})


def wrap_of(for_whom: str, key: bytes, by: VirtualKiosk, salt: bytes = b"") -> bytes:
    """What that wrap looks like."""
    return hashlib.shake_256(for_whom.encode() + key + by.device.encode() + salt).digest(200)


def disputed(kiosk: VirtualKiosk, member: MemberId, at: datetime = NOON, /, **changes: object) -> Envelope:
    """Whoever stood there is not that member."""
    fact = FaceDisputed(tenant=TENANT, store=kiosk.policy.store, member=member, claim=None)
    return kiosk.say(msgspec.structs.replace(fact, **changes), at, {})


@dataclass(slots=True, kw_only=True)
class Holder:
    """A kiosk that reads the feeds of faces and keeps what they say."""

    world: World
    keyring: Keyring
    kiosk: VirtualKiosk
    group: GroupPage | None = None
    templates: dict[bytes, SealedTemplate] = field(default_factory=dict)
    consents: dict[bytes, int | None] = field(default_factory=dict)
    wanted: tuple[TemplateWanted, ...] = ()
    feeds: FeedVersions = field(default_factory=FeedVersions)
    leased_ms: int = 0
    resets: int = 0

    def read(self, now: datetime = NOON) -> "Holder":
        """Reads until nothing is left to read; gives itself."""
        more = True
        while more:
            state = self.kiosk.state(feeds=self.feeds)
            with writing(self.world.engine) as connection:
                pages = catch_up(connection, self.keyring, self.kiosk.device, state, now)
            more = any([self._hear(page) for page in pages if isinstance(page, RosterPage | GroupPage | TemplatePage)])
        return self

    def _hear(self, page: RosterPage | GroupPage | TemplatePage) -> bool:
        match page:
            case RosterPage():
                self.feeds = msgspec.structs.replace(self.feeds, roster=page.version)
                self.consents |= {entry.member: entry.face_text for entry in page.entries}
            case GroupPage():
                self.feeds = msgspec.structs.replace(self.feeds, group=page.version)
                self.group = page
            case TemplatePage():
                assert page.base == self.feeds.templates or page.reset
                self.feeds = msgspec.structs.replace(self.feeds, templates=page.version)
                self._keep(page)
        return page.more

    def _keep(self, page: TemplatePage) -> None:
        if page.reset:
            self.resets += 1
            self.templates.clear()
        for entry in page.entries:
            self.templates.pop(entry.member, None)
            if entry.template is not None:
                self.templates[entry.member] = entry.template
        if not page.more:
            self.leased_ms, self.wanted = page.issued_ms, page.wanted


def history(world: World, member: MemberId) -> tuple[ConsentRecord, ...]:
    """The member's consents."""
    with reading(world.engine) as connection:
        return consents_of(connection, TENANT, member)


def face_text(world: World, member: MemberId) -> int | None:
    """The version of the biometric text whose consent is in force."""
    with reading(world.engine) as connection:
        found = member_by_id(connection, TENANT, member)
    assert found is not None
    return found.face_text


def assert_faces_kept_as_promised(world: World) -> None:
    """The verifier finds nothing."""
    with reading(world.engine) as connection:
        assert verify_faces(connection) == ()
