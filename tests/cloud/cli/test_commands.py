"""The commands as a person gives them, on an installation in a folder of its own."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from typer.testing import CliRunner, Result

from cloud.app import compose
from cloud.campaigns.actions import allot, create_campaign
from cloud.campaigns.rules import Campaign
from cloud.catalogue.actions import create_merchant, create_programme, create_store, create_tenant
from cloud.catalogue.rules import Merchant, Programme, Store
from cloud.claims.tables import instant_right
from cloud.cli.place import NotThere, Place, Tools
from cloud.cli.setup import LOCAL_NAMES, make_installation
from cloud.config import read_config
from cloud.devices.actions import claim_device, confirm_device, issue_epoch, keep_wraps, quarantine_epoch
from cloud.devices.rules import DeviceRefusal, Wrapping
from cloud.errors import CloudError
from cloud.kit.auth import authenticate
from cloud.kit.database import open_engine, reading, writing
from cloud.kit.keyring import KeyringRefused
from cloud.kit.snapshot import SnapshotFailed
from cloud.ledger.actions import post
from cloud.ledger.rules import mint
from cloud.members.actions import (
    Joining,
    join,
    keep_templates,
    note_templates_told,
    set_biometric,
    set_template_key,
)
from cloud.members.rules import Channel, ConsentWords, Enrolment, Language, Origin
from shared.consent import DataLevel
from shared.coupons import issue_coupon
from shared.ids import CampaignId, ClaimId, DeviceId, MemberId, StoreId, TenantId, format_member
from shared.points import Points
from shared.policy import CERTIFICATE_AGE_MAX
from shared.provisioning import parse_code
from tests.cloud.claims.test_receipts import receipt_of
from tests.cloud.claims.world import NOON as CLAIMED_AT
from tests.cloud.claims.world import create_world
from tests.cloud.devices.conftest import counting_random
from tests.cloud.devices.kiosk import Kiosk
from tests.cloud.service import NOW
from tests.support.kiosk import VirtualKiosk, member_of

Run = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An installation that is there."""
    place = read_config({"DOORSTEP_CLOUD_HOME": str(tmp_path / "home")}, tmp_path).place
    tools = Tools(place=place, clock=lambda: NOW, random=counting_random())
    make_installation(tools, names=LOCAL_NAMES, host="127.0.0.1", port=8883)
    return place


@pytest.fixture
def run(place: Place) -> Run:
    """Gives a command to that installation; a fault with a name is raised."""
    return runner(place)


def runner(place: Place) -> Run:
    """Gives commands to the installation."""
    config, random = replace(read_config({}, place.home), place=place), counting_random()

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(compose(config, clock=lambda: NOW, random=random), arguments)
        if isinstance(result.exception, CloudError):
            raise result.exception
        return result

    return run


def add_store(place: Place) -> None:
    """A store and what it belongs to."""
    nord = TenantId("nord")
    with place.open_database() as engine, writing(engine) as connection:
        create_tenant(connection, nord, "Nord", bytes(32), NOW)
        create_merchant(connection, Merchant(id="caffe", tenant=nord, name="Caffè"), NOW)
        create_programme(connection, Programme(id="club", tenant=nord, name="Club", unit="PT:consumption"), NOW)
        store = Store(
            id=StoreId("milano-1"),
            tenant=nord,
            merchant="caffe",
            programme="club",
            name="Milano",
            zone="Europe/Rome",
            cutoff_hour=4,
        )
        assert create_store(connection, store, NOW) == store


def claim(place: Place, run: Run, kiosk: Kiosk) -> str:
    """The id of a device claimed with a code that the command printed."""
    said = json.loads(run("claim-code", "--store", "milano-1", "--json").stdout)
    code = parse_code(said["code"])
    assert code is not None
    pem = kiosk.csr_pem
    with place.open_database() as engine, writing(engine) as connection:
        claimed = claim_device(
            connection,
            secret=code.secret,
            csr_pem=pem,
            signing_public=kiosk.signing_public,
            proof=kiosk.prove_claim(code.secret, pem),
            now=NOW,
            random=counting_random(),
        )
    assert not isinstance(claimed, DeviceRefusal)
    return claimed.device.id


