"""Keeps the templates of a kiosk: which secret seals and turns them, who else holds it, and which are in the gallery.

The only part of the device that opens a template. What it keeps is on two sides: sealed templates on the `Shelf` (the
template database), secrets in the `KeyFiles`. A change of the secret is written before any template is sealed anew, and
the old secret is kept until nothing needs it, so that a power cut at any moment loses no template: `start` finishes.

What Python cannot wipe is said here once: the library's own copies of keys, and what msgspec read from the files and
the wraps, live until the memory they lay in is used again. Secrets, templates and rotations that this package holds
itself are overwritten as soon as they are replaced.

A template that the group of another store gave is turned and sealed under this group's secret as soon as it opens.
Until that group was introduced here it is kept shut: introductions are made in both directions, and one comes first.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from numpy.typing import NDArray

from edge.core.feeds import HeldFeed
from edge.core.match import Comparison
from edge.errors import StorageFull
from edge.vision.faces.gallery import MEMBERS_MAX, TEMPLATE_BYTES, Gallery, GalleryEntry, pack, unpack
from edge.vision.faces.intake import (
    HANDED_BYTES,
    HANDED_VERSION,
    NO_INTAKE,
    GroupName,
    Intake,
    Partner,
    giver_of,
    is_handed,
)
from edge.vision.faces.key_files import PREVIOUS_MAX, GroupFile, KeyFiles
from edge.vision.faces.recovery import SheetFault, parse_sheet
from edge.vision.faces.rotation import Rotation
from edge.vision.faces.sealing import (
    NONCE_BYTES,
    SECRET_BYTES,
    Address,
    Listed,
    Package,
    Seal,
    WrapHead,
    is_proved,
    is_small_enough,
    open_wrap,
    parse_wrap,
    wrap,
)
from shared.biometrics import KIOSKS_MAX, PARTNERS_MAX, SealedTemplate, Wrap
from shared.ids import MEMBER_ID_BYTES, DeviceId, MemberId, StoreId

log = logging.getLogger(__name__)

RESEALED_MAX: Final = 2000
"""Templates sealed anew that are told at once: about 700 kB, below what a message between processes may have."""

_BATCH: Final = 1000


class Shelf(Protocol):
    """Where sealed templates lie: `edge.db.templates.TemplateDatabase`, which says what each of these does."""

    def bind(self, life: bytes) -> bool: ...
    def life(self) -> bytes | None: ...
    def held(self) -> HeldFeed: ...
    def count(self) -> int: ...
    def all_sealed(
        self, key: bytes, embedder: bytes | None = None, *, beginning: bytes = b""
    ) -> Iterator[SealedTemplate]: ...
    def sealed_of(self, member: MemberId) -> SealedTemplate | None: ...
    def apply(
        self,
        *,
        version: int | None,
        issued_ms: int,
        whole: bool,
        reset: bool,
        keep: Iterable[SealedTemplate],
        forget: Iterable[MemberId],
    ) -> tuple[MemberId, ...]: ...
    def reseal(self, templates: Iterable[SealedTemplate]) -> None: ...
    def untold(self, limit: int) -> tuple[SealedTemplate, ...]: ...
    def lapse(self, before_ms: int) -> tuple[MemberId, ...]: ...
    def forget_all(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which kiosk of which store this is."""

    store: StoreId
    device: DeviceId


class GroupRefusal(StrEnum):
    """Why the group stayed as it was.

    UNGROUPED: there is no secret yet. GROUPED: there is one already. FULL: the list of kiosks or of partners is.
    BAD_KEY: no key that could be one. ITSELF: this kiosk's own request, or this store's own introduction. UNREADABLE:
    no wrap. UNKNOWN_SENDER: from nobody of this group. NOT_OURS: for another kiosk or store, or altered. OLD: from
    before a change of the secret that is known here. STRANGER: that store was not introduced.
    """

    UNGROUPED = "ungrouped"
    GROUPED = "grouped"
    FULL = "full"
    BAD_KEY = "bad_key"
    ITSELF = "itself"
    UNREADABLE = "unreadable"
    UNKNOWN_SENDER = "unknown_sender"
    NOT_OURS = "not_ours"
    OLD = "old"
    STRANGER = "stranger"


