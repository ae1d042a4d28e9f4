"""What a broker loses although it said "yes", shown to happen; and a shop on the same broker that loses nothing.

The broker runs under Mosquitto's own limits (2.0.11: 1000 messages wait for a client, storage is saved every half
hour). Each loss is first provoked with plain clients, so that what the shop then survives is known to be there.
"""

import contextlib
import signal
from collections.abc import Iterator

import pytest

from tests.support.agent_peer import Doorman, ask_status
from tests.support.certificates import Identity
from tests.support.mosquitto import PrivateMosquitto, private_mosquitto, wait_until, without_limits
from tests.support.mqtt_peer import V311, Peer
from tests.support.shop import Guest, Shop, ShopKiosk, claims_of, open_shop, verify_all

pytestmark = pytest.mark.timeout(300)

EVENTS = "doorstep/v1/k1/up/event"
FILTER = "doorstep/v1/+/up/+"
MESSAGES = 500
FLOOD = 3000
WAITING_MAX, IN_FLIGHT_MAX = 1000, 20  # Mosquitto's own
KEPT_S = 3600
GUESTS = 15
SETTLE_S = 120.0
NOTICED_S = 20.0


@pytest.fixture
def broker() -> Iterator[PrivateMosquitto]:
    with private_mosquitto(["k1"], has_own_limits=True) as broker:
        yield broker


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


class Subscriber:
    """Somebody who is told everything, and may be away meanwhile: their session is kept."""

    def __init__(self, broker: PrivateMosquitto, session_s: int = KEPT_S) -> None:
        self._broker = broker
        self._session_s = session_s
        self._identity = broker.issue("cloud")

    def come(self) -> Peer:
        """Connects; to be left by `with`."""
        return Peer(self._broker, "cloud", self._identity, session_s=self._session_s)

    def sign_up(self) -> None:
        """Subscribes and leaves."""
        with self.come() as peer:
            peer.subscribe(FILTER)

    def get_what_waited(self, device: Peer) -> list[bytes]:
        """What is delivered on return, until a message published after it arrives."""
        with self.come() as peer:
            peer.subscribe(FILTER)
            device.publish(EVENTS, b"last")
            wait_until(lambda: any(got.data == b"last" for got in peer.got), "the last one arrives")
            return [got.data for got in peer.got if got.data != b"last"]


# --- that it happens ------------------------------------------------------------------------------------------------


def test_mosquitto_drops_confirmed_messages_behind_a_slow_subscriber(broker: PrivateMosquitto) -> None:
    away = Subscriber(broker)
    away.sign_up()
    with Peer(broker, "k1", broker.issue("k1")) as device:
        device.publish_all(EVENTS, numbered(FLOOD))  # returns once each was confirmed
        got = away.get_what_waited(device)
    assert got == numbered(FLOOD)[: len(got)]
    assert WAITING_MAX <= len(got) <= WAITING_MAX + IN_FLIGHT_MAX, f"{len(got)} of {FLOOD} confirmed messages came"


def test_mosquitto_loses_confirmed_messages_when_it_is_killed(broker: PrivateMosquitto) -> None:
    away = Subscriber(broker)
    away.sign_up()
    with Peer(broker, "k1", broker.issue("k1")) as device:
        device.publish_all(EVENTS, numbered(MESSAGES))
    broker.kill()
    broker.start()
    with Peer(broker, "k1", broker.issue("k1")) as device:
        assert away.get_what_waited(device) == []


def test_mosquitto_confirms_messages_that_nobody_will_ever_get(broker: PrivateMosquitto) -> None:
    with Peer(broker, "k1", broker.issue("k1"), V311) as device:
        assert device.publish(EVENTS, b"for nobody") == "Success"
        assert Subscriber(broker).get_what_waited(device) == []


def test_mosquitto_forgets_what_waits_when_a_session_expires(broker: PrivateMosquitto) -> None:
    away = Subscriber(broker, session_s=1)
    away.sign_up()
    with Peer(broker, "k1", broker.issue("k1")) as device:
        device.publish_all(EVENTS, numbered(MESSAGES))
        wait_until(lambda: "Expiring client cloud" in broker.read_log(), "the session expires")
        assert away.get_what_waited(device) == []


# --- that it costs a shop nothing -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_shop_with_own_limits() -> Iterator[Shop]:
    """A shop whose broker runs under Mosquitto's own limits."""
    with open_shop(kiosks=2) as shop:
        shop.cloud.broker.cut()
        configuration = shop.cloud.home / "broker" / "mosquitto.conf"
        configuration.write_text(without_limits(configuration.read_text()))
        shop.cloud.broker.join()
        yield shop


@pytest.fixture
def careless_shop(open_shop_with_own_limits: Shop) -> Iterator[Shop]:
    """That shop with agents and links running and everybody on the line."""
    shop = open_shop_with_own_limits
    shop.mend()
    for kiosk in shop.kiosks:
        shop.start(kiosk, "agent", "link")
    shop.await_ready()
    shop.settle(SETTLE_S)
    yield shop
    shop.end_kiosks()


