"""`doorstep-cloud simulate-fleet`: many kiosks that are not there, on a broker and a service that are.

For an installation made to be measured, never one with members: it makes stores, members and kiosks of its own. Each
kiosk goes the whole way from a claim code to a certificate, has its own connection with its own certificate, and says
real envelopes. Every line is then cut, every kiosk grants so many rewards without it, and all come back at once.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cloud.cli.place import NotThere, Tools

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec
    from sqlalchemy import Connection, Engine

    from cloud.cli.fleet_lines import Line, Lines
    from cloud.kit.keyring import Keyring
    from shared.ids import MemberId, StoreId

TENANT: Final = "fleet"
UNIT: Final = "PT:fleet"
CAMPAIGN: Final = "fleet"
POINTS: Final = 10
SPREAD_S: Final = 30.0
"""Kiosks come back within so long, each at a moment of its own: a kiosk's own pause between two tries grows to this
(`retry_max_s` of its link), with full jitter."""
READY_WITHIN_S: Final = 600.0
SETTLED_WITHIN_S: Final = 600.0
AT_A_TIME: Final = 50  # provisioned in one transaction
RESEND_AFTER_S: Final = 10.0
"""A kiosk without a verdict says it again after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """How large the fleet is and what it does. `queued` are the rewards each grants without a line."""

    kiosks: int
    queued: int
    members: int
    cut_s: float
    spread_s: float
    broker_host: str
    broker_port: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """What came of it. Times in seconds, `settled_s` and `last_s` from the moment the lines may come back."""

    kiosks: int
    connected_s: float
    ready_s: float
    claims: int
    reconnected_s: float
    settled_p50_s: float
    settled_s: float
    refused: int
    lost: int
    doubled: int
    posted: int
    sound: bool


def add_simulate_fleet(commands: typer.Typer, tools: Tools, *, broker_host: str, broker_port: int) -> None:
    """Adds the command."""

    @commands.command("simulate-fleet")
    def simulate_fleet(
        kiosks: Annotated[int, typer.Option(min=1, max=10_000)] = 2000,
        queued: Annotated[int, typer.Option(min=1, max=1000, help="Rewards each kiosk grants without a line.")] = 20,
        members: Annotated[int, typer.Option(min=1, max=100_000)] = 2000,
        cut: Annotated[float, typer.Option(min=0, help="Seconds without a line.")] = 600.0,
        spread: Annotated[float, typer.Option(min=0, help="Seconds within which kiosks come back.")] = SPREAD_S,
        broker: Annotated[str, typer.Option("--broker-host")] = broker_host,
        port: Annotated[int, typer.Option("--broker-port", min=1, max=65535)] = broker_port,
        seed: Annotated[int, typer.Option()] = 1,
        as_json: Annotated[bool, typer.Option("--json")] = False,
    ) -> None:
        """Cut many simulated kiosks off, let them grant, and see that everything settles once each."""
        options = FleetOptions(
            kiosks=kiosks,
            queued=queued,
            members=max(members, queued),
            cut_s=cut,
            spread_s=spread,
            broker_host=broker,
            broker_port=port,
            seed=seed,
        )
        result = run_fleet(tools, options)
        typer.echo(json.dumps(asdict(result)) if as_json else "\n".join(said(result)))
        if result.lost or result.doubled or not result.sound:
            raise typer.Exit(1)


def said(result: FleetResult) -> Iterator[str]:
    """The result for a person."""
    yield f"kiosks connected        {result.kiosks} in {result.connected_s:.1f} s, told all in {result.ready_s:.1f} s"
    yield f"rewards without a line  {result.claims}"
    yield f"all back                {result.reconnected_s:.1f} s after the line was, {result.refused} attempts refused"
    yield f"settled                 half after {result.settled_p50_s:.1f} s, all after {result.settled_s:.1f} s"
    yield f"posted                  {result.posted}, lost {result.lost}, doubled {result.doubled}"
    yield f"ledger                  {'sound' if result.sound else 'NOT sound'}"


