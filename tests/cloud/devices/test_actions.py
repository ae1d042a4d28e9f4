"""From a code to a certificate, renewal, revocation and epochs, on both databases."""

import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.devices.actions import (
    SET_ASIDE,
    Claimed,
    collect_claim,
    confirm_device,
    issue_claim_code,
    issue_epoch,
    quarantine_epoch,
    record_state,
    renew_certificate,
    revoke_device,
)
from cloud.devices.queries import (
    Certificate,
    SetAside,
    active_devices,
    certificate_ends,
    device_by_id,
    device_for_ingest,
    devices_after,
    newest_certificate,
    revocation_page,
    revoked_serials,
    set_aside_of,
    statuses_of,
)
from cloud.devices.rules import (
    CERTIFICATES_MAX,
    CODE_LIFE,
    CONFIRM_WITHIN,
    EPOCHS_MAX,
    Device,
    DeviceRefusal,
    DeviceStanding,
)
from cloud.kit.database import reading, writing
from cloud.kit.events import drain
from shared.answers import EpochIssued
from shared.envelope import DeviceState, FeedVersions
from shared.ids import DeviceId, StoreId, TenantId
from shared.policy import CERTIFICATE_AGE_MAX
from tests.cloud.devices.conftest import NORD, NOW, STORE, Registry
from tests.cloud.devices.kiosk import Kiosk

MOMENT = timedelta(microseconds=1)
NOBODY = DeviceId("nobody")


# -- claiming ----------------------------------------------------------------------------------------------------


def test_a_claimed_device_waits(registry: Registry) -> None:
    kiosk = Kiosk()
    claimed = registry.claimed(kiosk)
    assert (claimed.device.tenant, claimed.device.store) == (NORD, STORE)
    assert (claimed.device.standing, claimed.device.fingerprint) == (DeviceStanding.WAITING, kiosk.fingerprint)
    with reading(registry.engine) as connection:
        assert device_by_id(connection, claimed.device.id) == claimed.device
        assert newest_certificate(connection, claimed.device.id) is None
        assert active_devices(connection) == ()


def test_no_code_for_a_store_that_is_none(registry: Registry) -> None:
    with writing(registry.engine) as connection:
        refused = issue_claim_code(connection, registry.keyring, StoreId("roma-1"), NOW, registry.random)
    assert refused is DeviceRefusal.UNKNOWN_STORE


def test_the_same_kiosk_asks_again(registry: Registry) -> None:
    """Its answer was lost; even when the code's hour is over, it gets what it would have got."""
    kiosk, secret = Kiosk(), registry.issue_code().secret
    first = registry.claim(kiosk, secret)
    assert isinstance(first, Claimed)
    assert registry.claim(kiosk, secret) == first
    assert registry.claim(kiosk, secret, now=NOW + 2 * CODE_LIFE) == first
    with reading(registry.engine) as connection:
        assert len(devices_after(connection, "", 9, NORD)) == 1
        assert devices_after(connection, "", 9, TenantId("sud")) == []


def test_a_code_is_for_one_kiosk(registry: Registry) -> None:
    kiosk, secret = Kiosk(), registry.issue_code().secret
    assert isinstance(registry.claim(kiosk, secret), Claimed)
    assert registry.claim(Kiosk(), secret) is DeviceRefusal.CODE_USED
    assert registry.claim(Kiosk(signing_key=kiosk.signing_key), secret) is DeviceRefusal.CODE_USED
    assert registry.claim(Kiosk(tls_key=kiosk.tls_key), secret) is DeviceRefusal.CODE_USED


def test_a_code_lives_an_hour(registry: Registry) -> None:
    secret = registry.issue_code().secret
    assert registry.claim(Kiosk(), secret, now=NOW + CODE_LIFE) is DeviceRefusal.CODE_EXPIRED
    assert isinstance(registry.claim(Kiosk(), secret, now=NOW + CODE_LIFE - MOMENT), Claimed)