def keep_a_template(connection: Connection) -> None:
    """A member who consented and whose face was learnt at the store."""
    words = ConsentWords(text_version=1, language=Language.ENGLISH, channel=Channel.PAGE)
    nord, id = TenantId("nord"), MemberId(bytes(10))
    joining = Joining(
        tenant=nord,
        programme="club",
        store=None,
        nickname=None,
        language=Language.ENGLISH,
        level=DataLevel.PSEUDONYM,
        words=words,
    )
    join(connection, joining, id=id, secret_digest=bytes(32), now=NOW)
    set_biometric(connection, nord, id, given=True, words=words, now=NOW)
    learnt = Enrolment(
        tenant=nord,
        store=StoreId("milano-1"),
        member=id,
        key=b"k" * 8,
        embedder=bytes(8),
        sealed=b"SEALED" * 40,
        text_version=1,
        device=DeviceId("door1"),
        frames=5,
        resealed=False,
        enrolled_at=NOW,
    )
    set_template_key(connection, StoreId("milano-1"), b"k" * 8, NOW)
    keep_templates(connection, [learnt], NOW)


def mint_points(place: Place) -> None:
    """An entry in the ledger."""
    draft = mint(
        id=bytes(16),
        tenant=TenantId("nord"),
        campaign=CampaignId("spring"),
        points=Points(amount=100, unit="PT:consumption"),
        effective_at=NOW,
    )
    with place.open_database() as engine, writing(engine) as connection:
        post(connection, [draft], recorded_at=NOW)


# -- installation ------------------------------------------------------------------------------------------------


def test_init_again_keeps_what_is_there(place: Place, run: Run) -> None:
    before = {path.name: path.read_bytes() for path in place.keys.iterdir() if path.name != "revoked.crl"}
    done = run("init")
    assert done.exit_code == 0
    assert "keys      kept\n" in done.stdout
    assert {name: (place.keys / name).read_bytes() for name in before} == before
    assert "made anew" in run("init", "--name", "cloud.example").stdout
    configuration = (place.broker / "mosquitto.conf").read_text()
    assert f"crlfile {place.keys / 'revoked.crl'}" in configuration
    assert (place.home.stat().st_mode & 0o777, place.keys.stat().st_mode & 0o777) == (0o700, 0o700)


def test_the_first_token_is_an_administrators(place: Place, run: Run) -> None:
    secret = run("admin", "token", "--name", "first").stdout.strip()
    narrow = run("admin", "token", "--name", "till", "--scope", "pos", "--tenant", "nord", "--days", "1").stdout.strip()
    with place.open_database() as engine, reading(engine) as connection:
        everything = authenticate(connection, secret, NOW + timedelta(days=364))
        little = authenticate(connection, narrow, NOW)
        assert authenticate(connection, narrow, NOW + timedelta(days=1)) is None
    assert everything is not None
    assert little is not None
    assert (len(everything.scopes), everything.tenant) == (6, None)
    assert ([scope.value for scope in little.scopes], little.tenant) == (["pos"], "nord")
    listed = run("admin", "tokens").stdout
    assert secret not in listed
    assert run("admin", "revoke", little.token_id).stdout == "revoked\n"
    assert "revoked" in run("admin", "tokens").stdout
    with pytest.raises(NotThere):
        run("admin", "revoke", little.token_id)
    with pytest.raises(NotThere, match="no such scope: king"):
        run("admin", "token", "--name", "x", "--scope", "king")


# -- devices -----------------------------------------------------------------------------------------------------


def test_a_kiosk_is_brought_in_and_shut_out(place: Place, run: Run) -> None:
    add_store(place)
    kiosk = Kiosk()
    id = claim(place, run, kiosk)
    access = place.broker_files().access_list
    assert id not in access.read_text()
    assert "no certificate" in run("devices", "list").stdout
    with pytest.raises(NotThere, match="wrong fingerprint"):
        run("devices", "confirm", id, Kiosk().fingerprint)
    assert "confirmed" in run("devices", "confirm", id, kiosk.fingerprint).stdout
    assert f"user {id}" in access.read_text()
    shown = json.loads(run("devices", "list", "--json").stdout)
    assert (shown["id"], shown["standing"], shown["online"]) == (id, "active", None)
    assert "never seen" in run("devices", "list").stdout
    assert [user["name"] for user in json.loads(run("devices", "rabbitmq").stdout)["users"]] == ["cloud", id]
    with place.open_database() as engine, writing(engine) as connection:
        issue_epoch(connection, DeviceId(id), bytes(16), NOW)
        quarantine_epoch(connection, DeviceId(id), 1, NOW)
    assert json.loads(run("devices", "list", "--json").stdout)["set_aside"][0]["epoch"] == 1
    assert "epoch 1 set aside" in run("devices", "list").stdout
    assert f"certificate until {NOW + CERTIFICATE_AGE_MAX:%F}" in run("devices", "list").stdout
    assert run("devices", "revoke", id).stdout == "revoked\n"
    assert id not in access.read_text()
    with pytest.raises(NotThere, match="unknown device"):
        run("devices", "revoke", "nobody")


