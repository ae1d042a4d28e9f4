"""Kiosks of one store know each other's members; the cloud between them, and kiosks that left, open nothing.

`Cloud` is what the real one is to a group: it keeps every byte that any kiosk ever told it, and hands on what it
likes.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from edge.core.match import Candidate, Comparison
from edge.db.templates import TemplateDatabase
from edge.errors import StorageDamaged, StorageFull
from edge.vision.faces.gallery import TEMPLATE_BYTES
from edge.vision.faces.keeper import GroupRefusal, Keeper, Loaded, Place, Regrouped
from edge.vision.faces.recovery import SheetFault, format_sheet
from edge.vision.faces.sealing import Address, Listed, Package, Seal, key_id, open_wrap, parse_wrap, wrap
from shared.biometrics import KIOSKS_MAX, SealedTemplate
from shared.ids import DeviceId, MemberId, StoreId

STORE, OTHER_STORE = StoreId("corso"), StoreId("piazza")
A, B, C, D = (DeviceId(f"kiosk{letter}") for letter in "abcd")
LIFE, OTHER_LIFE = b"l" * 16, b"m" * 16
EMBEDDER, OTHER_EMBEDDER = b"embedder", b"retailor"
ANNA, BERT, CARLA = (MemberId(name) for name in (b"anna000000", b"bert000000", b"carla00000"))
MEMORY = Path("/dev/shm")


def face(member: bytes) -> NDArray[np.float32]:
    """A member's direction, of length 1; strangers' are unlike each other."""
    seed = int.from_bytes(hashlib.sha256(member).digest()[:4], "big")
    vector = np.random.default_rng(seed).normal(size=256)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


@dataclass
class Cloud:
    """Every byte it was told, and the newest of each thing."""

    carried: list[bytes] = field(default_factory=list)
    templates: dict[MemberId, SealedTemplate] = field(default_factory=dict)
    wraps: dict[DeviceId, bytes] = field(default_factory=dict)

    def hear_template(self, template: SealedTemplate) -> None:
        self.carried += [template.member, template.key, template.embedder, template.sealed]
        self.templates[MemberId(template.member)] = template

    def hear_group(self, regrouped: Regrouped) -> None:
        for one in regrouped.wraps:
            self.carried.append(one.sealed)
            self.wraps[DeviceId(one.device)] = one.sealed
        for template in regrouped.resealed:
            self.hear_template(template)


class Kiosk:
    """A kiosk with its two folders; `restart` is a power cut and a new start."""

    def __init__(self, folder: Path, device: DeviceId, *, store: StoreId = STORE, embedder: bytes = EMBEDDER) -> None:
        self.folder = folder / device
        self.folder.mkdir()
        self.place = Place(store=store, device=device)
        self.embedder: bytes | None = embedder
        self.random: Callable[[int], bytes] = random.Random(f"{store}:{device}").randbytes
        self.shelf = TemplateDatabase(self.folder / "faces.db")
        self.restart()

    def restart(self) -> Loaded:
        self.shelf.close()
        self.shelf.open()
        self.keeper = Keeper(self.folder, self.shelf, embedder=self.embedder, random=self.random)
        loaded = self.keeper.start()
        self.keeper.bind(self.place, LIFE)
        return loaded

    def tell(
        self,
        *keep: SealedTemplate,
        forget: tuple[MemberId, ...] = (),
        version: int | None = 1,
        issued_ms: int = 1000,
        whole: bool = False,
        reset: bool = False,
    ) -> int:
        """How many were refused."""
        applied = self.keeper.apply(
            version=version, issued_ms=issued_ms, whole=whole, reset=reset, keep=keep, forget=forget
        )
        return applied.refused

    def enrol(self, cloud: Cloud, *members: MemberId) -> None:
        for member in members:
            template = self.keeper.enrol(member, face(member))
            cloud.hear_template(template)
            self.tell(template, version=None)

    def knows(self, member: MemberId) -> bool:
        best = self.nearest(member)
        return best is not None and best.member == member and best.score > 0.99

    def nearest(self, member: MemberId) -> Candidate | None:
        """Whom a frame of this member's face is most like."""
        return next(iter(self.keeper.compare(face(member), 1).candidates), None)

    def secret(self) -> bytes:
        return bytes(self.keeper._secrets[0].secret)


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def kiosk(folder: Path) -> Iterator[Callable[..., Kiosk]]:
    made: list[Kiosk] = []

    def make(device: DeviceId, **choices: object) -> Kiosk:
        made.append(Kiosk(folder, device, **choices))  # type: ignore[arg-type]  # the caller's words, passed on
        return made[-1]

    yield make
    for one in made:
        one.shelf.close()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