class ShareRefusal(StrEnum):
    """Why a template was not sealed for another store.

    UNKNOWN_STORE: its group was not introduced here, or has another secret since. NOT_HELD: there is none that opens.
    """

    UNKNOWN_STORE = "unknown_store"
    NOT_HELD = "not_held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Regrouped:
    """The group after a step, and what the cloud must be told of it.

    `group` names the secret; `previous` the one it replaces for the whole store, None when the store keeps its secret
    or had none. `kiosks` of the list, this one among them; `partners` that were introduced. `resealed` at most
    RESEALED_MAX; `Keeper.resealed` tells the rest once these came back through `Keeper.apply`.
    """

    group: bytes
    previous: bytes | None
    kiosks: tuple[DeviceId, ...]
    wraps: tuple[Wrap, ...]
    resealed: tuple[SealedTemplate, ...]
    partners: tuple[GroupName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """How many templates are in the gallery, and how many are held that nothing here opens or compares."""

    usable: int
    unusable: int

    @property
    def held(self) -> int:
        """All of them: what is not usable now is held, too, and must be forgotten when that is asked."""
        return self.usable + self.unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `Keeper.apply` did: members really forgotten, and templates that were not what they said they were.

    `shut` counts templates of another store's group that nobody has introduced here.
    """

    forgotten: tuple[MemberId, ...]
    refused: int
    shut: int = 0


@dataclass(slots=True, kw_only=True)
class _Held:
    """One secret and what is made of it."""

    secret: bytearray = field(repr=False)
    seal: Seal
    rotation: Rotation
    intake: Intake

    @classmethod
    def of(cls, secret: bytes | bytearray) -> "_Held":
        kept = bytearray(secret)
        return cls(secret=kept, seal=Seal(kept), rotation=Rotation(kept), intake=Intake(kept))

    @property
    def key(self) -> bytes:
        return self.seal.key

    def wipe(self) -> None:
        self.secret[:] = bytes(len(self.secret))
        self.rotation.wipe()


class Keeper:
    """The templates and secrets of one kiosk. Not for several threads at once.

    `folder` holds the key files. `embedder` is the identity of the network in use, None when there is none: then
    templates are kept and forgotten, and none is compared. `random` gives so many random bytes.
    """

    def __init__(self, folder: Path, shelf: Shelf, *, embedder: bytes | None, random: Callable[[int], bytes]) -> None:
        self._files = KeyFiles(folder)
        self._shelf = shelf
        self._embedder = embedder
        self._random = random
        self._own: X25519PrivateKey | None = None
        self._place: Place | None = None
        self._generation = 0
        self._secrets: list[_Held] = []  # the current one first
        self._others: tuple[Listed, ...] = ()
        self._partners: tuple[Partner, ...] = ()
        self._gallery = Gallery()

    def __repr__(self) -> str:
        return f"Keeper({len(self._gallery)} templates)"

    def start(self) -> Loaded:
        """Loads or makes the keys, finishes a change of the secret that was cut short, fills the gallery.

        Raises: StorageDamaged, StorageFull.
        """
        raw = self._files.load_sealing()
        if raw is None:
            self._renew_sealing_key()
        else:
            self._own = X25519PrivateKey.from_private_bytes(raw)
        group = self._files.load_group()
        if group is not None:
            self._place = Place(store=StoreId(group.store), device=DeviceId(group.device))
            self._generation = group.generation
            self._secrets = [_Held.of(secret) for secret in group.secrets]
            self._others, self._partners = group.others, group.partners
            self._reseal_held()
        return self._fill()

    def bind(self, place: Place, life: bytes) -> bool:
        """Says which kiosk this is, and to which life of the main database its templates belong.

        True when templates were wiped because they were of another life, store or device; of another store or device
        the secret is gone as well.
        """
        moved = bool(self._secrets) and place != self._place
        self._place = place
        if moved:
            self._leave()
        if self._shelf.life() != life:
            self._gallery.wipe()  # first, lest a disk that takes nothing leaves them in use
        return self._shelf.bind(life) or moved

    def wipe(self) -> None:
        """Leaves nothing of templates and secrets in memory; files stay. `start` begins anew."""
        self._gallery.wipe()
        for held in self._secrets:
            held.wipe()
        self._secrets, self._others, self._partners, self._own, self._generation = [], (), (), None, 0

    # --- what is held -------------------------------------------------------------------------------------------------

    @property
    def sealing_public(self) -> bytes:
        """This kiosk's sealing key, 32 bytes: for its own screen, never for the cloud."""
        return self._sealing_key.public_key().public_bytes_raw()

    @property
    def group_key(self) -> bytes | None:
        """The name of the secret held, None when there is none."""
        return self._secrets[0].key if self._secrets else None

    @property
    def has_secret(self) -> bool:
        """True when this kiosk is of a group."""
        return bool(self._secrets)

    @property
    def kiosks(self) -> tuple[DeviceId, ...]:
        """The group's kiosks as far as this one knows, itself first; none when it is of no group."""
        if not self._secrets:
            return ()
        return (self._bound.device, *(DeviceId(other.device) for other in self._others))

    @property
    def intake_public(self) -> bytes | None:
        """The key by which this group takes templates of other stores in, 32 bytes: for its own screen and the other
        store's camera, never for the cloud. None when this kiosk is of no group.
        """
        return self._secrets[0].intake.public if self._secrets else None

    @property
    def partners(self) -> tuple[GroupName, ...]:
        """The groups of other stores that were introduced to this one."""
        trusted = (partner for partner in self._partners if partner.is_trusted)
        return tuple(GroupName(store=StoreId(partner.store), key=partner.key) for partner in trusted)

    @property
    def life(self) -> bytes | None:
        """The life of the main database that the templates belong to."""
        return self._shelf.life()

    @property
    def feed(self) -> HeldFeed:
        """Version and time of the templates feed as applied."""
        return self._shelf.held()

    @property
    def loaded(self) -> Loaded:
        """How many templates are in the gallery, and how many are not."""
        usable = len(self._gallery)
        return Loaded(usable=usable, unusable=self._shelf.count() - usable)

    # --- faces --------------------------------------------------------------------------------------------------------

    def compare(self, probe: NDArray[np.float32], probes: int) -> Comparison:
        """The probe, fused from so many frames, against everybody enrolled.

        Shape and dtype: (256,) float32 of length 1, as the embedder made it.
        """
        turned = self._secrets[0].rotation.turn(probe) if self._secrets else probe
        comparison = self._gallery.compare(turned, probes)
        if self._secrets:
            turned.fill(0)
        return comparison

    def enrol(self, member: MemberId, mean: NDArray[np.float32]) -> SealedTemplate:
        """The member's sealed template, which is in use once `apply` brings it back: whoever records it comes first.

        Shape and dtype: (256,) float32, the mean of several frames' embeddings; its length does not matter. Needs a
        secret and an embedder.
        """
        assert self._secrets, "nobody enrols before there is a group"
        assert self._embedder is not None, "nobody enrols without an embedder"
        turned = self._secrets[0].rotation.turn(mean)
        template = pack(turned)
        sealed = self._close(template, member, self._embedder)
        turned.fill(0)
        template[:] = bytes(TEMPLATE_BYTES)
        return sealed

    def share(self, member: MemberId, store: StoreId, key: bytes) -> SealedTemplate | ShareRefusal:
        """The member's template for another store, whose secret is named `key`: only that store's kiosks open it."""
        partner = next((one for one in self._partners if (one.store, one.key) == (store, key)), None)
        if partner is None or not partner.is_trusted:
            return ShareRefusal.UNKNOWN_STORE
        template, opened = self._shelf.sealed_of(member), bytearray(TEMPLATE_BYTES)
        if template is None or not self._is_comparable(template) or not self._opens(self._secrets[0], template, opened):
            return ShareRefusal.NOT_HELD
        current = self._secrets[0]
        vector = current.rotation.turn_back(unpack(opened))
        opened[:] = pack(vector)
        own = GroupName(store=self._bound.store, key=current.key)
        given = current.intake.give(opened, own=own, to=partner, member=member, embedder=template.embedder)
        vector.fill(0)
        opened[:] = bytes(TEMPLATE_BYTES)
        return SealedTemplate(member=member, key=key, embedder=template.embedder, sealed=given)

    # --- templates that come and go -----------------------------------------------------------------------------------

    def apply(
        self,
        *,
        version: int | None,
        issued_ms: int,
        whole: bool,
        reset: bool,
        keep: Sequence[SealedTemplate],
        forget: Sequence[MemberId],
    ) -> Applied:
        """Keeps and forgets in one step that is on the disk when this returns; see `TemplateDatabase.apply`.

        A template that says it is under a secret held here and does not open is refused, and the one held stays. One
        under an earlier secret, or of another store's group, is sealed anew. One under an unknown secret is kept until
        a wrap explains it, one of a group that nobody introduced here until somebody does.
        """
        true = tuple(template for template in keep if self._is_true(template))
        wanted = tuple(template for template in true if reset or not self._is_outdated(template))
        forgotten = self._shelf.apply(
            version=version, issued_ms=issued_ms, whole=whole, reset=reset, keep=wanted, forget=forget
        )
        if reset:
            self._gallery.wipe()
        for member in (*forget, *(MemberId(template.member) for template in wanted)):
            self._use_held(member)
        foreign = tuple(MemberId(template.member) for template in wanted if self._is_foreign(template))
        if foreign:
            self._reseal_held()
        for member in foreign:
            self._use_held(member)
        if whole:
            self._drop_previous()
        shut = sum(self._is_shut(template) for template in wanted)
        return Applied(forgotten=forgotten, refused=len(keep) - len(true), shut=shut)

    def lapse(self, before_ms: int) -> tuple[MemberId, ...]:
        """Forgets every template that was last confirmed before this instant; returns whose they were."""
        lapsed = self._shelf.lapse(before_ms)
        for member in lapsed:
            self._gallery.remove(member)
        return lapsed

    def resealed(self) -> tuple[SealedTemplate, ...]:
        """Templates sealed anew here whose new form `apply` has not brought back yet, at most RESEALED_MAX."""
        return self._shelf.untold(RESEALED_MAX)

    # --- the group ----------------------------------------------------------------------------------------------------

    def make_group(self) -> Regrouped | GroupRefusal:
        """The store's first secret, made here."""
        if self._secrets:
            return GroupRefusal.GROUPED
        self._adopt(self._fresh_secret(), 1, (), ())
        return self._regrouped()

    def admit(self, device: DeviceId, sealing_public: bytes) -> Regrouped | GroupRefusal:
        """Wraps of the secret for the newcomer, whose key was read from its own screen, and for everybody else.

        Everybody's, because everybody's list must name the newcomer before they believe it.
        """
        if not self._secrets:
            return GroupRefusal.UNGROUPED
        if device == self._bound.device:
            return GroupRefusal.ITSELF
        if not self._is_usable_key(sealing_public):
            return GroupRefusal.BAD_KEY
        others = _joined(self._others, (Listed(device, sealing_public),))
        if len(others) >= KIOSKS_MAX:
            return GroupRefusal.FULL
        self._save(self._secrets, self._generation, others, self._partners)
        self._others = others
        return self._regrouped(wraps=self._wraps())

    def introduce(self, group: GroupName, intake_public: bytes) -> Regrouped | GroupRefusal:
        """Another store's group is known here from now on, in the place of the one its store had before.

        The other kiosks of this group hear of it in new wraps. What that group gave before it was known is opened now.
        """
        if not self._secrets:
            return GroupRefusal.UNGROUPED
        if group.store == self._bound.store:
            return GroupRefusal.ITSELF
        if not self._secrets[0].intake.may_know(intake_public):
            return GroupRefusal.BAD_KEY
        partners = _known(self._partners, (Partner(group.store, group.key, intake_public, self._next_serial()),))
        while not self._may_know(partners):
            taken_back = next((partner for partner in partners if not partner.is_trusted), None)
            if taken_back is None:
                return GroupRefusal.FULL
            partners = tuple(partner for partner in partners if partner is not taken_back)
        return self._know(partners)

    def distrust(self, store: StoreId) -> Regrouped | GroupRefusal:
        """The introduction of that store's group is taken back: it is given nothing more, and nothing of it is opened.

        What it gave before is this group's by now, under the consents of whom it is about.
        """
        known = next((one for one in self._partners if one.store == store and one.is_trusted), None)
        if known is None:
            return GroupRefusal.STRANGER
        return self._know(_known(self._partners, (Partner(store, known.key, NO_INTAKE, self._next_serial()),)))

    def take_wrap(self, wrapped: bytes) -> Regrouped | GroupRefusal:
        """The group that this wrap tells of; templates held under an earlier secret are sealed anew.

        Only a kiosk of the present list is believed. A kiosk that is alone has no such list: it believes whoever knows
        its sealing key, and a secret that it had made for itself gives way to the group's.
        """
        head = parse_wrap(wrapped)
        if head is None:
            return GroupRefusal.UNREADABLE
        if self._others and not self._is_from(head, self._others):
            return GroupRefusal.UNKNOWN_SENDER
        package = open_wrap(head, self._bound.store, self._bound.device, self._sealing_key)
        if package is None or not self._is_listed(package.kiosks):
            return GroupRefusal.NOT_OURS
        others = tuple(kiosk for kiosk in package.kiosks if kiosk.device != self._bound.device)
        if not self._is_from(head, others):
            return GroupRefusal.UNKNOWN_SENDER
        if self._others and (package.generation, head.key) < (self._generation, self.group_key):
            return GroupRefusal.OLD
        partners = _known(self._partners, package.partners)[-PARTNERS_MAX:]
        if head.key == self.group_key:
            joined = _joined(self._others, others)
            self._save(self._secrets, package.generation, joined, partners)
            self._generation, self._others = package.generation, joined
            self._meet(partners)
        else:
            self._adopt(bytearray(package.secret), package.generation, others, partners)
        return self._regrouped()

    def rotate(self, kept: Iterable[DeviceId]) -> Regrouped | GroupRefusal:
        """A new secret, wrapped for these kiosks only, with every template turned and sealed anew.

        The old secret is kept until nothing sealed under it can come any more. A kiosk that stays alone makes a new
        sealing key as well: those who left know the old one.
        """
        if not self._secrets:
            return GroupRefusal.UNGROUPED
        previous, staying = self.group_key, frozenset(kept)
        others = tuple(other for other in self._others if other.device in staying)
        if self._others and not others:
            self._renew_sealing_key()
        self._adopt(self._fresh_secret(), self._generation + 1, others, self._partners)
        return self._regrouped(previous=previous, wraps=self._wraps())

    def recover(self, text: str) -> Regrouped | GroupRefusal | SheetFault:
        """The group of a recovery sheet, on a kiosk that is alone. The other kiosks it had must ask to join anew."""
        if self._others:
            return GroupRefusal.GROUPED
        secret = parse_sheet(text)
        if isinstance(secret, SheetFault):
            return secret
        if Seal(secret).key != self.group_key:
            self._adopt(secret, 1, (), self._partners)
        return self._regrouped()

    # --- secrets ------------------------------------------------------------------------------------------------------

    @property
    def _bound(self) -> Place:
        assert self._place is not None, "bind comes before anything about the group"
        return self._place

    @property
    def _sealing_key(self) -> X25519PrivateKey:
        assert self._own is not None, "start comes first"
        return self._own

    def _fresh_secret(self) -> bytearray:
        return bytearray(self._random(SECRET_BYTES))

    def _renew_sealing_key(self) -> None:
        raw = self._random(SECRET_BYTES)
        self._files.save_sealing(raw)
        self._own = X25519PrivateKey.from_private_bytes(raw)

    def _adopt(
        self, secret: bytearray, generation: int, others: tuple[Listed, ...], partners: tuple[Partner, ...]
    ) -> None:
        """This secret is the current one, on the disk; every template that opens is turned and sealed under it."""
        held = _Held.of(secret)
        secret[:] = bytes(len(secret))
        earlier = [known for known in self._secrets if known.key != held.key]
        dropped = [known for known in self._secrets if known.key == held.key] + earlier[PREVIOUS_MAX:]
        secrets = [held, *earlier[:PREVIOUS_MAX]]
        self._save(secrets, generation, others, partners)
        self._secrets, self._generation, self._others, self._partners = secrets, generation, others, partners
        for known in dropped:
            known.wipe()
        self._gallery.wipe()  # before anything else: what it holds is turned as the earlier secret says
        self._reseal_held()
        self._fill()

    def _drop_previous(self) -> None:
        """Wipes earlier secrets once the whole feed was told and nothing in it is under them or still to be told."""
        previous = self._secrets[1:]
        if not previous or self._shelf.untold(1):
            return
        # What another store's group gave under an earlier secret and still does not open is asked for anew.
        if any(not is_handed(template.sealed) for held in previous for template in self._shelf.all_sealed(held.key)):
            return
        try:
            self._save(self._secrets[:1], self._generation, self._others, self._partners)
        except StorageFull:
            log.warning("an earlier secret of the group stays: no room to write")
            return
        del self._secrets[1:]
        for held in previous:
            held.wipe()

    def _leave(self) -> None:
        self.wipe()
        self._files.remove_group()
        self._renew_sealing_key()
        self._shelf.forget_all()

    def _next_serial(self) -> int:
        return 1 + max((partner.serial for partner in self._partners), default=0)

    def _may_know(self, partners: tuple[Partner, ...]) -> bool:
        return len(partners) <= PARTNERS_MAX and is_small_enough(self._package(partners))

    def _know(self, partners: tuple[Partner, ...]) -> Regrouped:
        """These groups are known here, and the own group's other kiosks are told."""
        self._save(self._secrets, self._generation, self._others, partners)
        self._meet(partners)
        return self._regrouped(wraps=self._wraps())

    def _meet(self, partners: tuple[Partner, ...]) -> None:
        """These groups are known, on the disk already; what they gave before is sealed anew."""
        if partners == self._partners:
            return
        self._partners = partners
        for member in self._reseal_held():
            self._use_held(member)

    def _save(
        self,
        secrets: Sequence[_Held],
        generation: int,
        others: tuple[Listed, ...],
        partners: tuple[Partner, ...],
    ) -> None:
        """This group is on the disk; called before it is so in memory. Raises: StorageFull, and nothing changed."""
        place = self._bound
        self._files.save_group(
            GroupFile(
                store=place.store,
                device=place.device,
                generation=generation,
                secrets=tuple(bytes(held.secret) for held in secrets),
                others=others,
                partners=partners,
            )
        )

    # --- wraps --------------------------------------------------------------------------------------------------------

    def _regrouped(self, *, previous: bytes | None = None, wraps: tuple[Wrap, ...] = ()) -> Regrouped:
        return Regrouped(
            group=self._secrets[0].key,
            previous=previous,
            kiosks=self.kiosks,
            wraps=wraps,
            resealed=self.resealed(),
            partners=self.partners,
        )

    def _wraps(self) -> tuple[Wrap, ...]:
        """The secret and the lists for every other kiosk; partners only as many as there is room for."""
        partners = self._partners
        while partners and not is_small_enough(self._package(partners)):
            partners = partners[1:]
        package = self._package(partners)
        return tuple(self._wrap(package, self._bound, other) for other in self._others)

    def _package(self, partners: tuple[Partner, ...]) -> Package:
        kiosks = (Listed(self._bound.device, self.sealing_public), *self._others)
        return Package(self._generation, bytes(self._secrets[0].secret), kiosks, partners)

    def _wrap(self, package: Package, place: Place, other: Listed) -> Wrap:
        reader = DeviceId(other.device)
        address = Address(store=place.store, sender=place.device, reader=reader, key=self._secrets[0].key)
        return Wrap(device=reader, sealed=wrap(package, address, self._sealing_key, other.sealing_public))

    def _is_from(self, head: WrapHead, kiosks: tuple[Listed, ...]) -> bool:
        """True when one of these kiosks made the wrap."""
        public = next((kiosk.sealing_public for kiosk in kiosks if kiosk.device == head.sender), None)
        place, own = self._bound, self._sealing_key
        return public is not None and is_proved(head, place.store, place.device, own, public)

    def _is_listed(self, kiosks: tuple[Listed, ...]) -> bool:
        return Listed(self._bound.device, self.sealing_public) in kiosks

    def _is_usable_key(self, public: bytes) -> bool:
        """False for what is no point, or one that gives everybody the same secret."""
        try:
            self._sealing_key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            return False
        return True

    # --- templates ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _opens(held: _Held, template: SealedTemplate, into: memoryview | bytearray) -> bool:
        member = MemberId(template.member)
        return held.seal.open(template.sealed, member=member, embedder=template.embedder, into=into)

    def _under(self, key: bytes) -> _Held | None:
        return next((held for held in self._secrets if held.key == key), None)

    def _is_earlier(self, key: bytes) -> bool:
        """True for a secret that this kiosk held before the current one."""
        return key != self.group_key and self._under(key) is not None

    def _is_foreign(self, template: SealedTemplate) -> bool:
        """True for one that must be sealed anew before it is used: under an earlier secret, or of another group."""
        return self._is_earlier(template.key) or is_handed(template.sealed)

    def _giver(self, template: SealedTemplate) -> Partner | None:
        """The group that says it gave this, if it was introduced here."""
        key = giver_of(template.sealed)
        return next((partner for partner in self._partners if partner.key == key), None)

    def _is_shut(self, template: SealedTemplate) -> bool:
        """True for what the group of another store gave, of which nothing is known here yet."""
        return len(template.sealed) == HANDED_BYTES and is_handed(template.sealed) and self._giver(template) is None

    def _is_true(self, template: SealedTemplate) -> bool:
        """False when a secret held here says that these bytes are not this member's template."""
        held = self._under(template.key)
        if held is None or self._is_shut(template):
            return True
        vector = self._vector(held, template)
        if vector is None:
            return False
        vector.fill(0)
        return True

    def _vector(self, held: _Held, template: SealedTemplate) -> NDArray[np.float32] | None:
        """The template as the embedder made it, or None when this secret does not open it.

        Shape and dtype: (256,) float32.
        """
        opened, vector = bytearray(TEMPLATE_BYTES), None
        if is_handed(template.sealed):
            if self._takes(held, template, opened):
                vector = unpack(opened)
        elif self._opens(held, template, opened):
            vector = held.rotation.turn_back(unpack(opened))
        opened[:] = bytes(TEMPLATE_BYTES)
        return vector

    def _takes(self, held: _Held, template: SealedTemplate, into: bytearray) -> bool:
        giver, member = self._giver(template), MemberId(template.member)
        own = GroupName(store=self._bound.store, key=held.key)
        return giver is not None and held.intake.take(
            template.sealed, own=own, giver=giver, member=member, embedder=template.embedder, into=into
        )

    def _is_outdated(self, template: SealedTemplate) -> bool:
        """True for a template under an earlier secret whose member is held under the current one already."""
        if not self._is_earlier(template.key):
            return False
        held = self._shelf.sealed_of(MemberId(template.member))
        return held is not None and held.key == self.group_key

    def _use_held(self, member: MemberId) -> None:
        """The gallery compares with the template held of the member, or with none when it cannot."""
        template, opened = self._shelf.sealed_of(member), bytearray(TEMPLATE_BYTES)
        if template is not None and self._is_comparable(template) and self._opens(self._secrets[0], template, opened):
            self._gallery.put(GalleryEntry(member=member, template=opened))
            opened[:] = bytes(TEMPLATE_BYTES)
        else:
            self._gallery.remove(member)

    def _is_comparable(self, template: SealedTemplate) -> bool:
        """True under the current secret and of the embedder in use."""
        return self.has_secret and (template.key, template.embedder) == (self.group_key, self._embedder)

    def _fill(self) -> Loaded:
        """The gallery holds what opens under the current secret and is of this embedder."""
        self._gallery.wipe()
        if self._secrets and self._embedder is not None:
            block = np.zeros((_BATCH, TEMPLATE_BYTES), np.uint8)
            shelved = islice(self._shelf.all_sealed(self._secrets[0].key, self._embedder), MEMBERS_MAX)
            while batch := list(islice(shelved, _BATCH)):
                self._fill_from(batch, block)
            block.fill(0)
        return self.loaded

    def _fill_from(self, batch: list[SealedTemplate], block: NDArray[np.uint8]) -> None:
        rows, members, count = block.reshape(-1).data, bytearray(), 0
        for template in batch:
            if self._opens(self._secrets[0], template, rows[count * TEMPLATE_BYTES : (count + 1) * TEMPLATE_BYTES]):
                members += template.member
                count += 1
        self._gallery.extend(np.frombuffer(members, np.uint8).reshape(-1, MEMBER_ID_BYTES), block[:count])

    def _reseal_held(self) -> list[MemberId]:
        """Every template that is foreign is turned and sealed under the current secret, as far as there is room.

        Returns whose they are. Without room they stay as they are, unused, until the next `start`: what was asked is
        done all the same.
        """
        done: list[MemberId] = []
        try:
            for place, held in enumerate(self._secrets):
                # Under the current secret only what another store's group gave, and few have that.
                done += self._reseal_under(held, beginning=b"" if place else HANDED_VERSION)
        except StorageFull:
            log.warning("templates could not be sealed anew: no room to write")
        return done

    def _reseal_under(self, held: _Held, *, beginning: bytes) -> Iterator[MemberId]:
        shelved = self._shelf.all_sealed(held.key, beginning=beginning)
        while batch := list(islice(shelved, _BATCH)):
            resealed = tuple(filter(None, (self._resealed_one(held, template) for template in batch)))
            self._shelf.reseal(resealed)
            yield from (MemberId(template.member) for template in resealed)

    def _resealed_one(self, under: _Held, template: SealedTemplate) -> SealedTemplate | None:
        vector = self._vector(under, template)
        if vector is None:
            return None
        turned, opened = self._secrets[0].rotation.turn(vector), bytearray(TEMPLATE_BYTES)
        opened[:] = pack(turned)
        sealed = self._close(opened, MemberId(template.member), template.embedder)
        for buffer in (vector, turned):
            buffer.fill(0)
        opened[:] = bytes(TEMPLATE_BYTES)
        return sealed

    def _close(self, template: bytearray, member: MemberId, embedder: bytes) -> SealedTemplate:
        current = self._secrets[0]
        sealed = current.seal.close(template, member=member, embedder=embedder, nonce=self._random(NONCE_BYTES))
        return SealedTemplate(member=member, key=current.key, embedder=embedder, sealed=sealed)


def _known(partners: tuple[Partner, ...], newer: tuple[Partner, ...]) -> tuple[Partner, ...]:
    """Both lists as one, the latest introduction last; of two for one store the later, of two at once the greater."""
    latest: dict[str, Partner] = {}
    for partner in sorted((*partners, *newer), key=lambda one: (one.serial, one.key, one.intake_public)):
        latest.pop(partner.store, None)
        latest[partner.store] = partner
    return tuple(latest.values())


def _joined(kiosks: tuple[Listed, ...], newer: tuple[Listed, ...]) -> tuple[Listed, ...]:
    """Both lists as one; where both name a device, its newer key."""
    named = {kiosk.device for kiosk in newer}
    return (*(kiosk for kiosk in kiosks if kiosk.device not in named), *newer)
