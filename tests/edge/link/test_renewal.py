"""Renewals between an agent's socket, a cloud and a real broker: due, ended, in vain, with a clock that is wrong."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edge.core.certificate import RenewalState
from edge.link.cloud import NotRenewed
from edge.link.mqtt import LinkOptions
from edge.link.pump import Renewals, run_link
from shared.business_day import milliseconds
from shared.topics import Up
from tests.edge.link.test_pump import EVENT, RECEIPT, WatchdogStandIn, cloud
from tests.support.agent_stand_in import AgentStandIn, eventually
from tests.support.certificates import Identity, Validity
from tests.support.mosquitto import HOST, PrivateMosquitto, private_mosquitto
from tests.support.mqtt_peer import Got
from tests.support.renewing_cloud import RenewingCloud

pytestmark = pytest.mark.timeout(60)

DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(microsecond=0)
"""The broker judges our certificate with the machine's clock, so the certificates of these tests are of today."""

DUE = Validity(begins=TODAY - 61 * DAY, ends=TODAY + 29 * DAY)
FRESH = Validity(begins=TODAY - DAY, ends=TODAY + 89 * DAY)
ENDED = Validity(begins=TODAY - 400 * DAY, ends=TODAY - 310 * DAY)


class Eager(Random):
    """Draws the shortest pause."""

    def random(self) -> float:
        """Nothing."""
        return 0.0


@pytest.fixture
def broker() -> Iterator[PrivateMosquitto]:
    with private_mosquitto(["k1"]) as broker:
        yield broker


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "agent.sock"


def identity(broker: PrivateMosquitto, validity: Validity) -> Identity:
    return broker.authority.issue_client("k1", validity)


def renewing(broker: PrivateMosquitto, agent: AgentStandIn, validity: Validity = FRESH) -> RenewingCloud:
    return RenewingCloud(
        authority=broker.authority,
        validity=validity,
        signing_public=lambda: agent.signing_key.public_key().public_bytes_raw(),
    )


@contextlib.asynccontextmanager
async def linked(path: Path, broker: PrivateMosquitto, mine: Identity, renews: RenewingCloud) -> AsyncIterator[None]:
    """A link process's body that renews; uptime stands still, so that the told time does."""
    options = LinkOptions(
        host=HOST,
        port=broker.port,
        ca=broker.files.authority,
        certificate=mine.certificate,
        key=mine.key,
        connect_timeout_s=2.0,
        retry_min_s=0.05,
        retry_max_s=0.1,
    )
    renewals = Renewals(cloud=renews, uptime_ns=lambda: 0)
    task = asyncio.create_task(run_link(str(path), options, WatchdogStandIn(), Eager(), renewals))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(story)


def states(agent: AgentStandIn) -> list[RenewalState]:
    return [told.renewal for told in agent.certificates]


def reasons(agent: AgentStandIn) -> list[str | None]:
    return [told.reason for told in agent.certificates]


def ends(validity: Validity) -> int:
    return milliseconds(validity.ends)


def pair_in(broker: PrivateMosquitto, name: str) -> Path:
    return broker.files.authority.parent / name