Make = Callable[..., Kiosk]


def regrouped(outcome: object) -> Regrouped:
    assert isinstance(outcome, Regrouped), outcome
    return outcome


def store_of(make: Make, cloud: Cloud, *devices: DeviceId) -> list[Kiosk]:
    """A group of these kiosks: the first makes it and admits the others."""
    first, *others = [make(device) for device in devices]
    cloud.hear_group(regrouped(first.keeper.make_group()))
    for newcomer in others:
        cloud.hear_group(regrouped(first.keeper.admit(newcomer.place.device, newcomer.keeper.sealing_public)))
        for other in others:
            if other.place.device in cloud.wraps:
                regrouped(other.keeper.take_wrap(cloud.wraps[other.place.device]))
    return [first, *others]


# --- one kiosk --------------------------------------------------------------------------------------------------------


def test_a_new_kiosk_is_of_no_group_and_knows_nobody(kiosk: Make) -> None:
    keeper = kiosk(A).keeper
    assert (keeper.group_key, keeper.has_secret, keeper.kiosks, keeper.resealed()) == (None, False, (), ())
    assert keeper.compare(face(ANNA), 3) == Comparison(
        candidates=(), enrolled=0, probes=3, cohort_mean=0.0, cohort_deviation=0.0
    )
    assert keeper.rotate(()) == keeper.admit(B, bytes(32)) == GroupRefusal.UNGROUPED


def test_the_first_kiosk_makes_the_secret_once(kiosk: Make) -> None:
    one = kiosk(A)
    made = regrouped(one.keeper.make_group())
    assert made == Regrouped(group=key_id(one.secret()), previous=None, kiosks=(A,), wraps=(), resealed=())
    assert one.keeper.make_group() == GroupRefusal.GROUPED
    assert one.keeper.group_key == made.group


def test_a_face_is_known_once_its_record_brought_it_back(kiosk: Make) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    template = one.keeper.enrol(ANNA, face(ANNA) * np.float32(0.8))
    assert (template.key, template.embedder) == (one.keeper.group_key, EMBEDDER)
    assert one.nearest(ANNA) is None
    one.tell(template, version=None)
    assert one.knows(ANNA)
    assert one.keeper.loaded == Loaded(usable=1, unusable=0)
    assert one.keeper.resealed() == ()


def test_a_restart_loses_nothing(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA, BERT)
    public, group = one.keeper.sealing_public, one.keeper.group_key
    assert one.restart() == Loaded(usable=2, unusable=0)
    assert one.knows(ANNA)
    assert one.knows(BERT)
    assert (one.keeper.sealing_public, one.keeper.group_key, one.keeper.life) == (public, group, LIFE)


def test_who_is_forgotten_is_not_known_any_more(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA, BERT)
    applied = one.keeper.apply(version=2, issued_ms=1, whole=True, reset=False, keep=(), forget=(ANNA, CARLA))
    assert applied.forgotten == (ANNA,)
    assert not one.knows(ANNA)
    assert one.knows(BERT)
    assert one.restart() == Loaded(usable=1, unusable=0)


def test_a_reset_leaves_what_came_with_it(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA, BERT)
    one.tell(cloud.templates[BERT], reset=True)
    assert not one.knows(ANNA)
    assert one.knows(BERT)