def run_fleet(tools: Tools, options: FleetOptions) -> FleetResult:
    """Provisions, connects, cuts, grants, reconnects, settles and checks. Raises: NotThere."""
    from cloud.cli.access import refresh_access
    from cloud.cli.fleet_lines import BrokerPlace, Lines
    from cloud.kit.keyring import KeyFiles

    random = Random(options.seed)  # noqa: S311 - who comes and when, not a secret
    keyring = tools.place.open_keyring()
    folder = tools.place.home / "fleet"
    folder.mkdir(mode=0o700, exist_ok=True)
    with tools.place.open_database() as engine:
        members = _settle_members(engine, options, tools)
        kiosks = list(_provision(engine, keyring, options, folder, tools))
        refresh_access(engine, keyring, tools.place, tools.clock())
        authority = KeyFiles(folder=tools.place.keys).ca_certificate
        broker = BrokerPlace(host=options.broker_host, port=options.broker_port, authority=authority)
        lines = Lines(kiosks, broker)
        began_s = time.monotonic()
        for line in lines.all:
            lines.open(line)
            lines.turn(0)
        connected_s = time.monotonic() - began_s
        _until(
            lines, lambda: all(line.kiosk.is_ready for line in lines.all), READY_WITHIN_S, "told what they may grant"
        )
        ready_s = time.monotonic() - began_s
        lines.cut()
        claims = _grant(lines, members, options, random, tools.clock())
        time.sleep(options.cut_s)
        back = _storm(lines, options, random)
        lines.cut()
        posted, lost, doubled, sound = _check(engine, lines)
    return FleetResult(
        kiosks=options.kiosks,
        connected_s=connected_s,
        ready_s=ready_s,
        claims=claims,
        reconnected_s=back.reconnected_s,
        settled_p50_s=back.settled_p50_s,
        settled_s=back.settled_s,
        refused=sum(line.refused for line in lines.all),
        lost=lost,
        doubled=doubled,
        posted=posted,
        sound=sound,
    )


# --- what must be there first -----------------------------------------------------------------------------------------


def _settle_members(engine: Engine, options: FleetOptions, tools: Tools) -> tuple[MemberId, ...]:
    """The tenant with its terms and its members."""
    from cloud.campaigns.actions import create_campaign
    from cloud.campaigns.rules import Campaign
    from cloud.catalogue.actions import create_merchant, create_programme, create_tenant
    from cloud.catalogue.rules import Merchant, Programme
    from cloud.kit.database import writing
    from shared.ids import CampaignId, TenantId

    tenant, now = TenantId(TENANT), tools.clock()
    campaign = Campaign(tenant=tenant, id=CampaignId(CAMPAIGN), name="Fleet", unit=UNIT, allotment_points=10**5)
    with writing(engine) as connection:
        create_tenant(connection, tenant, "Fleet", tools.random(32), now)
        create_merchant(connection, Merchant(id=TENANT, tenant=tenant, name="Fleet"), now)
        create_programme(connection, Programme(id=TENANT, tenant=tenant, name="Fleet", unit=UNIT), now)
        create_campaign(connection, campaign, budget=10**12, now=now)
        return tuple(_join(connection, number, tools) for number in range(options.members))


def _join(connection: Connection, number: int, tools: Tools) -> MemberId:
    from cloud.members.actions import Joining, join
    from cloud.members.rules import Channel, ConsentWords, Language
    from shared.consent import DataLevel
    from shared.ids import MEMBER_ID_BYTES, MemberId, TenantId

    joining = Joining(
        tenant=TenantId(TENANT),
        programme=TENANT,
        store=None,
        nickname=f"Visitor {number}",
        language=Language.ENGLISH,
        level=DataLevel.PSEUDONYM,
        words=ConsentWords(text_version=1, language=Language.ENGLISH, channel=Channel.APP),
    )
    id = MemberId(tools.random(MEMBER_ID_BYTES))
    join(connection, joining, id=id, secret_digest=tools.random(32), now=tools.clock())
    return id


