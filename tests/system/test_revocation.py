"""A revoked device is out, in the session it has and for good; measured from the order to the last word delivered."""

import secrets
import time

import msgspec
import pytest

from cloud.cli.shop import provision_kiosk
from edge.config import load_identity, load_places
from shared.envelope import TimeAsked
from shared.ids import DeviceId
from shared.topics import Down, Up, down, down_filter, up
from tests.support.certificates import Identity
from tests.support.mosquitto import wait_until
from tests.support.mqtt_peer import Peer, speaks
from tests.support.shop import Shop

pytestmark = pytest.mark.timeout(120)

OUT_WITHIN_S = 60.0
QUESTIONS_AFTER = 20


class Machine:
    """Somebody with a device's certificate and no manners: on the line, and asking the cloud for the time."""

    def __init__(self, shop: Shop, name: str) -> None:
        home = shop.folder / name
        provision_kiosk(shop.children, shop.api, home=home, cloud=shop.cloud.address, store=shop.catalogue.store)
        keys = home / "keys"
        self.device = DeviceId(load_identity(load_places(home)).device)
        self.identity = Identity(certificate=keys / "tls.crt", key=keys / "tls.key")
        self.peer = Peer(shop.broker_reached, self.device, self.identity)

    def ask(self) -> None:
        """Puts a question; whether it arrives and is answered is another matter."""
        question = msgspec.msgpack.encode(TimeAsked(nonce=secrets.token_bytes(16)))
        self.peer.say(up(self.device, Up.TIME), question)

    @property
    def answers(self) -> int:
        """How many answers of the cloud were delivered."""
        return sum(got.topic == down(self.device, Down.TIME) for got in self.peer.got)

    def ask_and_hear(self) -> None:
        """A question reaches the cloud and its answer reaches us."""
        before = self.answers
        self.ask()
        wait_until(lambda: self.answers > before, "the cloud answers")


def test_a_revoked_device_is_out_at_once_with_its_live_session(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    stolen, honest = Machine(shop, "stolen"), Machine(shop, "honest")
    with stolen.peer, honest.peer:
        for machine in (stolen, honest):
            machine.peer.subscribe(down_filter(machine.device))
            machine.ask_and_hear()
        ordered_s = time.monotonic()
        shop.api.post(f"/v1/devices/{stolen.device}/revoke").raise_for_status()
        out_s = _ask_until_unheard(stolen, honest, ordered_s)
        assert stolen.peer.is_connected, "its session is the one it had"
        with capsys.disabled():
            print(f" [revoked: unheard in its live session {out_s:.2f} s after the order]")
        assert out_s < OUT_WITHIN_S
        _check_it_stays_out(stolen, honest)
    assert speaks(shop.broker_reached, honest.identity)
    assert not speaks(shop.broker_reached, stolen.identity), "its certificate opens no further session"


def _ask_until_unheard(stolen: Machine, honest: Machine, ordered_s: float) -> float:
    """Seconds from the order until a question of the stolen device had no answer. The honest one is the yardstick: its
    questions, put later, are answered."""
    while True:
        before = stolen.answers
        stolen.ask()
        honest.ask_and_hear()
        honest.ask_and_hear()  # whatever was on its way to the other has arrived by now
        if stolen.answers == before:
            return time.monotonic() - ordered_s
        assert time.monotonic() - ordered_s < OUT_WITHIN_S, "it is still served"


def _check_it_stays_out(stolen: Machine, honest: Machine) -> None:
    before = stolen.answers
    for _ in range(QUESTIONS_AFTER):
        stolen.ask()
    stolen.peer.say(up(honest.device, Up.TIME), msgspec.msgpack.encode(TimeAsked(nonce=bytes(16))))
    honest.ask_and_hear()
    assert stolen.answers == before
    assert all(got.topic.startswith(f"doorstep/v1/{stolen.device}/") for got in stolen.peer.got)
