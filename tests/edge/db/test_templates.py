"""The template database: what is told is kept, and what is forgotten is nowhere in any file."""

import random
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from edge.core.feeds import HeldFeed
from edge.db.templates import PAGE_ROWS, TemplateDatabase
from edge.errors import StorageDamaged, StorageFull
from shared.biometrics import SealedTemplate
from shared.ids import MemberId

LIFE, OTHER_LIFE = b"l" * 16, b"m" * 16
KEY, OTHER_KEY = b"key-one.", b"key-two."
EMBEDDER, OTHER_EMBEDDER = b"embedder", b"retailor"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[TemplateDatabase]:
    with TemplateDatabase(tmp_path / "faces" / "faces.db") as database:
        database.path.parent.mkdir()
        database.open()
        database.bind(LIFE)
        yield database


def member(number: int) -> MemberId:
    return MemberId(number.to_bytes(10, "big"))


def sealed(number: int, *, key: bytes = KEY, embedder: bytes = EMBEDDER, seed: int = 0) -> SealedTemplate:
    blob = random.Random(number * 1000 + seed).randbytes(289)
    return SealedTemplate(member=member(number), key=key, embedder=embedder, sealed=blob)


def keep(
    shelf: TemplateDatabase,
    *templates: SealedTemplate,
    forget: tuple[MemberId, ...] = (),
    version: int | None = 1,
    issued_ms: int = 1000,
    whole: bool = True,
    reset: bool = False,
) -> tuple[MemberId, ...]:
    return shelf.apply(version=version, issued_ms=issued_ms, whole=whole, reset=reset, keep=templates, forget=forget)


def everything_on_disk(shelf: TemplateDatabase) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(shelf.path.parent.rglob("*")) if path.is_file())


def is_anywhere(template: SealedTemplate, data: bytes) -> bool:
    """True when any 16 bytes of the sealed template are in the data: a page may hold a part of it."""
    return any(template.sealed[at : at + 16] in data for at in range(0, 289 - 16, 16))


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_new_database_is_empty_and_of_no_life(tmp_path: Path) -> None:
    with TemplateDatabase(tmp_path / "faces.db") as database:
        database.open()
        assert (database.life(), database.held(), database.count()) == (None, HeldFeed(), 0)
        assert stat.S_IMODE(database.path.stat().st_mode) == 0o600


def test_what_was_told_is_there_after_opening_again(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), sealed(2), version=7, issued_ms=5000)
    shelf.close()
    shelf.open()
    assert tuple(shelf.all_sealed(KEY, EMBEDDER)) == (sealed(1), sealed(2))
    assert shelf.held() == HeldFeed(version=7, issued_ms=5000)
    assert shelf.life() == LIFE


def test_templates_are_given_by_key_and_embedder(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), sealed(2, key=OTHER_KEY), sealed(3, embedder=OTHER_EMBEDDER))
    assert tuple(shelf.all_sealed(KEY)) == (sealed(1), sealed(3, embedder=OTHER_EMBEDDER))
    assert tuple(shelf.all_sealed(KEY, EMBEDDER)) == (sealed(1),)
    beginning = sealed(1).sealed[:1]
    assert sealed(1) in tuple(shelf.all_sealed(KEY, beginning=beginning))
    assert tuple(shelf.all_sealed(KEY, beginning=bytes([beginning[0] ^ 1]))) == ()
    assert shelf.sealed_of(member(2)) == sealed(2, key=OTHER_KEY)
    assert shelf.sealed_of(member(4)) is None
    assert shelf.count() == 3


def test_a_template_told_again_replaces_the_old_one(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1))
    keep(shelf, sealed(1, seed=1), version=2)
    assert tuple(shelf.all_sealed(KEY)) == (sealed(1, seed=1),)


@pytest.mark.parametrize("count", [PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1])
def test_all_are_given_page_by_page_while_they_are_sealed_anew(shelf: TemplateDatabase, count: int) -> None:
    keep(shelf, *map(sealed, range(count)))
    seen = 0
    for template in shelf.all_sealed(KEY):
        seen += 1
        if seen % 500 == 0:
            shelf.reseal([SealedTemplate(member=template.member, key=OTHER_KEY, embedder=EMBEDDER, sealed=b"anew")])
    assert seen == count
    assert sum(1 for _ in shelf.all_sealed(OTHER_KEY)) == count // 500


def test_a_step_without_a_version_leaves_the_feed_where_it_was(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), version=7, issued_ms=5000)
    keep(shelf, sealed(2), version=None, issued_ms=6000, whole=False)
    assert shelf.held() == HeldFeed(version=7, issued_ms=5000)


# --- what is forgotten ------------------------------------------------------------------------------------------------


def test_only_who_was_there_is_said_to_be_forgotten(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), sealed(2))
    assert keep(shelf, forget=(member(1), member(9), member(1))) == (member(1),)
    assert tuple(shelf.all_sealed(KEY)) == (sealed(2),)


def test_a_reset_forgets_all_first(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), sealed(2), sealed(3))
    assert keep(shelf, sealed(2, seed=1), forget=(member(1),), reset=True) == (member(1),)
    assert tuple(shelf.all_sealed(KEY)) == (sealed(2, seed=1),)


