"""A face the whole way: learnt at one door under a consent, known at the other, and gone everywhere when withdrawn."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from edge.core.screen import Screen, ScreenName
from tests.support.mosquitto import wait_until
from tests.support.shop import Shop, ShopKiosk, open_shop, verify_all
from tests.system.screen_reader import ScreenReader
from tests.system.test_shop import Act, Joined, join_with_phone

pytestmark = pytest.mark.timeout(400)

STEP_S = 90.0  # two doors, two kiosks and a cloud share the machine
MEDIA, MODELS = os.environ.get("DOORSTEP_MEDIA"), os.environ.get("DOORSTEP_MODELS")
FACES = None if MEDIA is None else Path(MEDIA) / "faces"
needs_faces = pytest.mark.skipif(
    FACES is None or not FACES.is_dir() or MODELS is None,
    reason="DOORSTEP_MEDIA (a folder with faces/) and DOORSTEP_MODELS are not both set",
)


def portraits() -> tuple[str, str]:
    """Two pictures of one person, below the folder of faces: one to be learnt from, one to be known by."""
    assert FACES is not None
    folder = next(folder for folder in sorted(FACES.iterdir()) if len(list(folder.iterdir())) == 6)
    first, second, *_ = sorted(folder.iterdir())
    return str(first.relative_to(FACES)), str(second.relative_to(FACES))


def stands(portrait: str, seconds: float) -> dict[str, object]:
    """Somebody who is on the mark at once and stays there."""
    walker = {"portrait": portrait, "from_m": 1.4, "mark_m": 1.0, "on_mark_s": 0.3, "stays_s": seconds}
    return {"kind": "approach", "walkers": [walker], "seconds": seconds + 1.0}


def play(kiosk: ShopKiosk, *acts: dict[str, object] | Act) -> None:
    """From now on this happens at the kiosk's door, again and again."""
    scene = {"width": 1280, "height": 720, "rate": 10, "loop": True, "portraits": str(FACES), "acts": list(acts)}
    draft = kiosk.home / "scene.new"
    draft.write_text(json.dumps(scene))
    draft.replace(kiosk.home / "scene.json")


def open_door(shop: Shop, kiosk: ShopKiosk) -> None:
    """The kiosk runs, and nobody is there."""
    play(kiosk, {"kind": "empty", "seconds": 1.0})
    kiosk.set(camera=f"synthetic:{kiosk.home / 'scene.json'}", width=1280, height=720)
    shop.start(kiosk)


def recognise_by_face(shop: Shop, store: str | None = None) -> None:
    """The store's terms from now on. A rendered face is no test of what tells a face from a picture."""
    catalogue = shop.catalogue
    terms = {
        "campaign": catalogue.campaign,
        "points": catalogue.points,
        "reduced_points": catalogue.reduced_points,
        "faces": True,
        "liveness": "none",
    }
    shop.api.put(f"/v1/stores/{store or catalogue.store}/daily-reward", json=terms).raise_for_status()


def consent(public: httpx.Client, person: Joined, *, given: bool, store: str | None = None) -> None:
    body = {"purpose": "biometric", "given": given, "language": "it", "text_version": 1, "store": store}
    public.post("/v1/members/me/consents", json=body, headers=person.headers).raise_for_status()


def is_named(name: ScreenName) -> Callable[[Screen], bool]:
    return lambda screen: screen.name is name


@needs_faces
def test_a_face_learnt_at_one_door_is_known_at_the_other_and_forgotten_at_both(shop: Shop) -> None:
    first, second = shop.kiosks
    with shop.cloud.open_api(as_admin=False) as public:
        recognise_by_face(shop)
        person = join_with_phone(public, shop, "Ornella")
        consent(public, person, given=True)
        for kiosk in (first, second):
            open_door(shop, kiosk)
        learner = _find_maker(shop)
        newcomer = second if learner is first else first
        _learn(learner, person)
        _admit(shop, newcomer, to=learner)
        _know(newcomer)
        shop.settle(STEP_S)
        assert person.balance(public) == 10, "a phone at one door and a face at the other are one reward"
        consent(public, person, given=False)
        _forget(shop, public, person)
    verify_all(shop)


def _find_maker(shop: Shop) -> ShopKiosk:
    """One of the kiosks makes the group's secret, and looks for faces then."""

    def looking() -> list[ShopKiosk]:
        return [kiosk for kiosk in shop.kiosks if shop.status(kiosk).faces == "on"]

    shop.await_ready()
    wait_until(lambda: bool(looking()), "faces are looked for", STEP_S)
    return looking()[0]


def _learn(kiosk: ShopKiosk, person: Joined) -> None:
    """The member shows the phone once and then stands there: the consent was given on their page."""
    portrait, _ = portraits()
    with ScreenReader(kiosk.screen_port) as reader:
        play(kiosk, {"kind": "empty", "seconds": 2.0}, person.shows, stands(portrait, 15.0))
        reader.wait_for(is_named(ScreenName.ENROL), "the kiosk says how to stand", STEP_S)
        reader.wait_for(is_named(ScreenName.ENROLLED), "the face is learnt", STEP_S)
    play(kiosk, {"kind": "empty", "seconds": 1.0})


def _admit(shop: Shop, newcomer: ShopKiosk, *, to: ShopKiosk) -> None:
    """Staff hold what the newcomer shows to the camera of a kiosk that has the group's secret."""
    with ScreenReader(newcomer.screen_port) as reader:
        shop.ask("doorstep-edge", "group", "join", "--home", str(newcomer.home))
        request = reader.wait_for(is_named(ScreenName.JOIN_GROUP), "the newcomer shows its request", STEP_S)
    assert request.code is not None
    shop.ask("doorstep-edge", "group", "admit", "--home", str(to.home))
    play(to, {"kind": "card", "text": request.code, "seconds": 4.0}, {"kind": "empty", "seconds": 1.0})
    group = shop.status(to).group
    wait_until(lambda: shop.status(newcomer).group == group, "the newcomer has the secret", STEP_S)
    wait_until(lambda: shop.status(newcomer).templates == 1, "and the template", STEP_S)
    play(to, {"kind": "empty", "seconds": 1.0})