def test_a_certificate_that_is_not_due_is_left_alone(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        async with AgentStandIn(path, instant=TODAY) as agent:
            renews = renewing(broker, agent)
            async with linked(path, broker, identity(broker, FRESH), renews):
                await eventually(lambda: agent.is_up and bool(agent.certificates), "the line is up")
                assert (states(agent), agent.certificates[-1].ends_ms) == ([RenewalState.CURRENT], ends(FRESH))
            assert renews.asked == []

    run(story())


def test_at_two_thirds_it_is_renewed_and_the_line_comes_back_with_it(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        mine = identity(broker, DUE)
        with cloud(broker) as peer:
            peer.subscribe(EVENT)
            async with AgentStandIn(path, instant=TODAY) as agent:
                renews = renewing(broker, agent)
                renews.gate.clear()
                async with linked(path, broker, mine, renews):
                    await eventually(lambda: agent.is_up, "it connects with the old pair")
                    renews.gate.set()
                    await eventually(lambda: agent.ups == 2, "it connects with the new pair")
                    await eventually(lambda: states(agent)[-1] is RenewalState.CURRENT, "the agent is told")
                    agent.publish(Up.EVENT, b"after")
                    peer.publish(RECEIPT, b"stored")
                    await eventually(lambda: peer.got == [Got(topic=EVENT, data=b"after")], "it carries up")
                    await eventually(lambda: agent.texts == [b"stored"], "it carries down")
                assert states(agent)[-3:] == [RenewalState.DUE, RenewalState.RENEWED, RenewalState.CURRENT]
                assert [told.ends_ms for told in agent.certificates][-3:] == [ends(DUE), ends(FRESH), ends(FRESH)]
                assert agent.reasons[0] == "the certificate is renewed"
                assert renews.instants == [TODAY]
                assert not mine.key.exists()
                async with linked(path, broker, mine, renews):  # after a restart, with what is on the disk
                    await eventually(lambda: agent.ups == 3, "it connects with the renewed pair")
                assert len(renews.asked) == 1

    run(story())


def test_a_certificate_that_ended_long_ago_is_renewed_though_nobody_knows_the_time(
    broker: PrivateMosquitto, path: Path
) -> None:
    """A shop that opens after a year, without a battery clock: the broker's word is all there is, and is enough."""

    async def story() -> None:
        async with AgentStandIn(path, instant=None) as agent:
            renews = renewing(broker, agent)
            async with linked(path, broker, identity(broker, ENDED), renews):
                await eventually(lambda: agent.is_up, "it connects")
                await eventually(lambda: states(agent)[-1] is RenewalState.CURRENT, "the agent is told")
            assert agent.ups == 1, "the old one never got through"
            assert renews.instants == [None]
            assert agent.reasons[0] == "TLS: SSLV3_ALERT_CERTIFICATE_EXPIRED"

    run(story())


def test_only_one_renewal_is_in_flight_and_a_failure_is_told_and_tried_again(
    broker: PrivateMosquitto, path: Path
) -> None:
    async def story() -> None:
        async with AgentStandIn(path, instant=TODAY) as agent:
            renews = renewing(broker, agent)
            renews.refusal = NotRenewed(reason="the cloud does not answer")
            renews.gate.clear()
            async with linked(path, broker, identity(broker, DUE), renews):
                await eventually(lambda: agent.is_up and len(renews.asked) == 1, "it asks")
                agent.tell_clock(TODAY + 20 * DAY)
                renews.gate.set()
                await eventually(lambda: states(agent)[-1] is RenewalState.FAILED, "the failure is told")
                assert reasons(agent)[-1] == "the cloud does not answer"
                await eventually(lambda: len(renews.asked) >= 2, "it asks again")
                keys = {renew_key(asked.csr_pem) for asked in renews.asked}
                assert len(keys) == 1, "with the same key, so that a lost answer is given again"
                assert agent.ups == 1, "the line stands meanwhile"
                renews.refusal = None
                await eventually(lambda: states(agent)[-1] is RenewalState.CURRENT, "it is renewed")
                assert reasons(agent)[-1] is None
            assert renews.busy_max == 1

    run(story())


def renew_key(csr_pem: str) -> bytes:
    key = x509.load_pem_x509_csr(csr_pem.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_numbers().x.to_bytes(32, "big")


def test_a_request_that_the_agent_does_not_prove_is_not_sent(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        async with AgentStandIn(path, instant=TODAY, signs=False) as agent:
            renews = renewing(broker, agent)
            async with linked(path, broker, identity(broker, DUE), renews):
                await eventually(lambda: RenewalState.FAILED in states(agent), "it is told")
                assert agent.certificates[-1].reason == "the agent does not prove the request"
            assert renews.asked == []

    run(story())


def test_a_certificate_for_somebody_else_is_not_taken(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        async with AgentStandIn(path, instant=TODAY) as agent:
            renews = renewing(broker, agent)
            renews.made = lambda key: broker.authority.certify(key, "k2", FRESH)
            async with linked(path, broker, identity(broker, DUE), renews):
                await eventually(lambda: RenewalState.FAILED in states(agent), "it is told")
                assert agent.certificates[-1].reason == "the new certificate is for another device"
                await eventually(lambda: agent.is_up, "the line stands")
            assert not pair_in(broker, "renewed.pem").exists()

    run(story())


def test_while_the_broker_does_not_take_the_new_pair_the_old_one_is_used(broker: PrivateMosquitto, path: Path) -> None:
    async def story() -> None:
        mine = identity(broker, DUE)
        async with AgentStandIn(path, instant=TODAY) as agent:
            renews = renewing(broker, agent)
            renews.made = lambda key: revoked(broker, key)
            renews.gate.clear()
            async with linked(path, broker, mine, renews):
                await eventually(lambda: agent.is_up, "it connects with the old pair")
                renews.gate.set()
                await eventually(lambda: agent.ups == 2, "it is back, with the old pair")
                assert states(agent)[-2:] == [RenewalState.DUE, RenewalState.RENEWED]
                assert "TLS: SSLV3_ALERT_CERTIFICATE_REVOKED" in agent.reasons
                assert mine.key.exists()
                broker.authority.revoke()
                broker.revoke()
                broker.kill()
                broker.start()
                await eventually(lambda: states(agent)[-1] is RenewalState.CURRENT, "the new one connects in the end")
            assert not mine.key.exists()

    run(story())


def revoked(broker: PrivateMosquitto, key: ec.EllipticCurvePublicKey) -> str:
    """A good certificate that stands on the broker's list of void ones."""
    pem = broker.authority.certify(key, "k1", FRESH)
    path = broker.files.storage.parent / "void.pem"
    path.write_text(pem)
    broker.revoke(Identity(certificate=path, key=path))
    return pem


# --- a clock that is wrong ------------------------------------------------------------------------------------------

LATER = datetime(2041, 6, 1, tzinfo=UTC)
IN_2041 = Validity(begins=datetime(2041, 1, 1, tzinfo=UTC), ends=datetime(2042, 1, 1, tzinfo=UTC))


@pytest.fixture
def broker_of_2041() -> Iterator[PrivateMosquitto]:
    """To a kiosk at it the system clock is fifteen years behind, as 1970 is to a broker of today."""
    with private_mosquitto(["k1"], validity=IN_2041) as broker:
        yield broker


def test_without_a_trusted_time_dates_do_not_keep_it_from_the_broker_and_with_it_they_hold(
    broker_of_2041: PrivateMosquitto, path: Path
) -> None:
    async def story() -> None:
        async with AgentStandIn(path, instant=None) as agent:
            renews = renewing(broker_of_2041, agent)
            async with linked(path, broker_of_2041, identity(broker_of_2041, FRESH), renews):
                await eventually(lambda: agent.is_up, "it connects")
                agent.tell_clock(IN_2041.begins)
                agent.publish(Up.TIME, b"x")
                await eventually(lambda: bool(agent.certificates), "it goes on")
                assert agent.reasons == []

    run(story())


def test_when_the_trusted_time_says_that_the_brokers_dates_do_not_hold_the_line_is_dropped(
    broker_of_2041: PrivateMosquitto, path: Path
) -> None:
    async def story() -> None:
        async with AgentStandIn(path, instant=None) as agent:
            renews = renewing(broker_of_2041, agent)
            async with linked(path, broker_of_2041, identity(broker_of_2041, FRESH), renews):
                await eventually(lambda: agent.is_up, "it connects")
                agent.tell_clock(TODAY)
                await eventually(lambda: not agent.is_up and bool(agent.reasons), "the line is dropped")
                assert agent.reasons[0] == "the broker's certificate not valid yet"
                agent.tell_clock(IN_2041.ends + DAY)
                await eventually(lambda: agent.reasons[-1] == "the broker's certificate has ended", "nor afterwards")
                assert agent.ups == 1
                agent.tell_clock(LATER)
                await eventually(lambda: agent.is_up, "it connects when they hold")

    run(story())


def test_chain_and_name_are_checked_whatever_the_time(path: Path) -> None:
    async def story(broker: PrivateMosquitto, other: PrivateMosquitto) -> None:
        mine = identity(broker, FRESH)
        async with AgentStandIn(path, instant=None) as agent:
            renews = renewing(broker, agent)
            options = LinkOptions(
                host=HOST,
                port=other.port,
                ca=broker.files.authority,
                certificate=mine.certificate,
                key=mine.key,
                retry_min_s=0.05,
                retry_max_s=0.1,
            )
            renewals = Renewals(cloud=renews, uptime_ns=lambda: 0)
            task = asyncio.create_task(run_link(str(path), options, WatchdogStandIn(), Eager(), renewals))
            await eventually(lambda: bool(agent.reasons), "it is told")
            assert agent.reasons == ["TLS: CERTIFICATE_VERIFY_FAILED"]
            task.cancel()
            await asyncio.wait({task}, timeout=5)

    with private_mosquitto(["k1"]) as broker, private_mosquitto(["k1"]) as other:
        run(story(broker, other))