def test_what_is_no_claim(registry: Registry) -> None:
    kiosk, secret = Kiosk(), registry.issue_code().secret
    assert registry.claim(kiosk, bytes(10)) is DeviceRefusal.UNKNOWN_CODE
    assert registry.claim(kiosk, secret, proof=bytes(64)) is DeviceRefusal.BAD_PROOF
    theirs = Kiosk().csr_pem
    proof_of_another = kiosk.prove_claim(secret, kiosk.csr_pem)
    assert registry.claim(kiosk, secret, csr_pem=theirs, proof=proof_of_another) is DeviceRefusal.BAD_PROOF
    assert registry.claim(kiosk, secret, csr_pem="garbage", proof=bytes(64)) is DeviceRefusal.BAD_REQUEST
    assert isinstance(registry.claim(kiosk, secret), Claimed), "no failed try uses the code up"


# -- confirming --------------------------------------------------------------------------------------------------


def test_a_confirmed_device_has_a_certificate_of_its_own(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.claimed(kiosk).device.id
    certificate = registry.confirm(id, kiosk.fingerprint.upper())
    assert isinstance(certificate, Certificate)
    issued = x509.load_pem_x509_certificate(certificate.pem.encode())
    issued.verify_directly_issued_by(registry.keyring.ca_certificate)
    assert [name.value for name in issued.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [id]
    assert len(list(issued.subject)) == 1
    assert issued.not_valid_after_utc == NOW + CERTIFICATE_AGE_MAX
    assert issued.public_key() == kiosk.tls_key.public_key()
    usage = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with reading(registry.engine) as connection:
        assert active_devices(connection) == (id,)
        facts = device_for_ingest(connection, [id, NOBODY])
    assert set(facts) == {id}
    assert (facts[id].store, facts[id].signing_public, facts[id].epoch) == (STORE, kiosk.signing_public, 0)
    assert (facts[id].confirmed, facts[id].revoked) == (True, False)


def test_confirming_twice_gives_one_certificate(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.claimed(kiosk).device.id
    first = registry.confirm(id, kiosk.fingerprint)
    assert registry.confirm(id, kiosk.fingerprint, now=NOW + timedelta(days=5)) == first


def test_another_fingerprint_certifies_nobody(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.claimed(kiosk).device.id
    for wrong in (Kiosk().fingerprint, "", kiosk.fingerprint[:-1]):
        assert registry.confirm(id, wrong) is DeviceRefusal.WRONG_FINGERPRINT
    assert registry.confirm(NOBODY, kiosk.fingerprint) is DeviceRefusal.UNKNOWN_DEVICE
    with reading(registry.engine) as connection:
        assert active_devices(connection) == ()


def test_a_claim_waits_a_day(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.claimed(kiosk).device.id
    late = registry.confirm(id, kiosk.fingerprint, now=NOW + CONFIRM_WITHIN + MOMENT)
    assert late is DeviceRefusal.CLAIM_EXPIRED
    assert isinstance(registry.confirm(id, kiosk.fingerprint, now=NOW + CONFIRM_WITHIN), Certificate)


def test_the_claimant_alone_collects(registry: Registry) -> None:
    claimed, other = registry.claimed(Kiosk()), registry.claimed(Kiosk())
    with reading(registry.engine) as connection:
        assert collect_claim(connection, claimed.device.id, claimed.poll_token) == claimed.device
        for id, token in ((claimed.device.id, other.poll_token), (claimed.device.id, ""), (NOBODY, "x")):
            assert collect_claim(connection, id, token) is None


# -- renewing ----------------------------------------------------------------------------------------------------


def _renew(
    registry: Registry, kiosk: Kiosk, id: DeviceId, serial: str, *, days: int, csr_pem: str | None = None
) -> Certificate | DeviceRefusal:
    pem = kiosk.csr_pem if csr_pem is None else csr_pem
    with writing(registry.engine) as connection:
        return renew_certificate(
            connection,
            registry.keyring,
            id,
            serial=serial,
            csr_pem=pem,
            proof=b"" if pem == "garbage" else kiosk.prove_renewal(id, serial, pem),
            now=NOW + timedelta(days=days),
        )


def _serial(registry: Registry, id: DeviceId) -> str:
    with reading(registry.engine) as connection:
        newest = newest_certificate(connection, id)
    assert newest is not None
    return newest.serial


def test_a_certificate_is_renewed_even_after_its_end(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.certified(kiosk)
    first = _serial(registry, id)
    second = _renew(registry, kiosk, id, first, days=60)
    assert isinstance(second, Certificate)
    third = _renew(registry, Kiosk(signing_key=kiosk.signing_key), id, second.serial, days=400)
    assert isinstance(third, Certificate)
    assert third.expires_at == NOW + timedelta(days=400) + CERTIFICATE_AGE_MAX
    assert len({first, second.serial, third.serial}) == 3


def test_a_lost_renewal_is_given_again(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.certified(kiosk)
    first = _serial(registry, id)
    new_key = Kiosk(signing_key=kiosk.signing_key)
    second = _renew(registry, new_key, id, first, days=60)
    assert _renew(registry, new_key, id, first, days=61) == second
    another_key = Kiosk(signing_key=kiosk.signing_key)
    assert _renew(registry, another_key, id, first, days=61) is DeviceRefusal.UNKNOWN_CERTIFICATE


def test_a_lost_renewal_that_ended_as_well_is_made_anew(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.certified(kiosk)
    first = _serial(registry, id)
    new_key = Kiosk(signing_key=kiosk.signing_key)
    lost = _renew(registry, new_key, id, first, days=60)
    assert isinstance(lost, Certificate)
    assert _renew(registry, new_key, id, first, days=149) == lost
    anew = _renew(registry, new_key, id, first, days=150)
    assert isinstance(anew, Certificate)
    assert anew.serial != lost.serial
    assert anew.expires_at == NOW + timedelta(days=150) + CERTIFICATE_AGE_MAX


def test_what_is_not_renewed(registry: Registry) -> None:
    kiosk = Kiosk()
    id, waiting = registry.certified(kiosk), registry.claimed(Kiosk()).device.id
    serial = _serial(registry, id)
    assert _renew(registry, Kiosk(), id, serial, days=60) is DeviceRefusal.BAD_PROOF
    assert _renew(registry, kiosk, NOBODY, serial, days=60) is DeviceRefusal.UNKNOWN_DEVICE
    assert _renew(registry, kiosk, waiting, serial, days=60) is DeviceRefusal.UNKNOWN_DEVICE
    assert _renew(registry, kiosk, id, serial, days=60, csr_pem="garbage") is DeviceRefusal.BAD_REQUEST
    with writing(registry.engine) as connection:
        revoke_device(connection, id, NOW)
    assert _renew(registry, kiosk, id, serial, days=60) is DeviceRefusal.REVOKED


def test_a_device_that_keeps_asking_is_stopped_until_certificates_have_ended(registry: Registry) -> None:
    kiosk = Kiosk()
    id = registry.certified(kiosk)
    for _ in range(CERTIFICATES_MAX - 1):
        made = _renew(registry, Kiosk(signing_key=kiosk.signing_key), id, _serial(registry, id), days=1)
        assert isinstance(made, Certificate)
    last = _serial(registry, id)
    assert _renew(registry, kiosk, id, last, days=1) is DeviceRefusal.TOO_MANY_CERTIFICATES
    assert isinstance(_renew(registry, kiosk, id, last, days=91), Certificate)


def test_revoking_voids_every_certificate_in_force(registry: Registry) -> None:
    """The old one stays good beside the new one until its end: a revocation must name both."""
    kiosk = Kiosk()
    id = registry.certified(kiosk)
    first = _serial(registry, id)
    second = _renew(registry, Kiosk(signing_key=kiosk.signing_key), id, first, days=60)
    assert isinstance(second, Certificate)
    at = NOW + timedelta(days=61)
    with writing(registry.engine) as connection:
        revoke_device(connection, id, at)
        assert {serial for serial, _ in revoked_serials(connection, at)} == {int(first, 16), int(second.serial, 16)}
        later = NOW + timedelta(days=91)
        assert {serial for serial, _ in revoked_serials(connection, later)} == {int(second.serial, 16)}
        assert certificate_ends(connection, [id, NOBODY]) == {id: second.expires_at}


def test_a_short_life_is_hardly_backdated(registry: Registry) -> None:
    """A device renews at two thirds of what stands on the certificate: an hour's backdating would use it up."""
    kiosk = Kiosk()
    claimed = registry.claimed(kiosk)
    with writing(registry.engine) as connection:
        made = confirm_device(
            connection, registry.keyring, claimed.device.id, kiosk.fingerprint, NOW, timedelta(seconds=60)
        )
    assert isinstance(made, Certificate)
    issued = x509.load_pem_x509_certificate(made.pem.encode())
    assert issued.not_valid_before_utc == NOW - timedelta(seconds=6)
    assert issued.not_valid_after_utc == made.expires_at == NOW + timedelta(seconds=60)


# -- revoking ----------------------------------------------------------------------------------------------------


def test_a_revoked_device_is_out_for_good(registry: Registry) -> None:
    kiosk, other = Kiosk(), Kiosk()
    id, second = registry.certified(kiosk), registry.certified(other)
    with writing(registry.engine) as connection:
        revoked = revoke_device(connection, id, NOW)
        assert isinstance(revoked, Device)
        assert revoke_device(connection, id, NOW + timedelta(days=1)) == revoked
        assert isinstance(revoke_device(connection, second, NOW + timedelta(days=2)), Device)
        assert revoke_device(connection, NOBODY, NOW) is DeviceRefusal.UNKNOWN_DEVICE
    assert revoked.standing is DeviceStanding.REVOKED
    assert registry.confirm(id, kiosk.fingerprint) is DeviceRefusal.REVOKED
    with reading(registry.engine) as connection:
        assert active_devices(connection) == ()
        assert device_for_ingest(connection, [id])[id].revoked
        page = revocation_page(connection, NORD, 0, 9)
        assert ([entry.device for entry in page.entries], page.version) == ([id, second], 2)
        newest = newest_certificate(connection, id)
        assert newest is not None
        assert dict(revoked_serials(connection, NOW))[int(newest.serial, 16)] == NOW
        assert revoked_serials(connection, NOW + CERTIFICATE_AGE_MAX) == (), "what has expired needs no naming"


def test_confirmation_and_revocation_are_told(registry: Registry) -> None:
    id = registry.certified(Kiosk())
    with writing(registry.engine) as connection:
        revoke_device(connection, id, NOW)
    told: list[tuple[str, bytes]] = []
    drain(
        registry.engine,
        "test",
        ["devices.confirmed", "devices.revoked"],
        lambda _, events: told.extend((event.topic, event.body) for event in events),
    )
    assert told == [("devices.confirmed", id.encode()), ("devices.revoked", id.encode())]


def test_revocations_in_pages(registry: Registry) -> None:
    ids = [registry.certified(Kiosk()) for _ in range(3)]
    with writing(registry.engine) as connection:
        for id in ids:
            revoke_device(connection, id, NOW)
        first = revocation_page(connection, NORD, 0, 2)
        second = revocation_page(connection, NORD, first.version, 2)
        assert (first.version, first.more, second.version, second.more) == (2, True, 3, False)
        assert [entry.device for page in (first, second) for entry in page.entries] == ids
        assert revocation_page(connection, NORD, 3, 2).entries == ()
        assert revocation_page(connection, NORD, 9, 2).reset
        assert revocation_page(connection, TenantId("sud"), 0, 2).version == 0


# -- epochs ------------------------------------------------------------------------------------------------------


def _epoch(registry: Registry, id: DeviceId, database: bytes, *, days: int = 0) -> EpochIssued | None:
    with writing(registry.engine) as connection:
        return issue_epoch(connection, id, database, NOW + timedelta(days=days))


def test_the_same_database_has_the_same_epoch(registry: Registry) -> None:
    id, other = registry.certified(Kiosk()), registry.certified(Kiosk())
    one, two = b"1" * 16, b"2" * 16
    first = _epoch(registry, id, one)
    assert first is not None
    assert first.epoch == 1
    assert _epoch(registry, id, one, days=1) == first
    second = _epoch(registry, id, two)
    assert second is not None
    assert second.epoch == 2
    assert _epoch(registry, id, one, days=2) == first
    elsewhere = _epoch(registry, other, two)
    assert elsewhere is not None
    assert elsewhere.epoch == 1


@pytest.mark.parametrize("database", [b"", b"1" * 15, b"1" * 17])
def test_no_epoch_for_what_is_no_database(registry: Registry, database: bytes) -> None:
    assert _epoch(registry, registry.certified(Kiosk()), database) is None
    assert _epoch(registry, NOBODY, b"1" * 16) is None


def test_epochs_come_to_an_end(registry: Registry) -> None:
    id = registry.certified(Kiosk())
    with writing(registry.engine) as connection:
        for number in range(EPOCHS_MAX):
            issue_epoch(connection, id, number.to_bytes(16, "big"), NOW)
        assert issue_epoch(connection, id, b"x" * 16, NOW) is None
        held = issue_epoch(connection, id, bytes(16), NOW)
    assert held is not None
    assert held.epoch == 1


def test_a_quarantined_epoch_is_known_as_one(registry: Registry) -> None:
    id = registry.certified(Kiosk())
    _epoch(registry, id, b"1" * 16)
    _epoch(registry, id, b"2" * 16)
    with writing(registry.engine) as connection:
        quarantine_epoch(connection, id, 1, NOW)
        quarantine_epoch(connection, id, 1, NOW + timedelta(days=1))
        facts = device_for_ingest(connection, [id])[id]
    assert (facts.epochs, facts.quarantined, facts.epoch) == (frozenset({1, 2}), frozenset({1}), 2)


def test_an_epoch_that_was_set_aside_is_named_to_people_and_told_once(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    id, other = registry.certified(Kiosk()), registry.certified(Kiosk())
    for database in (b"1" * 16, b"2" * 16):
        _epoch(registry, id, database)
    with writing(registry.engine) as connection:
        quarantine_epoch(connection, id, 1, NOW)
        quarantine_epoch(connection, id, 1, NOW + timedelta(days=1))
        quarantine_epoch(connection, id, 9, NOW)  # never issued
        assert set_aside_of(connection, [id, other]) == {id: (SetAside(epoch=1, since=NOW),)}
    told: list[bytes] = []
    drain(registry.engine, "test", [SET_ASIDE], lambda _, events: told.extend(event.body for event in events))
    assert [json.loads(body) for body in told] == [{"device": id, "epoch": 1}]
    named = [(record.message, vars(record)["device"], vars(record)["epoch"]) for record in caplog.records]
    assert named == [
        ("a device began another life", id, 2),
        ("an epoch was set aside: a clone or a restored image", id, 1),
    ]


def _show(registry: Registry, id: DeviceId, session: int, epoch: int) -> tuple[int, int]:
    """How the device is known to be after it showed itself."""
    state = DeviceState(
        device=id,
        session=session,
        online=True,
        database=bytes(16),
        epoch=epoch,
        head=session,
        settled=0,
        feeds=FeedVersions(),
        allotment=0,
        software="",
    )
    with writing(registry.engine) as connection:
        record_state(connection, id, state, NOW)
        status = statuses_of(connection, [id])[id]
    return status.epoch, status.head


def test_a_new_life_that_counts_from_the_beginning_is_shown_and_an_older_one_hides_nothing(registry: Registry) -> None:
    id = registry.certified(Kiosk())
    assert _show(registry, id, session=7, epoch=1) == (1, 7)
    assert _show(registry, id, session=6, epoch=1) == (1, 7)
    assert _show(registry, id, session=1, epoch=2) == (2, 1)
    assert _show(registry, id, session=8, epoch=1) == (2, 1), "a clone that goes on with the old life"
    assert _show(registry, id, session=2, epoch=0) == (0, 2)