def test_another_life_of_the_main_database_begins_empty(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), version=7, issued_ms=5000)
    assert not shelf.bind(LIFE)
    assert shelf.count() == 1
    assert shelf.bind(OTHER_LIFE)
    assert (shelf.life(), shelf.held(), shelf.count()) == (OTHER_LIFE, HeldFeed(), 0)


def test_forgetting_all_begins_the_feed_anew(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), version=7)
    shelf.forget_all()
    assert (shelf.life(), shelf.held(), shelf.count()) == (LIFE, HeldFeed(), 0)


def rewritten(members: Iterable[MemberId]) -> list[SealedTemplate]:
    return [sealed(int.from_bytes(name, "big"), seed=1) for name in members]


def reset_without(shelf: TemplateDatabase, members: tuple[MemberId, ...]) -> None:
    keep(shelf, *(kept for kept in shelf.all_sealed(KEY) if kept.member not in members), reset=True)


FORGETTING: dict[str, Callable[[TemplateDatabase, tuple[MemberId, ...]], object]] = {
    "forget": lambda shelf, members: keep(shelf, forget=members),
    "replace": lambda shelf, members: keep(shelf, *rewritten(members)),
    "reseal": lambda shelf, members: shelf.reseal(rewritten(members)),
    "reset": reset_without,
    "life": lambda shelf, members: shelf.bind(OTHER_LIFE),
    "all": lambda shelf, members: shelf.forget_all(),
}


@pytest.mark.parametrize("way", FORGETTING)
def test_what_was_forgotten_is_nowhere_in_any_file(shelf: TemplateDatabase, way: str) -> None:
    """Also not in pages that were split, merged or moved before: rows come in another order than they lie."""
    order = list(range(900))
    random.Random(1).shuffle(order)
    for first in range(0, 900, 90):
        keep(shelf, *(sealed(number) for number in order[first : first + 90]))
    keep(shelf, forget=tuple(member(number) for number in order[::5]))
    gone = [number for number in order if number % 3 == 0]
    before = everything_on_disk(shelf)
    assert is_anywhere(sealed(order[1]), before), "the search itself finds what is there"
    FORGETTING[way](shelf, tuple(member(number) for number in gone))
    data = everything_on_disk(shelf)
    for number in {*gone, *order[::5]}:
        assert not is_anywhere(sealed(number), data)


def test_a_lapsed_template_is_nowhere_either(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), issued_ms=1000)
    assert shelf.lapse(1001) == (member(1),)
    assert not is_anywhere(sealed(1), everything_on_disk(shelf))


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_lease_runs_from_the_last_word_of_the_cloud(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), issued_ms=1000)
    keep(shelf, sealed(2), issued_ms=2000, whole=False)
    assert shelf.lapse(1000) == ()
    assert shelf.lapse(2000) == (member(1),)
    keep(shelf, issued_ms=3000)
    assert shelf.lapse(3000) == ()
    assert shelf.lapse(3001) == (member(2),)


def test_an_older_word_does_not_shorten_a_lease(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), issued_ms=3000)
    keep(shelf, issued_ms=1000)
    assert shelf.lapse(3000) == ()


# --- what the cloud has to be told ------------------------------------------------------------------------------------


def test_what_was_sealed_anew_is_untold_until_it_comes_back(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), sealed(2), sealed(3))
    assert shelf.untold(10) == ()
    anew = sealed(2, key=OTHER_KEY, seed=1)
    shelf.reseal([anew, sealed(9)])
    assert shelf.count() == 3, "who is not held is not made by it"
    assert shelf.untold(10) == (anew,)
    assert shelf.untold(0) == ()
    keep(shelf, anew, version=None)
    assert shelf.untold(10) == ()


# --- faults -----------------------------------------------------------------------------------------------------------


def test_the_settings_that_leave_nothing_behind(shelf: TemplateDatabase) -> None:
    names = ("journal_mode", "synchronous", "secure_delete", "temp_store", "trusted_schema")
    found = [shelf.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert found == ["truncate", 2, 1, 2, 0]


def test_a_file_that_is_no_database_is_damaged_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "faces.db"
    path.write_bytes(b"this is no database" * 100)
    with TemplateDatabase(path) as database, pytest.raises(StorageDamaged):
        database.open()
    assert path.read_bytes() == b"this is no database" * 100


def test_a_folder_that_is_not_there_takes_no_templates(tmp_path: Path) -> None:
    with TemplateDatabase(tmp_path / "nowhere" / "faces.db") as database, pytest.raises(StorageFull):
        database.open()


def test_a_step_that_fails_leaves_no_trace(shelf: TemplateDatabase) -> None:
    keep(shelf, sealed(1), version=1)

    def breaking() -> Iterator[SealedTemplate]:
        yield sealed(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shelf.apply(version=2, issued_ms=1, whole=True, reset=True, keep=breaking(), forget=(member(1),))
    assert tuple(shelf.all_sealed(KEY)) == (sealed(1),)
    assert shelf.held() == HeldFeed(version=1, issued_ms=1000)
    assert not is_anywhere(sealed(2), everything_on_disk(shelf))