def _provision(engine: Engine, keyring: Keyring, options: FleetOptions, folder: Path, tools: Tools) -> Iterator[Line]:
    """A store and a kiosk each, from the claim code to the certificate."""
    from cloud.kit.database import writing

    for first in range(0, options.kiosks, AT_A_TIME):
        with writing(engine) as connection:
            made = [
                _provision_one(connection, keyring, number, folder, tools)
                for number in range(first, min(first + AT_A_TIME, options.kiosks))
            ]
        yield from made


def _provision_one(connection: Connection, keyring: Keyring, number: int, folder: Path, tools: Tools) -> Line:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from cloud.cli.fleet_kiosks import FleetKiosk
    from cloud.cli.fleet_lines import Line
    from cloud.devices.actions import claim_device, confirm_device, issue_claim_code
    from cloud.devices.queries import Certificate
    from cloud.devices.rules import DeviceRefusal
    from shared.answers import ROOT_SIGNER
    from shared.provisioning import prove_claim
    from shared.signing import load_public_key

    now = tools.clock()
    tls_key, signing_key = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
    store = _open_store(connection, number, now)
    code = issue_claim_code(connection, keyring, store, now, tools.random)
    assert not isinstance(code, DeviceRefusal)
    csr_der, csr_pem = _request(tls_key)
    claimed = claim_device(
        connection,
        secret=code.secret,
        csr_pem=csr_pem,
        signing_public=signing_key.public_key().public_bytes_raw(),
        proof=prove_claim(signing_key, code.secret, csr_der),
        now=now,
        random=tools.random,
    )
    assert not isinstance(claimed, DeviceRefusal)
    device = claimed.device
    confirmed = confirm_device(connection, keyring, device.id, device.fingerprint, now)
    assert isinstance(confirmed, Certificate)
    certificate, key = _keep(folder, device.id, confirmed.pem, tls_key)
    root, signer = load_public_key(keyring.root_public), keyring.signer_key.public_key()
    assert root is not None
    kiosk = FleetKiosk(
        device=device.id,
        signing_key=signing_key,
        signers={ROOT_SIGNER: root, keyring.signer_id: signer},
        database=tools.random(16),
    )
    return Line(kiosk=kiosk, certificate=certificate, key=key)


def _open_store(connection: Connection, number: int, now: datetime) -> StoreId:
    """A store of the fleet with its terms."""
    from cloud.catalogue.actions import create_store, set_daily_reward
    from cloud.catalogue.rules import Store
    from shared.ids import CampaignId, StoreId, TenantId

    id = StoreId(f"fleet-{number}")
    store = Store(
        id=id,
        tenant=TenantId(TENANT),
        merchant=TENANT,
        programme=TENANT,
        name=f"Fleet {number}",
        zone="Europe/Rome",
        cutoff_hour=4,
    )
    create_store(connection, store, now)
    set_daily_reward(
        connection,
        id,
        points=POINTS,
        reduced_points=POINTS,
        campaign=CampaignId(CAMPAIGN),
        cards_reduced=False,
        now=now,
    )
    return id