def test_a_lease_that_runs_out_forgets_by_itself(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    assert one.keeper.lapse(1000) == ()
    assert one.keeper.lapse(1001) == (ANNA,)
    assert not one.knows(ANNA)
    assert one.shelf.count() == 0


def test_another_life_of_the_main_database_begins_empty(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    assert not one.keeper.bind(one.place, LIFE)
    assert one.keeper.bind(one.place, OTHER_LIFE)
    assert not one.knows(ANNA)
    assert one.keeper.has_secret, "the group is still this kiosk's"
    assert (one.keeper.life, one.keeper.feed.version, one.shelf.count()) == (OTHER_LIFE, 0, 0)


@pytest.mark.parametrize("place", [Place(store=OTHER_STORE, device=A), Place(store=STORE, device=B)])
def test_a_kiosk_that_moves_takes_nothing_along(kiosk: Make, cloud: Cloud, place: Place) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    secret, public = one.secret(), one.keeper.sealing_public
    assert one.keeper.bind(place, LIFE)
    assert (one.keeper.has_secret, one.shelf.count(), one.knows(ANNA)) == (False, 0, False)
    assert one.keeper.sealing_public != public
    assert not any(secret in path.read_bytes() for path in one.folder.iterdir())
    one.place = place
    one.restart()
    assert not one.keeper.has_secret


def test_templates_of_another_embedder_never_mix(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    one.embedder = OTHER_EMBEDDER
    assert one.restart() == Loaded(usable=0, unusable=1)
    assert one.nearest(ANNA) is None
    one.tell(cloud.templates[ANNA])
    assert one.nearest(ANNA) is None
    renamed = SealedTemplate(
        member=ANNA, key=cloud.templates[ANNA].key, embedder=OTHER_EMBEDDER, sealed=cloud.templates[ANNA].sealed
    )
    assert one.tell(renamed) == 1
    one.embedder = EMBEDDER
    assert one.restart() == Loaded(usable=1, unusable=0)


def test_without_an_embedder_templates_are_still_kept_and_forgotten(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA, BERT)
    one.embedder = None
    assert one.restart() == Loaded(usable=0, unusable=2)
    one.tell(forget=(ANNA,))
    assert one.shelf.count() == 1


# --- two kiosks -------------------------------------------------------------------------------------------------------


def test_the_second_kiosk_knows_whom_the_first_enrolled(kiosk: Make, cloud: Cloud) -> None:
    first, second = store_of(kiosk, cloud, A, B)
    first.enrol(cloud, ANNA)
    second.enrol(cloud, BERT)
    second.tell(cloud.templates[ANNA])
    first.tell(cloud.templates[BERT])
    assert all(one.knows(member) for one in (first, second) for member in (ANNA, BERT))
    assert second.restart() == Loaded(usable=2, unusable=0)
    assert second.keeper.kiosks == (B, A)


def test_templates_that_come_before_the_secret_wait_for_it(kiosk: Make, cloud: Cloud) -> None:
    first, second = kiosk(A), kiosk(B)
    first.keeper.make_group()
    first.enrol(cloud, ANNA)
    second.tell(cloud.templates[ANNA])
    assert second.keeper.loaded == Loaded(usable=0, unusable=1)
    cloud.hear_group(regrouped(first.keeper.admit(B, second.keeper.sealing_public)))
    regrouped(second.keeper.take_wrap(cloud.wraps[B]))
    assert second.knows(ANNA)


def test_a_newcomer_becomes_known_to_everybody(kiosk: Make, cloud: Cloud) -> None:
    first, second, third = store_of(kiosk, cloud, A, B, C)
    assert {*first.keeper.kiosks} == {*second.keeper.kiosks} == {*third.keeper.kiosks} == {A, B, C}
    fourth = kiosk(D)
    cloud.hear_group(regrouped(third.keeper.admit(D, fourth.keeper.sealing_public)))
    for one in (first, second, fourth):
        regrouped(one.keeper.take_wrap(cloud.wraps[one.place.device]))
    assert {*first.keeper.kiosks} == {*fourth.keeper.kiosks} == {A, B, C, D}


def test_two_newcomers_admitted_at_two_doors_are_both_known(kiosk: Make, cloud: Cloud) -> None:
    first, second = store_of(kiosk, cloud, A, B)
    third, fourth = kiosk(C), kiosk(D)
    at_first = regrouped(first.keeper.admit(C, third.keeper.sealing_public))
    at_second = regrouped(second.keeper.admit(D, fourth.keeper.sealing_public))
    regrouped(second.keeper.take_wrap(wrap_for(at_first, B)))
    regrouped(first.keeper.take_wrap(wrap_for(at_second, A)))
    assert {*first.keeper.kiosks} == {*second.keeper.kiosks} == {A, B, C, D}


def wrap_for(step: Regrouped, device: DeviceId) -> bytes:
    return next(one.sealed for one in step.wraps if one.device == device)


def test_a_kiosk_gives_up_its_own_secret_for_the_groups(kiosk: Make, cloud: Cloud) -> None:
    first, lonely = kiosk(A), kiosk(B)
    first.keeper.make_group()
    lonely.keeper.make_group()
    lonely.enrol(cloud, ANNA, BERT)
    cloud.hear_group(regrouped(first.keeper.admit(B, lonely.keeper.sealing_public)))
    taken = regrouped(lonely.keeper.take_wrap(cloud.wraps[B]))
    assert taken.group == first.keeper.group_key
    assert {template.member for template in taken.resealed} == {ANNA, BERT}
    assert lonely.knows(ANNA)
    cloud.hear_group(taken)
    first.tell(*cloud.templates.values())
    assert first.knows(ANNA)
    assert first.knows(BERT)


def test_what_was_sealed_anew_is_told_until_it_comes_back(kiosk: Make, cloud: Cloud) -> None:
    first, lonely = kiosk(A), kiosk(B)
    first.keeper.make_group()
    lonely.keeper.make_group()
    lonely.enrol(cloud, ANNA)
    cloud.hear_group(regrouped(first.keeper.admit(B, lonely.keeper.sealing_public)))
    told = regrouped(lonely.keeper.take_wrap(cloud.wraps[B])).resealed
    lonely.restart()
    assert lonely.keeper.resealed() == told
    lonely.tell(*told, version=None)
    assert lonely.keeper.resealed() == ()


def test_the_same_wrap_twice_changes_nothing(kiosk: Make, cloud: Cloud) -> None:
    _, second = store_of(kiosk, cloud, A, B)
    group = second.keeper.group_key
    assert regrouped(second.keeper.take_wrap(cloud.wraps[B])).group == group
    assert second.keeper.kiosks == (B, A)


def test_what_cannot_be_admitted(kiosk: Make, cloud: Cloud) -> None:
    first, second = store_of(kiosk, cloud, A, B)
    key = second.keeper.sealing_public
    assert first.keeper.admit(A, key) == GroupRefusal.ITSELF
    assert first.keeper.admit(C, bytes(32)) == first.keeper.admit(C, b"short") == GroupRefusal.BAD_KEY
    for number in range(KIOSKS_MAX - 2):
        regrouped(first.keeper.admit(DeviceId(f"kiosk{number}"), key))
    assert first.keeper.admit(C, key) == GroupRefusal.FULL
    assert len(first.keeper.kiosks) == KIOSKS_MAX
    regrouped(first.keeper.admit(B, key)), "one of the list may always be admitted anew"


# --- what the cloud can do --------------------------------------------------------------------------------------------


def test_everything_the_cloud_carried_opens_no_template(kiosk: Make, cloud: Cloud) -> None:
    """Every 32 bytes of it are tried as secret, as template key's source and as sealing key."""
    first, second = store_of(kiosk, cloud, A, B)
    first.enrol(cloud, ANNA)
    second.enrol(cloud, BERT)
    third = kiosk(C)
    cloud.hear_group(regrouped(first.keeper.admit(C, third.keeper.sealing_public)))
    cloud.hear_group(regrouped(first.keeper.rotate((B, C))))
    everything = b"".join(cloud.carried)
    for one in (first, second, third):
        assert one.keeper.sealing_public not in everything, "who knows it can speak to a kiosk that is alone"
        for held in one.keeper._secrets:
            assert held.secret not in everything
    targets = tuple(cloud.templates.values())
    for at in range(len(everything) - 31):
        assert not opens_any(everything[at : at + 32], targets[:1], tuple(cloud.wraps.items())[:1])
    assert opens_any(first.secret(), targets[:1], ()), "the attack itself works with the right keys"
    own = second.keeper._sealing_key.private_bytes_raw()
    assert opens_any(own, (), [(B, cloud.wraps[B])])


def opens_any(material: bytes, templates: Sequence[SealedTemplate], wraps: Iterable[tuple[DeviceId, bytes]]) -> bool:
    """True when these 32 bytes are the secret or the key of a template, or the sealing key of a wrap."""
    return any(is_key_of(material, template) for template in templates) or any(
        opens_wrap(material, device, wrapped) for device, wrapped in wraps
    )


def is_key_of(material: bytes, template: SealedTemplate) -> bool:
    seal, into = Seal(material), bytearray(TEMPLATE_BYTES)
    seal.key = template.key
    if seal.open(template.sealed, member=MemberId(template.member), embedder=template.embedder, into=into):
        return True
    try:
        bound = b"DST1" + template.key + template.embedder + template.member
        AESGCM(material).decrypt(template.sealed[1:13], template.sealed[13:], bound)
    except InvalidTag:
        return False
    return True


def opens_wrap(material: bytes, device: DeviceId, wrapped: bytes) -> bool:
    head = parse_wrap(wrapped)
    assert head is not None
    return open_wrap(head, STORE, device, X25519PrivateKey.from_private_bytes(material)) is not None


def test_a_template_under_another_members_name_is_refused(kiosk: Make, cloud: Cloud) -> None:
    first, second = store_of(kiosk, cloud, A, B)
    first.enrol(cloud, ANNA, BERT)
    second.tell(*cloud.templates.values())
    anna, bert = cloud.templates[ANNA], cloud.templates[BERT]
    swapped = SealedTemplate(member=ANNA, key=bert.key, embedder=bert.embedder, sealed=bert.sealed)
    assert second.tell(swapped) == 1
    assert second.knows(ANNA), "what was held stays"
    assert second.shelf.sealed_of(ANNA) == anna
    assert second.nearest(BERT) == first.nearest(BERT)


def forged(reader: Kiosk, sender: DeviceId, forger: X25519PrivateKey, *, generation: int = 99) -> bytes:
    """A wrap of a secret of the forger's own, who knows even the reader's sealing key."""
    secret = b"f" * 32
    kiosks = (
        Listed(sender, forger.public_key().public_bytes_raw()),
        Listed(reader.place.device, reader.keeper.sealing_public),
    )
    address = Address(store=STORE, sender=sender, reader=reader.place.device, key=key_id(secret))
    return wrap(Package(generation, secret, kiosks), address, forger, reader.keeper.sealing_public)


def test_a_secret_of_the_clouds_own_is_refused(kiosk: Make, cloud: Cloud) -> None:
    _, second = store_of(kiosk, cloud, A, B)
    group = second.keeper.group_key
    key = X25519PrivateKey.from_private_bytes(b"x" * 32)
    assert second.keeper.take_wrap(forged(second, A, key)) == GroupRefusal.UNKNOWN_SENDER
    assert second.keeper.take_wrap(forged(second, C, key)) == GroupRefusal.UNKNOWN_SENDER
    assert second.keeper.group_key == group


def test_a_kiosk_that_is_alone_is_not_reached_without_its_sealing_key(kiosk: Make) -> None:
    one, other = kiosk(A), kiosk(B)
    one.keeper.make_group()
    group = one.keeper.group_key
    key = X25519PrivateKey.from_private_bytes(b"x" * 32)
    assert one.keeper.take_wrap(forged(other, C, key)) == GroupRefusal.NOT_OURS
    other.place = Place(store=STORE, device=A)
    assert one.keeper.take_wrap(forged(other, C, key)) == GroupRefusal.NOT_OURS
    assert one.keeper.group_key == group


def test_even_who_knows_that_key_must_be_who_the_list_says(kiosk: Make) -> None:
    one = kiosk(A)
    forger, named = (X25519PrivateKey.from_private_bytes(byte * 32) for byte in (b"x", b"y"))
    secret = b"f" * 32
    kiosks = (Listed(B, named.public_key().public_bytes_raw()), Listed(A, one.keeper.sealing_public))
    address = Address(store=STORE, sender=B, reader=A, key=key_id(secret))
    wrapped = wrap(Package(1, secret, kiosks), address, forger, one.keeper.sealing_public)
    assert one.keeper.take_wrap(wrapped) == GroupRefusal.UNKNOWN_SENDER
    assert not one.keeper.has_secret


def test_a_wrap_for_another_store_or_kiosk_is_refused(kiosk: Make, cloud: Cloud) -> None:
    first, second = store_of(kiosk, cloud, A, B)
    third = kiosk(C)
    assert third.keeper.take_wrap(cloud.wraps[B]) == GroupRefusal.NOT_OURS
    elsewhere = kiosk(D, store=OTHER_STORE)
    regrouped(first.keeper.admit(D, elsewhere.keeper.sealing_public))
    wraps = regrouped(first.keeper.admit(D, elsewhere.keeper.sealing_public)).wraps
    assert elsewhere.keeper.take_wrap(wraps[-1].sealed) == GroupRefusal.NOT_OURS
    assert second.keeper.take_wrap(wraps[-1].sealed) == GroupRefusal.UNKNOWN_SENDER


@pytest.mark.parametrize("wrapped", [b"", b"\x01", b"\x02" + bytes(300), bytes(4000)])
def test_what_is_no_wrap_is_refused(kiosk: Make, wrapped: bytes) -> None:
    assert kiosk(A).keeper.take_wrap(wrapped) == GroupRefusal.UNREADABLE


def test_an_earlier_wrap_does_not_bring_an_earlier_secret_back(kiosk: Make, cloud: Cloud) -> None:
    first, second, _ = store_of(kiosk, cloud, A, B, C)
    earlier = cloud.wraps[B]
    cloud.hear_group(regrouped(first.keeper.rotate((B, C))))
    regrouped(second.keeper.take_wrap(cloud.wraps[B]))
    assert second.keeper.take_wrap(earlier) == GroupRefusal.OLD
    assert second.keeper.group_key == first.keeper.group_key


# --- a kiosk leaves ---------------------------------------------------------------------------------------------------


def test_a_kiosk_that_left_opens_nothing_that_comes_after(kiosk: Make, cloud: Cloud) -> None:
    first, second, thief = store_of(kiosk, cloud, A, B, C)
    first.enrol(cloud, ANNA)
    thief.tell(cloud.templates[ANNA])
    before = first.keeper.group_key
    step = regrouped(first.keeper.rotate((B,)))
    cloud.hear_group(step)
    assert (step.previous, step.kiosks) == (before, (A, B))
    assert {one.device for one in step.wraps} == {B}
    assert {template.member for template in step.resealed} == {ANNA}
    regrouped(second.keeper.take_wrap(cloud.wraps[B]))
    second.enrol(cloud, BERT)
    assert thief.keeper.take_wrap(cloud.wraps[B]) == GroupRefusal.UNKNOWN_SENDER
    targets = (cloud.templates[ANNA], cloud.templates[BERT])
    assert not opens_any(thief.secret(), targets, ())
    thief.tell(*targets)
    assert thief.keeper.loaded == Loaded(usable=0, unusable=2)
    second.tell(*targets)
    assert first.knows(ANNA)
    assert second.knows(ANNA)


def test_a_kiosk_that_left_is_not_believed_any_more(kiosk: Make, cloud: Cloud) -> None:
    first, second, thief = store_of(kiosk, cloud, A, B, C)
    cloud.hear_group(regrouped(first.keeper.rotate((B,))))
    regrouped(second.keeper.take_wrap(cloud.wraps[B]))
    theirs = regrouped(thief.keeper.rotate((A, B)))
    assert first.keeper.take_wrap(wrap_for(theirs, A)) == GroupRefusal.UNKNOWN_SENDER
    assert second.keeper.take_wrap(wrap_for(theirs, B)) == GroupRefusal.UNKNOWN_SENDER


def test_nor_by_the_only_one_that_stayed(kiosk: Make, cloud: Cloud) -> None:
    first, thief = store_of(kiosk, cloud, A, B)
    theirs = regrouped(thief.keeper.rotate((A,)))
    public = first.keeper.sealing_public
    regrouped(first.keeper.rotate(()))
    assert first.keeper.sealing_public != public
    assert first.keeper.take_wrap(wrap_for(theirs, A)) == GroupRefusal.NOT_OURS


def test_scores_are_the_same_after_the_secret_changed(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA, BERT, CARLA)
    probe = np.asarray(0.6 * face(ANNA) + 0.8 * face(BERT), np.float32)
    before = one.keeper.compare(probe, 1)
    for _ in range(10):
        regrouped(one.keeper.rotate(()))
    after = one.keeper.compare(probe, 1)
    assert [found.member for found in after.candidates] == [found.member for found in before.candidates]
    assert [found.score for found in after.candidates] == pytest.approx(
        [found.score for found in before.candidates], abs=0.006
    )


def test_two_kiosks_that_change_the_secret_at_once_end_with_one(kiosk: Make, cloud: Cloud) -> None:
    first, second, _ = store_of(kiosk, cloud, A, B, C)
    first.enrol(cloud, ANNA)
    second.tell(cloud.templates[ANNA])
    at_first, at_second = regrouped(first.keeper.rotate((B,))), regrouped(second.keeper.rotate((A,)))
    outcomes = [first.keeper.take_wrap(wrap_for(at_second, A)), second.keeper.take_wrap(wrap_for(at_first, B))]
    assert outcomes.count(GroupRefusal.OLD) == 1
    assert first.keeper.group_key == second.keeper.group_key
    assert first.knows(ANNA)
    assert second.knows(ANNA)


def test_a_kiosk_that_missed_two_changes_takes_the_last(kiosk: Make, cloud: Cloud) -> None:
    first, second, _ = store_of(kiosk, cloud, A, B, C)
    second.enrol(cloud, ANNA)
    regrouped(first.keeper.rotate((B, C)))
    cloud.hear_group(regrouped(first.keeper.rotate((B,))))
    taken = regrouped(second.keeper.take_wrap(cloud.wraps[B]))
    assert {template.member for template in taken.resealed} == {ANNA}
    assert second.knows(ANNA)


def test_a_template_under_the_earlier_secret_is_sealed_anew_when_it_comes_late(kiosk: Make, cloud: Cloud) -> None:
    first, second = store_of(kiosk, cloud, A, B)
    cloud.hear_group(regrouped(first.keeper.rotate((B,))))
    second.enrol(cloud, ANNA)  # has not heard of the new secret
    first.tell(cloud.templates[ANNA])
    assert first.knows(ANNA)
    (anew,) = first.keeper.resealed()
    assert anew.key == first.keeper.group_key
    first.tell(cloud.templates[ANNA])
    assert first.keeper.resealed() == (anew,), "the one sealed anew is not undone by the one it came from"
    first.tell(cloud.templates[ANNA], reset=True)
    assert first.knows(ANNA)


def test_the_earlier_secret_goes_when_nothing_needs_it(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    earlier = one.secret()
    step = regrouped(one.keeper.rotate(()))
    one.tell(whole=True)
    assert has_on_disk(one, earlier), "the cloud was not told of the new form yet"
    one.tell(*step.resealed, whole=True)
    assert not has_on_disk(one, earlier)
    one.restart()
    assert one.knows(ANNA)


def has_on_disk(one: Kiosk, secret: bytes) -> bool:
    return any(secret in path.read_bytes() for path in one.folder.iterdir())


def test_what_a_replaced_key_file_held_is_overwritten_where_it_lay(kiosk: Make) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    with (one.folder / "group.secret").open("rb") as old:
        regrouped(one.keeper.rotate(()))
        assert not any(old.read())
    with (one.folder / "group.secret").open("rb") as old, (one.folder / "sealing.key").open("rb") as key:
        one.keeper.bind(Place(store=OTHER_STORE, device=A), LIFE)
        assert not any(old.read())
        assert not any(key.read())


def test_a_template_damaged_on_the_disk_is_left_out(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    whole = cloud.templates[ANNA]
    damaged = SealedTemplate(member=BERT, key=whole.key, embedder=EMBEDDER, sealed=bytes(289))
    one.shelf.apply(version=None, issued_ms=1, whole=False, reset=False, keep=[damaged], forget=())
    assert one.restart() == Loaded(usable=1, unusable=1)
    step = regrouped(one.keeper.rotate(()))
    one.tell(*step.resealed, whole=True)
    assert one.shelf.sealed_of(BERT) == damaged
    assert one.knows(ANNA)


class NarrowShelf(TemplateDatabase):
    """A disk that takes what it is told of, and has no room to seal anew."""

    def reseal(self, templates: Iterable[SealedTemplate]) -> None:
        raise StorageFull("database or disk is full")


def test_without_room_to_seal_anew_the_next_start_does_it(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA, BERT)
    roomy = one.shelf
    roomy.close()
    one.shelf = NarrowShelf(roomy.path)
    assert one.restart() == Loaded(usable=2, unusable=0)
    regrouped(one.keeper.rotate(()))
    assert one.keeper.loaded == Loaded(usable=0, unusable=2)
    assert one.nearest(ANNA) is None, "nobody is compared in the wrong turn"
    applied = one.keeper.apply(
        version=2, issued_ms=1, whole=True, reset=False, keep=[cloud.templates[ANNA]], forget=(BERT,)
    )
    assert applied.forgotten == (BERT,), "the proof of a withdrawal does not wait for room"
    one.shelf.close()
    one.shelf = roomy
    assert one.restart() == Loaded(usable=1, unusable=0)
    assert one.knows(ANNA)


def test_without_room_the_earlier_secret_stays(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    earlier, step = one.secret(), regrouped(one.keeper.rotate(()))
    blocked = one.folder / "group.secret.new"
    blocked.mkdir()
    one.tell(*step.resealed, whole=True)
    blocked.rmdir()
    assert has_on_disk(one, earlier)
    assert one.knows(ANNA)
    one.tell(whole=True)
    assert not has_on_disk(one, earlier)


class PowerCut(Exception):
    """The power goes at the nth time that randomness is asked for."""


@pytest.mark.parametrize("moment", range(5))
def test_a_power_cut_while_templates_are_sealed_anew_loses_none(kiosk: Make, cloud: Cloud, moment: int) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA, BERT, CARLA)
    steady, left = one.random, moment

    def failing(count: int) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCut
        return steady(count)

    one.random = failing
    left = 10
    one.restart()
    left = moment
    with suppress(PowerCut):
        one.keeper.rotate(())
    one.random = steady
    assert one.restart() == Loaded(usable=3, unusable=0)
    assert all(one.knows(member) for member in (ANNA, BERT, CARLA))


def test_a_disk_that_takes_no_secret_changes_none(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    group, kiosks = one.keeper.group_key, one.keeper.kiosks
    blocked = one.folder / "group.secret.new"
    blocked.mkdir()
    with pytest.raises(StorageFull):
        one.keeper.rotate(())
    with pytest.raises(StorageFull):
        one.keeper.admit(B, kiosk(B).keeper.sealing_public)
    assert (one.keeper.group_key, one.keeper.kiosks) == (group, kiosks)
    assert one.knows(ANNA)
    blocked.rmdir()
    regrouped(one.keeper.rotate(()))
    assert one.knows(ANNA)


# --- the recovery sheet -----------------------------------------------------------------------------------------------


def test_the_sheet_brings_a_lost_kiosks_members_back(kiosk: Make, cloud: Cloud) -> None:
    lost = kiosk(A)
    lost.keeper.make_group()
    lost.enrol(cloud, ANNA)
    sheet = format_sheet(lost.secret())
    heir = kiosk(B)
    heir.tell(cloud.templates[ANNA])
    assert regrouped(heir.keeper.recover(sheet.lower())).group == cloud.templates[ANNA].key
    assert heir.knows(ANNA)
    assert regrouped(heir.keeper.recover(sheet)).kiosks == (B,), "twice is once"


def test_a_sheet_is_not_for_a_kiosk_among_others_nor_with_slips(kiosk: Make, cloud: Cloud) -> None:
    first, _ = store_of(kiosk, cloud, A, B)
    sheet = format_sheet(b"s" * 32)
    assert first.keeper.recover(sheet) == GroupRefusal.GROUPED
    assert kiosk(C).keeper.recover(sheet[:-4]) == SheetFault(groups=(), typed=19)


# --- what is shown, left behind, damaged ------------------------------------------------------------------------------


def test_nothing_secret_is_shown(kiosk: Make, cloud: Cloud) -> None:
    first, _ = store_of(kiosk, cloud, A, B)
    first.enrol(cloud, ANNA)
    group = first.keeper._files.load_group()
    shown = repr((first.keeper, first.keeper._secrets, group))
    for secret in (first.secret(), bytes(first.keeper._gallery._levels[0][:16])):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_nothing_is_left_in_memory_after_the_wipe(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    one.enrol(cloud, ANNA)
    held, levels = one.keeper._secrets[0], one.keeper._gallery._levels
    one.keeper.wipe()
    assert not any(held.secret)
    assert not held.rotation.turn(face(ANNA)).any()
    assert not levels.any()
    assert one.nearest(ANNA) is None
    assert one.keeper.start() == Loaded(usable=1, unusable=0)


def test_an_earlier_secret_is_wiped_when_it_is_dropped(kiosk: Make, cloud: Cloud) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    earliest = one.keeper._secrets[0]
    for _ in range(5):
        regrouped(one.keeper.rotate(()))
    assert not any(earliest.secret)


def test_key_files_are_for_their_owner_only(kiosk: Make) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    modes = {path.name: path.stat().st_mode & 0o777 for path in one.folder.iterdir()}
    assert {"sealing.key", "group.secret", "faces.db"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    ("name", "data"), [("sealing.key", b"short"), ("group.secret", b"\xc1"), ("group.secret", b"\x80")]
)
def test_damaged_key_files_are_said_to_be(kiosk: Make, name: str, data: bytes) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    (one.folder / name).write_bytes(data)
    with pytest.raises(StorageDamaged):
        one.restart()


def test_a_key_file_that_cannot_be_read_is_damaged(kiosk: Make) -> None:
    one = kiosk(A)
    (one.folder / "group.secret").mkdir()
    with pytest.raises(StorageDamaged):
        one.restart()


def test_a_removal_of_the_secret_that_was_cut_short_is_one(kiosk: Make) -> None:
    one = kiosk(A)
    one.keeper.make_group()
    (one.folder / "group.secret").write_bytes(b"")
    one.restart()
    assert not one.keeper.has_secret


def test_a_folder_that_takes_no_keys_is_said_to_be_full(folder: Path) -> None:
    with TemplateDatabase(folder / "faces.db") as shelf:
        shelf.open()
        keeper = Keeper(folder / "nowhere", shelf, embedder=EMBEDDER, random=random.Random(1).randbytes)
        with pytest.raises(StorageFull):
            keeper.start()