def test_the_group_of_a_store_is_shown(place: Place, run: Run) -> None:
    add_store(place)
    kiosk = Kiosk()
    id = DeviceId(claim(place, run, kiosk))
    with place.open_database() as engine, writing(engine) as connection:
        confirm_device(connection, place.open_keyring(), id, kiosk.fingerprint, NOW)
    assert "secret not made yet, 0 sealed templates" in run("devices", "group", "milano-1").stdout
    wrapping = Wrapping(
        store=StoreId("milano-1"),
        key=b"k" * 8,
        previous=None,
        device=id,
        sealed=b"wrapped",
        said_at=NOW,
        origin=Origin(device=id, epoch=1, seq=1),
    )
    with place.open_database() as engine, writing(engine) as connection:
        keep_wraps(connection, [wrapping], NOW)
        note_templates_told(connection, StoreId("milano-1"), id, version=0, whole=True, now=NOW)
    shown = run("devices", "group", "milano-1").stdout
    assert f"secret {(b'k' * 8).hex()}, 0 sealed templates" in shown
    assert f"{id}  has the secret    told {NOW:%F %R}" in shown
    group = json.loads(run("devices", "group", "milano-1", "--json").stdout)
    assert (group["key"], group["kiosks"][0]["has_secret"]) == ((b"k" * 8).hex(), True)
    with pytest.raises(NotThere, match="no such store"):
        run("devices", "group", "nowhere")


def test_coupons_are_counted_and_checked(place: Place, run: Run) -> None:
    add_store(place)
    kiosk = Kiosk()
    id = DeviceId(claim(place, run, kiosk))
    text = issue_coupon(kiosk.signing_key, claim=ClaimId(bytes(16)), device=id, series="espresso")
    stranger = issue_coupon(Kiosk().signing_key, claim=ClaimId(bytes(16)), device=id, series="espresso")
    right = {"tenant": "nord", "store": "milano-1", "campaign": "spring", "series": "espresso", "label": "An espresso"}
    with place.open_database() as engine, writing(engine) as connection:
        row = {"claim": bytes(16), "business_day": "2026-03-01", "shown": 2, "deferred": 0}
        connection.execute(instant_right.insert().values(**right, **row))
    assert run("coupons", "totals", "milano-1").stdout == "spring espresso: 1 given, 0 waiting, 1 lost\n"
    assert json.loads(run("coupons", "totals", "milano-1", "--json").stdout)["lost"] == 1
    assert "good: espresso, shown at milano-1" in run("coupons", "check", text).stdout
    assert json.loads(run("coupons", "check", text, "--json").stdout)["device"] == id
    for wrong in (stranger, text[:-4]):
        with pytest.raises(NotThere, match="coupon"):
            run("coupons", "check", wrong)
    with pytest.raises(NotThere, match="no such store"):
        run("coupons", "totals", "nowhere")
    run("devices", "revoke", id)
    with pytest.raises(NotThere, match="vouches"):
        run("coupons", "check", text)


def test_a_code_is_for_a_store(place: Place, run: Run) -> None:
    add_store(place)
    assert parse_code(run("claim-code", "--store", "milano-1").stdout.splitlines()[0]) is not None
    with pytest.raises(NotThere, match="no such store: roma-1"):
        run("claim-code", "--store", "roma-1")


# -- ledger ------------------------------------------------------------------------------------------------------


def test_verify_lists_what_is_broken(place: Place, run: Run) -> None:
    mint_points(place)
    sound = run("verify")
    assert (sound.exit_code, sound.stdout) == (0, "the ledger is sound\n")
    with place.open_database() as engine, writing(engine) as connection:
        connection.execute(text("UPDATE account SET balance = balance + 1 WHERE balance > 0"))
    broken = run("verify")
    assert broken.exit_code == 1
    assert broken.stdout.startswith("L6: an account holds what its postings sum to: nord")


def test_verify_looks_at_faces_too(place: Place, run: Run) -> None:
    add_store(place)
    with place.open_database() as engine, writing(engine) as connection:
        keep_a_template(connection)
        connection.execute(text("UPDATE member SET face_text = NULL"))
    broken = run("verify")
    assert broken.exit_code == 1
    assert broken.stdout.startswith("F1: the biometric consent in force is what the history says: nord, member ")


# -- documents ---------------------------------------------------------------------------------------------------


