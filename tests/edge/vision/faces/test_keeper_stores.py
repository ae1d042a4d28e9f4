"""A template that one store gives is known at another once both were introduced to each other, and nowhere else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from edge.vision.faces.gallery import TEMPLATE_BYTES
from edge.vision.faces.intake import GroupName, Intake, Partner
from edge.vision.faces.keeper import GroupRefusal, Keeper, Loaded, Regrouped, ShareRefusal
from edge.vision.faces.sealing import Listed, Package, is_small_enough
from shared.biometrics import KIOSKS_MAX, PARTNERS_MAX, SealedTemplate
from shared.ids import DeviceId, MemberId, StoreId
from tests.edge.vision.faces.test_keeper import (
    ANNA,
    BERT,
    EMBEDDER,
    MEMORY,
    OTHER_STORE,
    STORE,
    A,
    B,
    C,
    Cloud,
    Kiosk,
    face,
    opens_any,
    regrouped,
)

D = DeviceId("kioskd")


class Stores:
    """Two kiosks of `STORE` and two of `OTHER_STORE`, and the cloud between them."""

    def __init__(self, folder: Path) -> None:
        self.cloud = Cloud()
        self.home, self.home_too = Kiosk(folder, A, store=STORE), Kiosk(folder, B, store=STORE)
        self.away, self.away_too = Kiosk(folder, C, store=OTHER_STORE), Kiosk(folder, D, store=OTHER_STORE)
        for first, second in ((self.home, self.home_too), (self.away, self.away_too)):
            first.keeper.make_group()
            admitted = regrouped(first.keeper.admit(second.place.device, second.keeper.sealing_public))
            self.cloud.hear_group(admitted)
            regrouped(second.keeper.take_wrap(self.cloud.wraps[second.place.device]))

    @property
    def all(self) -> tuple[Kiosk, ...]:
        return (self.home, self.home_too, self.away, self.away_too)

    def introduce(self, whom: Kiosk, *, to: Kiosk) -> None:
        """What the one shows, the other reads; its own group hears of it in wraps."""
        change = regrouped(to.keeper.introduce(name_of(whom), intake_of(whom)))
        self.cloud.hear_group(change)
        for one in change.wraps:
            reader = next(kiosk for kiosk in self.all if kiosk.place.device == one.device)
            regrouped(reader.keeper.take_wrap(one.sealed))

    def introduce_both(self) -> None:
        self.introduce(self.away, to=self.home)
        self.introduce(self.home, to=self.away)

    def share(self, member: MemberId = ANNA, by: Kiosk | None = None) -> SealedTemplate:
        given = (by or self.home).keeper.share(member, OTHER_STORE, name_of(self.away).key)
        assert isinstance(given, SealedTemplate), given
        self.cloud.carried.append(given.sealed)
        return given


def name_of(kiosk: Kiosk) -> GroupName:
    assert kiosk.keeper.group_key is not None
    return GroupName(store=kiosk.place.store, key=kiosk.keeper.group_key)


def intake_of(kiosk: Kiosk) -> bytes:
    public = kiosk.keeper.intake_public
    assert public is not None
    return public


@pytest.fixture
def stores() -> Iterator[Stores]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        made = Stores(Path(name))
        made.home.enrol(made.cloud, ANNA, BERT)
        yield made
        for kiosk in made.all:
            kiosk.shelf.close()


def test_a_member_is_known_at_the_other_store_once_their_template_was_given(stores: Stores) -> None:
    stores.introduce_both()
    given = stores.share()
    assert (given.member, given.key, given.embedder) == (ANNA, name_of(stores.away).key, EMBEDDER)
    assert stores.away.nearest(ANNA) is None
    assert stores.away.tell(given) == 0
    assert stores.away.knows(ANNA)
    assert stores.away.nearest(BERT) is None or not stores.away.knows(BERT)
    assert stores.home.knows(ANNA), "it stays where it was learnt"
    assert stores.away.restart() == Loaded(usable=1, unusable=0)
    assert stores.away.knows(ANNA)


def test_what_was_given_is_told_as_sealed_anew_and_known_at_the_store_s_other_doors(stores: Stores) -> None:
    stores.introduce_both()
    stores.away.tell(stores.share())
    (resealed,) = stores.away.keeper.resealed()
    assert resealed.sealed[0] == 1
    stores.away_too.tell(resealed)
    assert stores.away_too.knows(ANNA)
    stores.away.tell(resealed, version=None)
    assert stores.away.keeper.resealed() == ()


def test_scores_at_the_other_store_are_those_of_the_first(stores: Stores) -> None:
    stores.introduce_both()
    stores.away.tell(stores.share())
    probe = face(ANNA) + 0.5 * face(BERT)
    probe /= (probe @ probe) ** 0.5
    scores = [kiosk.keeper.compare(probe, 1).candidates[0].score for kiosk in (stores.home, stores.away)]
    assert scores[0] == pytest.approx(scores[1], abs=2e-3)


def test_every_kiosk_of_a_group_can_give_and_take_what_one_was_introduced_to(stores: Stores) -> None:
    stores.introduce_both()
    stores.home_too.tell(stores.cloud.templates[ANNA])
    stores.away_too.tell(stores.share(by=stores.home_too))
    assert stores.away_too.knows(ANNA)
    assert stores.home_too.keeper.partners == (name_of(stores.away),)
    assert stores.home_too.restart() == Loaded(usable=1, unusable=0)
    assert stores.home_too.keeper.partners == (name_of(stores.away),)


def test_who_was_not_introduced_is_given_nothing(stores: Stores) -> None:
    away = name_of(stores.away)
    assert stores.home.keeper.share(ANNA, OTHER_STORE, away.key) is ShareRefusal.UNKNOWN_STORE
    stores.introduce(stores.away, to=stores.home)
    assert stores.home.keeper.share(ANNA, OTHER_STORE, b"another!") is ShareRefusal.UNKNOWN_STORE
    assert stores.home.keeper.share(ANNA, StoreId("mercato"), away.key) is ShareRefusal.UNKNOWN_STORE
    assert stores.home.keeper.share(MemberId(b"carla00000"), OTHER_STORE, away.key) is ShareRefusal.NOT_HELD
    stores.home.embedder = b"retailor"
    stores.home.restart()
    assert stores.home.keeper.share(ANNA, OTHER_STORE, away.key) is ShareRefusal.NOT_HELD


def test_what_a_stranger_s_group_gave_stays_shut_until_it_is_introduced(stores: Stores) -> None:
    stores.introduce(stores.away, to=stores.home)  # the one direction came first
    given = stores.share()
    applied = stores.away.keeper.apply(version=1, issued_ms=1, whole=True, reset=False, keep=(given,), forget=())
    assert (applied.refused, applied.shut) == (0, 1)
    assert stores.away.keeper.loaded == Loaded(usable=0, unusable=1)
    assert stores.away.nearest(ANNA) is None
    stores.away_too.tell(given)
    stores.introduce(stores.home, to=stores.away)
    assert stores.away.knows(ANNA)
    assert stores.away_too.knows(ANNA), "by the wrap"


def test_what_is_shut_is_forgotten_like_everything_else(stores: Stores) -> None:
    stores.introduce(stores.away, to=stores.home)
    stores.away.tell(stores.share())
    applied = stores.away.keeper.apply(version=2, issued_ms=2, whole=True, reset=False, keep=(), forget=(ANNA,))
    assert applied.forgotten == (ANNA,)
    assert stores.away.keeper.loaded == Loaded(usable=0, unusable=0)


def test_what_the_cloud_alters_or_makes_is_refused_and_counted(stores: Stores) -> None:
    stores.introduce_both()
    given, other = stores.share(), stores.share(BERT)
    altered = msgspec.structs.replace(given, sealed=given.sealed[:-1] + bytes([given.sealed[-1] ^ 1]))
    swapped = msgspec.structs.replace(given, sealed=other.sealed)
    stranger = Intake(b"c" * 32)  # the cloud's own, with everything that is public
    away = Partner(OTHER_STORE, given.key, intake_of(stores.away), 1)
    forged = stranger.give(bytes(TEMPLATE_BYTES), own=name_of(stores.home), to=away, member=ANNA, embedder=EMBEDDER)
    made = msgspec.structs.replace(given, sealed=forged)
    short = msgspec.structs.replace(given, sealed=given.sealed[:-1])
    assert stores.away.tell(altered, swapped, made, short) == 4
    assert stores.away.keeper.loaded == Loaded(usable=0, unusable=0)


def test_it_opens_at_no_third_store_and_not_where_it_came_from(stores: Stores, tmp_path: Path) -> None:
    stores.introduce_both()
    given = stores.share()
    third = Kiosk(tmp_path, DeviceId("kioske"), store=StoreId("mercato"))
    third.keeper.make_group()
    third.keeper.introduce(name_of(stores.home), intake_of(stores.home))
    for kiosk in (third, stores.home):
        mine = msgspec.structs.replace(given, key=name_of(kiosk).key)
        assert kiosk.tell(mine) == (1 if kiosk is third else 0)
        assert kiosk.keeper.loaded.usable == (0 if kiosk is third else 1)
    third.shelf.close()


def test_a_group_that_changed_its_secret_is_introduced_anew(stores: Stores) -> None:
    stores.introduce_both()
    before = intake_of(stores.away)
    stores.cloud.hear_group(regrouped(stores.away.keeper.rotate((D,))))
    assert intake_of(stores.away) != before
    assert stores.home.keeper.share(ANNA, OTHER_STORE, name_of(stores.away).key) is ShareRefusal.UNKNOWN_STORE
    stores.introduce(stores.away, to=stores.home)
    assert stores.home.keeper.partners == (name_of(stores.away),), "in the place of the earlier"
    stores.away.tell(stores.share())
    assert stores.away.knows(ANNA)


def test_what_came_under_the_earlier_secret_is_opened_while_that_is_kept(stores: Stores) -> None:
    stores.introduce_both()
    given = stores.share()
    stores.away.keeper.rotate((D,))
    assert stores.away.tell(given) == 0
    assert stores.away.knows(ANNA)
    assert stores.away.keeper.resealed()[0].key == name_of(stores.away).key


def test_what_stays_shut_keeps_no_earlier_secret(stores: Stores) -> None:
    stores.introduce(stores.away, to=stores.home)
    stores.away.tell(stores.share())
    stores.away.keeper.rotate((D,))
    assert len(stores.away.keeper._secrets) == 2
    stores.away.tell(whole=True, version=2)
    assert len(stores.away.keeper._secrets) == 1
    assert stores.away.keeper.loaded == Loaded(usable=0, unusable=1)


def test_what_cannot_be_introduced(stores: Stores) -> None:
    keeper, away = stores.home.keeper, name_of(stores.away)
    assert keeper.introduce(replace(away, store=STORE), intake_of(stores.away)) is GroupRefusal.ITSELF
    assert keeper.introduce(away, intake_of(stores.home)) is GroupRefusal.BAD_KEY
    assert keeper.introduce(away, bytes(32)) is GroupRefusal.BAD_KEY
    for number in range(PARTNERS_MAX):
        named = replace(away, store=StoreId(f"store-{number}"))
        assert isinstance(keeper.introduce(named, intake_of(stores.away)), Regrouped)
    assert keeper.introduce(away, intake_of(stores.away)) is GroupRefusal.FULL
    assert len(keeper.partners) == PARTNERS_MAX


def test_an_introduction_that_is_taken_back_opens_and_is_given_nothing(stores: Stores) -> None:
    stores.introduce_both()
    given = stores.share()
    for taking_back, other, partner in (
        (stores.away, stores.away_too, STORE),
        (stores.home, stores.home_too, OTHER_STORE),
    ):
        change = regrouped(taking_back.keeper.distrust(partner))
        regrouped(other.keeper.take_wrap(change.wraps[0].sealed))
        assert taking_back.keeper.partners == other.keeper.partners == ()
        assert taking_back.keeper.distrust(partner) is GroupRefusal.STRANGER
        taking_back.restart()
    for kiosk in (stores.away, stores.away_too):
        assert kiosk.tell(given) == 1, "refused, and not only shut"
    refusal = stores.home.keeper.share(ANNA, OTHER_STORE, name_of(stores.away).key)
    assert refusal is ShareRefusal.UNKNOWN_STORE
    stores.introduce_both()
    stores.away.tell(stores.share())
    assert stores.away.knows(ANNA), "it can be given again"


def test_what_was_taken_back_makes_room(stores: Stores) -> None:
    keeper, away = stores.home.keeper, name_of(stores.away)
    for number in range(PARTNERS_MAX):
        regrouped(keeper.introduce(replace(away, store=StoreId(f"store-{number}")), intake_of(stores.away)))
    regrouped(keeper.distrust(StoreId("store-3")))
    assert isinstance(keeper.introduce(away, intake_of(stores.away)), Regrouped)
    assert len(keeper.partners) == PARTNERS_MAX
    assert keeper.introduce(replace(away, store=StoreId("ninth")), intake_of(stores.away)) is GroupRefusal.FULL


def test_without_a_secret_nobody_is_introduced(tmp_path: Path) -> None:
    bare = Kiosk(tmp_path, A)
    assert bare.keeper.intake_public is None
    assert bare.keeper.introduce(GroupName(store=OTHER_STORE, key=b"k" * 8), b"p" * 32) is GroupRefusal.UNGROUPED
    bare.shelf.close()


def test_of_two_introductions_made_at_two_doors_all_know_the_later(stores: Stores) -> None:
    first = regrouped(stores.home.keeper.introduce(name_of(stores.away), intake_of(stores.away)))
    stores.away.keeper.rotate((D,))
    stores.introduce(stores.away, to=stores.home_too)  # has not heard of the first
    regrouped(stores.home_too.keeper.take_wrap(first.wraps[0].sealed))
    assert len(stores.home_too.keeper.partners) == len(stores.home.keeper.partners) == 1
    assert stores.home_too.keeper.partners == stores.home.keeper.partners


def test_forty_kiosks_and_all_partners_fit_into_a_wrap() -> None:
    kiosks = tuple(Listed(f"{number:016}", bytes(32)) for number in range(KIOSKS_MAX))
    partners = tuple(Partner("s" * 40, bytes(8), bytes(32), 2**53) for _ in range(PARTNERS_MAX))
    assert is_small_enough(Package(2**53, bytes(32), kiosks, partners))


def test_partners_that_find_no_room_in_a_wrap_are_left_out_of_it(tmp_path: Path) -> None:
    one = Kiosk(tmp_path, DeviceId("a" * 32))
    one.keeper.make_group()
    intake = Intake(b"o" * 32).public
    for number in range(PARTNERS_MAX):
        regrouped(one.keeper.introduce(GroupName(store=StoreId(f"{number:040}"), key=bytes(8)), intake))
    for number in range(KIOSKS_MAX - 1):
        newcomer = Intake(number.to_bytes(32, "big")).public
        assert len(regrouped(one.keeper.admit(DeviceId(f"{number:032}"), newcomer)).wraps) == number + 1
    assert one.keeper.introduce(GroupName(store=StoreId("new"), key=bytes(8)), intake) is GroupRefusal.FULL
    one.shelf.close()


def test_an_older_version_reads_a_package_that_names_partners() -> None:
    class Before(msgspec.Struct, frozen=True, array_like=True):
        generation: int
        secret: bytes
        kiosks: tuple[Listed, ...]

    package = Package(3, bytes(32), (Listed("a", bytes(32)),), (Partner("s", bytes(8), bytes(32), 1),))
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(package), type=Before)
    assert (read.generation, read.kiosks) == (3, package.kiosks)
    older = msgspec.msgpack.encode(Before(3, bytes(32), package.kiosks))
    assert msgspec.msgpack.decode(older, type=Package).partners == ()


def test_everything_the_cloud_carried_opens_nothing_that_was_given(stores: Stores) -> None:
    """Every 32 bytes of it are tried as the secret of either group and as the private half of either intake."""
    stores.introduce_both()
    given = stores.share()
    everything = b"".join(stores.cloud.carried)
    for kiosk in stores.all:
        assert intake_of(kiosk) not in everything, "whoever knows it can name a group of their own"
        assert kiosk.secret() not in everything
    known = Partner(STORE, name_of(stores.home).key, intake_of(stores.home), 1)
    for at in range(len(everything) - 31):
        material = everything[at : at + 32]
        assert not takes(material, given, known, name_of(stores.away))
    assert not opens_any(everything[:32], (given,), ())
    assert takes(stores.away.secret(), given, known, name_of(stores.away)), "the attack itself works with the right one"


def takes(material: bytes, given: SealedTemplate, giver: Partner, own: GroupName) -> bool:
    """True when these 32 bytes, as the receiving group's secret, open it."""
    into = bytearray(TEMPLATE_BYTES)
    return Intake(material).take(
        given.sealed, own=own, giver=giver, member=MemberId(given.member), embedder=given.embedder, into=into
    )


def test_partners_are_gone_with_the_secret(stores: Stores) -> None:
    stores.introduce_both()
    stores.home.keeper.bind(replace(stores.home.place, store=StoreId("mercato")), b"l" * 16)
    assert (stores.home.keeper.partners, stores.home.keeper.intake_public) == ((), None)


def test_without_room_nobody_is_introduced(stores: Stores) -> None:
    keeper: Keeper = stores.home.keeper
    (stores.home.folder / "group.secret.new").mkdir()
    with pytest.raises(Exception, match="cannot be written"):
        keeper.introduce(name_of(stores.away), intake_of(stores.away))
    assert keeper.partners == ()