def _know(kiosk: ShopKiosk) -> None:
    """Without a code, from another picture."""
    _, portrait = portraits()
    with ScreenReader(kiosk.screen_port) as reader:
        play(kiosk, {"kind": "empty", "seconds": 1.0}, stands(portrait, 6.0))
        greeted = reader.wait_for(is_named(ScreenName.GREETING), "the member is greeted by face", STEP_S)
    assert (greeted.nickname, greeted.points) == ("Ornella", 10)
    play(kiosk, {"kind": "empty", "seconds": 1.0})


def _forget(shop: Shop, public: httpx.Client, person: Joined) -> None:
    """No kiosk holds anything any more, and both have said so under their signatures."""
    wait_until(lambda: all(shop.status(kiosk).templates == 0 for kiosk in shop.kiosks), "both forget", STEP_S)

    def proved() -> bool:
        told = public.get("/v1/members/me/face", headers=person.headers).raise_for_status().json()
        return {kiosk.device for kiosk in shop.kiosks} <= set(json.dumps(told).replace('"', " ").split())

    wait_until(proved, "both proofs are there", STEP_S)


OTHER_STORE = "acme-milano"


@needs_faces
def test_a_face_learnt_at_one_store_is_known_at_another_that_the_member_names_and_forgotten_there_alone() -> None:
    """Two stores with a kiosk each, which staff introduce to each other with nothing but screens and cameras."""
    with open_shop(kiosks=1) as shop, shop.cloud.open_api(as_admin=False) as public:
        home, away = shop.kiosks[0], _open_another_store(shop)
        recognise_by_face(shop)
        person = join_with_phone(public, shop, "Ornella")
        consent(public, person, given=True)
        for kiosk in (home, away):
            open_door(shop, kiosk)
        shop.await_ready()
        wait_until(lambda: _are_looking(shop, home, away), "each store has its secret", STEP_S)
        assert shop.status(home).group != shop.status(away).group
        _learn(home, person)
        _introduce(shop, away, to=home)
        _introduce(shop, home, to=away)
        shop.settle(STEP_S)
        assert shop.status(away).templates == 0, "introduced they are, and nobody has named the store yet"
        consent(public, person, given=True, store=OTHER_STORE)
        wait_until(lambda: shop.status(away).templates == 1, "the template was given", STEP_S)
        wait_until(lambda: OTHER_STORE in _known_at(public, person), "and opened there", STEP_S)
        _know(away)
        shop.settle(STEP_S)
        assert person.balance(public) == 20, "a reward a day at each store"

        consent(public, person, given=False, store=OTHER_STORE)
        wait_until(lambda: shop.status(away).templates == 0, "that store forgets", STEP_S)
        wait_until(lambda: _proved(public, person) == {away.device: True}, "and proves it", STEP_S)
        assert _known_at(public, person) == {shop.catalogue.store}
        assert shop.status(home).templates == 1
        shop.settle(STEP_S)
        verify_all(shop)


def _are_looking(shop: Shop, *kiosks: ShopKiosk) -> bool:
    return all(shop.status(kiosk).faces == "on" for kiosk in kiosks)


def _open_another_store(shop: Shop) -> ShopKiosk:
    catalogue = shop.catalogue
    store = {
        "id": OTHER_STORE,
        "tenant": catalogue.tenant,
        "merchant": catalogue.merchant,
        "programme": catalogue.programme,
        "name": "Acme Milano",
        "zone": "Europe/Rome",
        "cutoff_hour": 4,
    }
    shop.api.post("/v1/stores", json=store).raise_for_status()
    recognise_by_face(shop, OTHER_STORE)
    return shop.add_kiosk(OTHER_STORE)


def _introduce(shop: Shop, kiosk: ShopKiosk, *, to: ShopKiosk) -> None:
    """Staff take a picture of what the one shows and hold it to the camera of the other."""
    with ScreenReader(kiosk.screen_port) as reader:
        shop.ask("doorstep-edge", "group", "introduce", "--home", str(kiosk.home))
        shown = reader.wait_for(is_named(ScreenName.INTRODUCE), "it shows its group", STEP_S)
    assert shown.code is not None
    with ScreenReader(to.screen_port) as reader:
        shop.ask("doorstep-edge", "group", "trust", "--home", str(to.home))
        play(to, {"kind": "card", "text": shown.code, "seconds": 4.0}, {"kind": "empty", "seconds": 1.0})
        reader.wait_for(is_named(ScreenName.INTRODUCED), "the other takes it", STEP_S)
    told = json.loads(shop.ask("doorstep-edge", "group", "status", "--json", "--home", str(to.home)))
    assert [partner["group"] for partner in told["partners"]] == [shop.status(kiosk).group]
    play(to, {"kind": "empty", "seconds": 1.0})


def _known_at(public: httpx.Client, person: Joined) -> set[str]:
    told = public.get("/v1/members/me/face", headers=person.headers).raise_for_status().json()
    return {known["store"] for known in told["stores"]}


def _proved(public: httpx.Client, person: Joined) -> dict[str, bool]:
    """Which kiosks have to delete, and whether each has proved it."""
    told = public.get("/v1/members/me/face", headers=person.headers).raise_for_status().json()
    return {one["kiosk"]: one["deleted_at"] is not None for one in told["deletions"]}