def test_the_documents_need_no_installation(tmp_path: Path) -> None:
    run = runner(read_config({"DOORSTEP_CLOUD_HOME": str(tmp_path / "nothing")}, tmp_path).place)
    assert json.loads(run("asyncapi").stdout)["asyncapi"] == "3.0.0"
    assert json.loads(run("openapi").stdout)["openapi"].startswith("3.1")
    assert not (tmp_path / "nothing").exists()


# -- backup ------------------------------------------------------------------------------------------------------


def elsewhere(place: Place) -> Place:
    """Another installation, of which nothing is there."""
    home = place.home.with_name("other")
    return replace(place, home=home, database=f"sqlite:///{home / 'doorstep.db'}")


def test_a_backup_comes_back_elsewhere(place: Place, run: Run, tmp_path: Path) -> None:
    mint_points(place)
    run("backup", str(tmp_path / "copy"))
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "copy").iterdir()} == {0}
    mint_after = place.open_keyring().root_public
    other = elsewhere(place)
    assert "the ledger is sound" in runner(other)("restore", str(tmp_path / "copy")).stdout
    assert other.open_keyring().root_public == mint_after
    with other.open_database() as engine, reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM journal_entry")).scalar() == 1
    assert (other.broker / "access.acl").exists()


def test_a_backup_has_no_face_and_a_restore_asks_everybody_again(place: Place, run: Run, tmp_path: Path) -> None:
    add_store(place)
    with place.open_database() as engine, writing(engine) as connection:
        keep_a_template(connection)
    run("backup", str(tmp_path / "copy"))
    assert b"SEALED" not in (tmp_path / "copy" / "doorstep.db").read_bytes()
    other = elsewhere(place)
    said = runner(other)("restore", str(tmp_path / "copy")).stdout
    assert "the ledger is sound\nno face is known" in said
    with other.open_database() as engine, reading(engine) as connection:
        assert connection.execute(text("SELECT face_text FROM member")).scalars().all() == [None]
        assert connection.execute(text("SELECT count(*) FROM sealed_template")).scalar() == 0
        head = connection.execute(text("SELECT version, floor, key FROM template_head")).one()
    assert head.version == head.floor > 10**8
    assert head.key is None
    assert runner(other)("verify").exit_code == 0


def test_nothing_is_overwritten(place: Place, run: Run, tmp_path: Path) -> None:
    run("backup", str(tmp_path / "copy"))
    with pytest.raises(NotThere, match="is there already"):
        run("backup", str(tmp_path / "copy"))
    with pytest.raises(NotThere, match="is there already"):
        run("restore", str(tmp_path / "copy"))
    other = elsewhere(place)
    other.home.mkdir()
    open_engine(other.database).connect().close()
    before = (other.home / "doorstep.db").read_bytes()
    with pytest.raises(NotThere, match="not empty"):
        runner(other)("restore", str(tmp_path / "copy"))
    assert (other.home / "doorstep.db").read_bytes() == before
    assert not other.keys.exists()


def test_what_is_no_backup(place: Place, run: Run, tmp_path: Path) -> None:
    other = elsewhere(place)
    with pytest.raises(NotThere, match="holds no"):
        runner(other)("restore", str(tmp_path / "nowhere"))
    run("backup", str(tmp_path / "copy"))
    (tmp_path / "copy" / "doorstep.db").write_bytes(b"x" * 5000)
    with pytest.raises(SnapshotFailed, match="cannot be read"):
        runner(other)("restore", str(tmp_path / "copy"))
    assert not other.keys.exists()
    (tmp_path / "copy" / "keys" / "ca.key").unlink()
    with pytest.raises(KeyringRefused):
        runner(other)("restore", str(tmp_path / "copy"))
    with pytest.raises(KeyringRefused, match="doorstep-cloud init"):
        runner(other)("backup", str(tmp_path / "another"))
    assert not (tmp_path / "another").exists()