def identity_of(kiosk: ShopKiosk) -> Identity:
    return Identity(certificate=kiosk.home / "keys" / "tls.crt", key=kiosk.home / "keys" / "tls.key")


def serve(kiosk: ShopKiosk, guests: list[Guest]) -> None:
    """All are served at this door, one after the other."""
    known = len(kiosk.claims())
    with Doorman(kiosk.agent_socket) as doorman:
        for number, guest in enumerate(guests, 1):
            doorman.show(guest.card)
            _await_claims(kiosk, known + number)


def _await_claims(kiosk: ShopKiosk, count: int) -> None:
    wait_until(lambda: len(kiosk.claims()) >= count, "the guest is served", NOTICED_S)


def waiting(kiosk: ShopKiosk) -> int:
    told = ask_status(kiosk.agent_socket)
    assert told is not None
    return told.outbox_waiting


def check_all_posted(shop: Shop, known: set[str], guests: int) -> None:
    """Everybody's claim is kept and posted, once, and the books are sound."""
    shop.settle(SETTLE_S)
    granted = [claim for claim in shop.grants() if claim not in known]
    assert len(granted) == len(set(granted)) == guests
    assert set(granted) == claims_of(shop.kiosks) - known
    verify_all(shop)


@contextlib.contextmanager
def cloud_frozen(shop: Shop) -> Iterator[None]:
    """Inside the block the cloud neither reads nor answers, and its connection stands."""
    child = shop.children.running["cloud"]
    child.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        child.send_signal(signal.SIGCONT)


def test_a_flood_behind_which_claims_are_dropped(careless_shop: Shop) -> None:
    """A kiosk gone mad fills the queue of a cloud that stands still; the other one's claims are confirmed and lost."""
    shop = careless_shop
    known, guests = set(shop.grants()), shop.enrol(GUESTS)
    mad, sane = shop.kiosks
    shop.children.stop(mad.process("link"))
    with cloud_frozen(shop), Peer(shop.broker_reached, mad.device, identity_of(mad)) as flooder:
        flooder.publish_all(f"doorstep/v1/{mad.device}/up/event", [bytes(200)] * FLOOD)
        serve(sane, guests)
        wait_until(lambda: "messages are being dropped" in shop.read_log("broker"), "the broker drops", NOTICED_S)
        assert waiting(sane) >= len(guests)
    shop.start(mad, "link")
    check_all_posted(shop, known, len(guests))


def test_claims_confirmed_by_a_broker_that_is_killed(careless_shop: Shop) -> None:
    shop = careless_shop
    known, guests = set(shop.grants()), shop.enrol(GUESTS)
    with cloud_frozen(shop):
        serve(shop.kiosks[0], guests)
        assert waiting(shop.kiosks[0]) >= len(guests)
        shop.cloud.broker.kill()
    shop.cloud.broker.join()
    check_all_posted(shop, known, len(guests))


def test_claims_confirmed_while_nobody_listens(careless_shop: Shop) -> None:
    shop = careless_shop
    known, guests = set(shop.grants()), shop.enrol(GUESTS)
    shop.children.stop("cloud")
    shop.cloud.broker.crash()  # no session of the cloud is left
    shop.cloud.broker.join()
    wait_until(lambda: all(_is_online(kiosk) for kiosk in shop.kiosks), "the kiosks are back on the line", SETTLE_S)
    serve(shop.kiosks[0], guests)
    assert waiting(shop.kiosks[0]) >= len(guests)
    shop.cloud.serve()
    check_all_posted(shop, known, len(guests))


def test_sessions_that_expire_on_both_sides(careless_shop: Shop) -> None:
    """A client that asks for a clean start ends a session as its expiry would, a week earlier."""
    shop = careless_shop
    known, guests = set(shop.grants()), shop.enrol(GUESTS)
    kiosk = shop.kiosks[0]
    with cloud_frozen(shop):
        serve(kiosk, guests)
        shop.children.stop(kiosk.process("link"))
    wait_until(lambda: len(shop.grants()) == len(known) + len(guests), "the cloud posts and answers", NOTICED_S)
    with Peer(shop.broker_reached, kiosk.device, identity_of(kiosk)) as thief:
        assert thief.is_connected
    assert waiting(kiosk) >= len(guests), "the receipts are lost"
    keys = shop.cloud.home / "keys"
    with Peer(
        shop.broker_reached, "cloud", Identity(certificate=keys / "client.pem", key=keys / "client.key")
    ) as thief:
        assert thief.is_connected, "and the cloud's session with whatever waits in it"
    shop.start(kiosk, "link")
    check_all_posted(shop, known, len(guests))


def _is_online(kiosk: ShopKiosk) -> bool:
    told = ask_status(kiosk.agent_socket)
    return told is not None and told.online
