"""What the devices' API takes and gives. Keys, proofs and signatures are lower-case hexadecimal, certificates PEM."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from cloud.devices.queries import Certificate, DeviceStatus, GroupState, SetAside
from cloud.devices.rules import CSR_LENGTH_MAX, Device, DeviceStanding
from cloud.kit.keyring import Keyring
from cloud.members.rules import RecordedProof
from shared.brokers import BrokerPlace, MqttVersion, format_addresses

PublicKeyHex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="32 bytes: an Ed25519 public key.")]
SignatureHex = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$", description="64 bytes: an Ed25519 signature.")]
CsrPem = Annotated[
    str, Field(max_length=CSR_LENGTH_MAX, description="A PKCS #10 request for a P-256 key; its names are ignored.")
]
DeviceName = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9]+$")]


class _Body(BaseModel):
    """A request: exact types and no field we do not know."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ClaimCodeView(BaseModel):
    """A claim code, shown this once."""

    code: str
    store: str
    expires_at: datetime


class NewClaim(_Body):
    """A kiosk claims itself. `code` is the secret part alone: the pin is for the kiosk to compare."""

    code: Annotated[str, Field(min_length=16, max_length=40)]
    csr_pem: CsrPem
    signing_public_key: PublicKeyHex
    proof: SignatureHex


class ClaimView(BaseModel):
    """The claimed device, to be confirmed by a person who compares the fingerprint on both sides."""

    device: str
    fingerprint: str
    poll_token: str


class WaitingView(BaseModel):
    """Nobody confirmed the device yet."""

    state: Literal["waiting"] = "waiting"
    device: str
    fingerprint: str


class SignerView(BaseModel):
    """A key that signs what devices are told."""

    key: int
    public: str


class ConfirmedView(BaseModel):
    """All that a device needs to connect. `root_public` is the key it believes key pages from, for good.

    `broker_others` names further nodes of a broker that is a cluster, `host:port` with commas between them.
    """

    state: Literal["confirmed"] = "confirmed"
    device: str
    fingerprint: str
    tenant: str
    store: str
    store_name: str
    certificate_pem: str
    ca_pem: str
    root_public: str
    signers: tuple[SignerView, ...]
    broker_host: str
    broker_port: int
    broker_others: str = ""
    mqtt_version: str = MqttVersion.V5.value

    @classmethod
    def of(
        cls, device: Device, certificate: Certificate, keyring: Keyring, *, store_name: str, broker: BrokerPlace
    ) -> Self:
        """What the device is given with this certificate."""
        return cls(
            device=device.id,
            fingerprint=device.fingerprint,
            tenant=device.tenant,
            store=device.store,
            store_name=store_name,
            certificate_pem=certificate.pem,
            ca_pem=keyring.ca_pem,
            root_public=keyring.root_public.hex(),
            signers=tuple(
                SignerView(key=signer.key, public=signer.public.hex()) for signer in keyring.key_page.signers
            ),
            broker_host=broker.first.host,
            broker_port=broker.first.port,
            broker_others=format_addresses(broker.others),
            mqtt_version=broker.mqtt.value,
        )


class Confirmation(_Body):
    """What the person read on the kiosk's screen."""

    fingerprint: Annotated[str, Field(min_length=1, max_length=40)]


class Renewal(_Body):
    """A device asks for its next certificate; `serial` is the number of the one it has, in hexadecimal."""

    device: DeviceName
    serial: Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]
    csr_pem: CsrPem
    proof: SignatureHex


class SetAsideView(BaseModel):
    """An epoch that waits for a person: there are two histories of it, of a cloned card or an image put back."""

    epoch: int
    since: datetime


class DeviceView(BaseModel):
    """A kiosk. `online` to `software` are None until it first showed itself; `set_aside` is empty while all is well.

    `certificate_expires_at` is until when it can connect unless it renews, None before its confirmation.
    """

    id: str
    tenant: str
    store: str
    standing: DeviceStanding
    fingerprint: str
    claimed_at: datetime
    confirmed_at: datetime | None
    revoked_at: datetime | None
    certificate_expires_at: datetime | None
    online: bool | None
    seen_at: datetime | None
    epoch: int | None
    waiting: int | None
    software: str | None
    set_aside: tuple[SetAsideView, ...]

    @classmethod
    def of(
        cls,
        device: Device,
        status: DeviceStatus | None,
        certificate_end: datetime | None,
        set_aside: Sequence[SetAside],
    ) -> Self:
        """The device as callers see it; `waiting` counts envelopes that are not settled."""
        return cls(
            id=device.id,
            tenant=device.tenant,
            store=device.store,
            standing=device.standing,
            fingerprint=device.fingerprint,
            claimed_at=device.claimed_at,
            confirmed_at=device.confirmed_at,
            revoked_at=device.revoked_at,
            certificate_expires_at=certificate_end,
            online=None if status is None else status.is_online,
            seen_at=None if status is None else status.seen_at,
            epoch=None if status is None else status.epoch,
            waiting=None if status is None else max(0, status.head - status.settled),
            software=None if status is None else status.software,
            set_aside=tuple(SetAsideView(epoch=one.epoch, since=one.since) for one in set_aside),
        )


class GroupKioskView(BaseModel):
    """A kiosk of a store's group. `told_at` is when it was last told of all templates, None for never."""

    id: str
    has_secret: bool
    told_at: datetime | None


class FaceProofView(BaseModel):
    """A kiosk's word that it holds no template of a member; of whom is the member's business."""

    kiosk: str
    why: str
    recorded_at: datetime

    @classmethod
    def of(cls, proof: RecordedProof) -> Self:
        """The proof as staff may see it."""
        return cls(kiosk=proof.device, why=proof.why.value, recorded_at=proof.recorded_at)


class GroupView(BaseModel):
    """The kiosks of a store that share a secret, and how many sealed templates they can be given.

    `key` names the secret, in hexadecimal; it opens nothing. None when no kiosk made one yet.
    """

    store: str
    version: int
    key: str | None
    made_by: str | None
    made_at: datetime | None
    kiosks: tuple[GroupKioskView, ...]
    templates: int
    proofs: tuple[FaceProofView, ...]

    @classmethod
    def of(cls, state: GroupState) -> Self:
        """The group as callers see it."""
        group = state.group
        return cls(
            store=state.store,
            version=group.version,
            key=None if group.key is None else group.key.hex(),
            made_by=group.made_by,
            made_at=group.made_at,
            kiosks=tuple(
                GroupKioskView(id=id, has_secret=id in state.holders, told_at=state.told.get(id)) for id in state.kiosks
            ),
            templates=state.templates,
            proofs=tuple(map(FaceProofView.of, state.proofs)),
        )