def test_a_database_that_is_not_there(place: Place) -> None:
    run = runner(replace(place, database="postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(NotThere, match="cannot be opened"):
        run("verify")


def add_campaign(place: Place) -> None:
    """A campaign of which one kiosk holds a hundred points, whose allotment ended long ago."""
    spring = Campaign(tenant=TenantId("nord"), id=CampaignId("spring"), name="S", unit="PT:a", allotment_points=100)
    with place.open_database() as engine, writing(engine) as connection:
        assert create_campaign(connection, spring, budget=500, contingency=50, now=NOW) == spring
        long_ago = NOW - timedelta(days=60)
        told = allot(
            connection,
            tenant=spring.tenant,
            id=spring.id,
            device=DeviceId("door1"),
            epoch=1,
            points_a_claim=5,
            is_settled=True,
            now=long_ago,
        )
        assert told is not None


def test_campaigns_show_where_their_points_are_and_take_back_what_is_over(place: Place, run: Run) -> None:
    add_store(place)
    add_campaign(place)

    told = run("campaigns", "list", "nord").stdout
    assert "budget 350, at kiosks 100, contingency 50, granted 0 (late 0); taken back 0" in told
    assert "0 of 100 until" in run("campaigns", "allotments", "nord", "spring").stdout
    assert [run("campaigns", "return").stdout for _ in range(2)] == ["100 points went back\n", "0 points went back\n"]

    (funds,) = map(json.loads, run("campaigns", "list", "nord", "--json").stdout.splitlines())
    (allotment,) = map(json.loads, run("campaigns", "allotments", "nord", "spring", "--json").stdout.splitlines())
    assert (funds["budget"], funds["returned"], allotment["returned"]) == (450, 100, 100)
    assert "taken back 100, over since" in run("campaigns", "allotments", "nord", "spring").stdout
    with pytest.raises(NotThere):
        run("campaigns", "allotments", "nord", "autumn")


def test_claims_in_quarantine_are_listed_and_decided(place: Place, run: Run) -> None:
    with place.open_database() as engine:
        world = create_world(engine)
        kiosk = world.add_kiosk("door1")
        kiosk.previous = bytes(32)
        twin = VirtualKiosk(device=kiosk.device, policy=kiosk.policy)
        world.tell(kiosk, kiosk.claim(member_of(1), CLAIMED_AT), kiosk.claim(member_of(2), CLAIMED_AT))
        world.tell(kiosk, twin.claim(member_of(3), CLAIMED_AT))

    told = run("claims", "refused", "centro").stdout
    assert told.endswith("door1 1 1  quarantined: changed_body\n")
    waits = run("claims", "quarantine", "centro").stdout.splitlines()
    assert [line.split("  ")[1:] for line in waits] == [
        ["door1 1 1", "claim 10", "quarantined: broken_chain"],
        ["door1 1 2", "claim 10", "quarantined: epoch_quarantined"],
    ]
    assert run("claims", "release", "door1", "1", "1", "--note", "our own copy", "--by", "anna").stdout == "posted\n"
    refused = run("claims", "reject", "door1", "1", "2", "--note", "not ours").stdout
    assert refused == "rejected: epoch_quarantined\n"

    assert run("claims", "quarantine", "centro", "--json").stdout == ""
    told = run("claims", "list", "centro", "--outcome", "quarantined", "--device", "door1").stdout
    assert "posted by anna: our own copy" in told
    (first, _) = map(json.loads, run("claims", "list", "centro", "--json").stdout.splitlines())
    assert first["review"]["reviewer"] == "anna"
    with pytest.raises(NotThere, match="decided"):
        run("claims", "release", "door1", "1", "2", "--note", "after all")
    with pytest.raises(NotThere, match="no such outcome"):
        run("claims", "list", "centro", "--outcome", "lost")


def test_receipt_is_submitted_listed_and_decided(place: Place, run: Run) -> None:
    with place.open_database() as engine:
        world = create_world(engine, now=NOW - timedelta(days=1))
        kiosk = world.add_kiosk("door1", now=NOW - timedelta(days=1))
    texts = {number: receipt_of(kiosk, number, NOW) for number in (1, 2, 3)}

    def submit(number: int, whose: int) -> str:
        member = format_member(member_of(whose))
        return run("receipt", "submit", texts[number], "--member", member, "--tenant", "rossi").stdout

    assert submit(1, 1) == "posted\n"
    with pytest.raises(NotThere, match="anothers"):
        submit(2, 1)
    with pytest.raises(NotThere, match="no such member"):
        run("receipt", "submit", texts[1], "--member", "nobody", "--tenant", "rossi")
    with place.open_database() as engine, writing(engine) as connection:
        quarantine_epoch(connection, DeviceId("door1"), 1, NOW)
    assert [submit(number, number) for number in (2, 3)] == ["quarantined: epoch_quarantined\n"] * 2

    listed = [json.loads(line) for line in run("receipt", "list", "centro", "--json").stdout.splitlines()]
    second, third = (
        next(one["id"] for one in listed if one["member"] == format_member(member_of(number))) for number in (2, 3)
    )
    assert run("receipt", "release", second, "--note", "seen").stdout == "posted\n"
    assert run("receipt", "reject", third, "--note", "not seen").stdout == "rejected: epoch_quarantined\n"
    assert "posted; operator: seen" in run("receipt", "list", "centro").stdout
    for wrong in (second, "00", "nonsense"):
        with pytest.raises(NotThere):
            run("receipt", "release", wrong, "--note", "again")