def _request(key: ec.EllipticCurvePrivateKey) -> tuple[bytes, str]:
    """The request for a certificate, as DER and as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(Encoding.DER), csr.public_bytes(Encoding.PEM).decode()


def _keep(folder: Path, device: str, certificate_pem: str, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
    """Certificate and key as files: that is how a TLS library wants them."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from cloud.kit.keyring import write_private

    certificate_path, key_path = folder / f"{device}.pem", folder / f"{device}.key"
    write_private(certificate_path, certificate_pem.encode())
    write_private(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_path, key_path


# --- the storm --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Back:
    """Seconds from the moment the lines may come back: until all were, half were settled, all were."""

    reconnected_s: float
    settled_p50_s: float
    settled_s: float


def _grant(lines: Lines, members: tuple[MemberId, ...], options: FleetOptions, random: Random, now: datetime) -> int:
    """Every kiosk grants to so many members of its own choice; returns how many rewards that were."""
    return sum(line.kiosk.grant(member, now) for line in lines.all for member in random.sample(members, options.queued))


def _storm(lines: Lines, options: FleetOptions, random: Random) -> _Back:
    """Everybody comes back, each at a moment of its own, and says again what has no verdict, until all has one."""
    began_s = time.monotonic()
    due = sorted(((random.uniform(0.0, options.spread_s), line) for line in lines.all), key=lambda pair: pair[0])
    settled: dict[str, float] = {}
    said_s: dict[str, float] = {}
    reconnected_s = 0.0
    while len(settled) < len(lines.all):
        passed_s = time.monotonic() - began_s
        if passed_s > SETTLED_WITHIN_S:
            break
        if due and due[0][0] <= passed_s:
            _, line = due.pop(0)
            lines.open(line)
            said_s[line.kiosk.device] = passed_s
            if line.client is None:
                due.append((passed_s + random.uniform(0.0, 2.0), line))
                due.sort(key=lambda pair: pair[0])
            reconnected_s = passed_s
            lines.turn(0)
            continue
        lines.turn()
        for line in lines.all:
            device = line.kiosk.device
            if device not in said_s or device in settled:
                continue
            if line.kiosk.is_settled:
                settled[device] = passed_s
            elif line.client is None:
                due.append((passed_s + random.uniform(0.0, 2.0), line))
                due.sort(key=lambda pair: pair[0])
                del said_s[device]
            elif passed_s - said_s[device] > RESEND_AFTER_S:
                line.unsent.extend(line.kiosk.unsettled())
                said_s[device] = passed_s
    times = sorted(settled.values()) or [float("inf")]
    whole = len(settled) == len(lines.all)
    return _Back(
        reconnected_s=reconnected_s,
        settled_p50_s=times[len(times) // 2],
        settled_s=times[-1] if whole else float("inf"),
    )


def _until(lines: Lines, is_done: Callable[[], bool], within_s: float, what: str) -> None:
    """Serves the lines until it is so; who was not told is born again. Raises: NotThere when it takes too long."""
    began_s = said_s = time.monotonic()
    while not is_done():
        now_s = time.monotonic()
        if now_s > began_s + within_s:
            raise NotThere(f"after {within_s:.0f} s not every kiosk was {what}")
        if now_s > said_s + RESEND_AFTER_S:
            said_s = now_s
            for line in lines.all:
                if line.is_up and not line.kiosk.is_ready:
                    line.unsent.append(line.kiosk.be_born())
        lines.turn()


def _check(engine: Engine, lines: Lines) -> tuple[int, int, int, bool]:
    """Claims posted, lost and posted more than once, and whether the ledger keeps its promises."""
    from sqlalchemy import select

    from cloud.claims.tables import envelope
    from cloud.kit.database import reading
    from cloud.ledger.verify import verify
    from shared.answers import Outcome

    claimed = [claim for line in lines.all for claim in line.kiosk.claims.values()]
    e = envelope.c
    posted: Counter[bytes] = Counter()
    with reading(engine) as connection:
        for line in lines.all:
            found = select(e.claim).where(
                e.device == line.kiosk.device, e.epoch == line.kiosk.epoch, e.outcome == Outcome.POSTED.value
            )
            posted.update(connection.execute(found).scalars())
        breaches = verify(connection)
    lost = sum(claim not in posted for claim in claimed)
    doubled = sum(count - 1 for count in posted.values())
    return sum(posted.values()), lost, doubled, not breaches
