"""The whole way once, through every real part: a code held up at a door becomes points the member can see."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.core.screen import Screen, ScreenName
from tests.support.mosquitto import wait_until
from tests.support.shop import Shop, ShopKiosk, verify_all
from tests.system.screen_reader import ScreenReader

pytestmark = pytest.mark.timeout(300)

SEEN_S = 60.0  # two doors are drawn, looked at and served beside everything else
SETTLE_S = 120.0
Act = dict[str, str | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Somebody who joined over HTTP, and what they hold up at a door."""

    nickname: str
    headers: dict[str, str]
    shows: Act

    def balance(self, public: httpx.Client) -> int:
        """What the member's page says."""
        told = public.get("/v1/members/me", headers=self.headers).raise_for_status().json()
        return sum(balance["amount"] for balance in told["balances"])


class ClaimOnRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the API tells of a claim that a kiosk made."""

    device: str
    claim: str
    outcome: str


class ClaimsOnRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A page of them."""

    items: tuple[ClaimOnRecord, ...]
    next: str | None


def join(public: httpx.Client, shop: Shop, nickname: str) -> dict[str, str]:
    """The header that opens the new member's own pages. They do not say in which store they are."""
    headers = {"Authorization": f"Bearer dsm_{base64url(secrets.token_bytes(32))}"}
    body = {"programme": shop.catalogue.programme, "nickname": nickname, "language": "it", "text_version": 1}
    public.post("/v1/members", json=body, headers=headers).raise_for_status()
    return headers


def join_with_phone(public: httpx.Client, shop: Shop, nickname: str) -> Joined:
    headers, key = join(public, shop, nickname), Ed25519PrivateKey.generate()
    asked = {"public_key": base64url(key.public_key().public_bytes_raw())}
    text = public.post("/v1/members/me/phones", json=asked, headers=headers).raise_for_status().json()["certificate"]
    certificate = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
    private_key = key.private_bytes_raw().hex()
    shows: Act = {"kind": "phone", "certificate": certificate, "private_key": private_key, "seconds": 3.0}
    return Joined(nickname=nickname, headers=headers, shows=shows)


def join_with_card(public: httpx.Client, shop: Shop, nickname: str) -> Joined:
    headers = join(public, shop, nickname)
    public.post("/v1/members/me/card", headers=headers).raise_for_status()
    text = public.get("/v1/members/me/card", headers=headers).raise_for_status().json()["text"]
    return Joined(nickname=nickname, headers=headers, shows={"kind": "card", "text": text, "seconds": 2.5})


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def open_door(shop: Shop, kiosk: ShopKiosk, visits: list[Act]) -> None:
    """The kiosk runs, and this is what is held up at its door, again and again."""
    empty: Act = {"kind": "empty", "seconds": 1.5}
    acts = [act for visit in visits for act in (empty, visit)]
    scene = kiosk.home / "scene.json"
    scene.write_text(json.dumps({"width": 960, "height": 540, "rate": 10, "loop": True, "acts": acts}))
    kiosk.set(camera=f"synthetic:{scene}", width=960, height=540)
    shop.start(kiosk)


def claims_on_record(shop: Shop, kiosk: ShopKiosk) -> dict[str, str]:
    """What became of each of the kiosk's claims, as the API tells."""
    found: dict[str, str] = {}
    after: dict[str, str] = {}
    while True:
        address = f"/v1/stores/{shop.catalogue.store}/claims"
        answer = shop.api.get(address, params={"limit": 200, **after}).raise_for_status()
        page = msgspec.json.decode(answer.content, type=ClaimsOnRecord)
        found |= {claim.claim: claim.outcome for claim in page.items if claim.device == kiosk.device}
        if page.next is None:
            return found
        after = {"cursor": page.next}


def test_members_join_are_greeted_at_two_doors_and_see_their_points_once(shop: Shop) -> None:
    with shop.cloud.open_api(as_admin=False) as public:
        people = [join_with_phone(public, shop, "Giulia"), join_with_card(public, shop, "Marco")]
        assert [person.balance(public) for person in people] == [0, 0]
        greeted = _visit_the_first_door(shop, people)
        assert [person.balance(public) for person in people] == [10, 10]
        _visit_the_second_door(shop, people, greeted)
        assert [person.balance(public) for person in people] == [10, 10], "two doors, one reward"
    verify_all(shop)


def _visit_the_first_door(shop: Shop, people: list[Joined]) -> set[str]:
    """The claims with which everybody was greeted there; they are posted."""
    kiosk = shop.kiosks[0]
    stranger: Act = {"kind": "card", "text": "https://example.org/menu", "seconds": 2.5}
    open_door(shop, kiosk, [*(person.shows for person in people), stranger, people[-1].shows])
    with ScreenReader(kiosk.screen_port) as reader:
        wait_until(lambda: len(reader.greetings()) == len(people), "everybody is greeted", SEEN_S)
        reader.wait_for(lambda screen: screen.name is ScreenName.INVALID, "a stranger's code is turned away", SEEN_S)
        reader.wait_for(lambda screen: screen.name is ScreenName.COLLECTED, "somebody comes again", SEEN_S)
        greeted = reader.greetings()
    posted = dict.fromkeys(greeted, "posted")
    wait_until(lambda: posted.items() <= claims_on_record(shop, kiosk).items(), "the claims are posted", 30)
    return greeted


def _visit_the_second_door(shop: Shop, people: list[Joined], greeted: set[str]) -> None:
    """Everybody is known there by name and greeted again, and the cloud finds that they had their points."""
    kiosk = shop.kiosks[1]
    before = len(kiosk.claims())
    open_door(shop, kiosk, [person.shows for person in people])
    with ScreenReader(kiosk.screen_port) as reader:
        for person in people:
            screen = reader.wait_for(greets(person.nickname), f"{person.nickname} is known", SEEN_S)
            assert (screen.points, screen.language) == (10, "it")
    shop.settle(SETTLE_S)
    assert dict.fromkeys(greeted, "exists").items() <= claims_on_record(shop, kiosk).items()
    told = shop.status(kiosk)
    assert (told.claims_total - before, told.rejected, told.outbox_waiting) == (len(people), 0, 0)
    assert (told.camera_live, told.store) == (True, shop.catalogue.store)


def greets(nickname: str) -> Callable[[Screen], bool]:
    def wanted(screen: Screen) -> bool:
        return screen.name is ScreenName.GREETING and screen.nickname == nickname

    return wanted
