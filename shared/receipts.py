"""The member's receipt: what a kiosk shows while it has no line, for the member to keep as a photograph.

It proves a claim that the kiosk may never deliver. `DS1:` + base45 like a credential, but of a type of its own and
signed by the device under a context of its own: it opens no door, and a kiosk calls it an invalid code. It does not say
whose claim it is, which is checked against whoever hands it in: a photograph taken by somebody else gives nothing away
and is worth nothing to them.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.ids import CLAIM_ID_BYTES, DEVICE_ID_LENGTH_MAX, ClaimId, DeviceId, parse_device
from shared.policy import Means
from shared.signing import SIGNATURE_BYTES, is_signed_by, sign
from shared.tokens import PREFIX, TEXT_LENGTH_MAX, base45_decode, base45_encode

RECEIPT_TYPE = 0x13
RECEIPT_CONTEXT = b"DS1M"
NUMBER_BYTES = 6  # what a device counts to and milliseconds since 1970, until the year 10889
_MEANS = (Means.CARD, Means.PHONE, Means.FACE, Means.STAFF)  # by their number in the bytes
_FIXED = 5 * NUMBER_BYTES + 1 + 1 + 2 + CLAIM_ID_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberReceipt:
    """A claim that a kiosk made, without its member. `serial` is that of the card, 0 without one."""

    device: DeviceId
    epoch: int
    seq: int
    policy_version: int
    wall_ms: int
    amount: int
    reduced: bool
    means: Means
    serial: int
    claim: ClaimId


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReceipt:
    """A receipt as it was read, with what was signed and the signature, which is not checked yet."""

    receipt: MemberReceipt
    signed: bytes
    signature: bytes


def write_receipt(key: Ed25519PrivateKey, receipt: MemberReceipt) -> str:
    """The text to show as a QR code: 4 + 3/2 * (116 + the device id's length) characters."""
    name = receipt.device.encode()
    numbers = (receipt.epoch, receipt.seq, receipt.policy_version, receipt.wall_ms, receipt.amount)
    signed = (
        bytes([RECEIPT_TYPE, len(name)])
        + name
        + b"".join(number.to_bytes(NUMBER_BYTES, "big") for number in numbers)
        + bytes([receipt.reduced, _MEANS.index(receipt.means)])
        + receipt.serial.to_bytes(2, "big")
        + receipt.claim
    )
    return PREFIX + base45_encode(signed + sign(key, RECEIPT_CONTEXT, signed))


def parse_receipt(text: str) -> SignedReceipt | None:
    """The receipt in the text, its signature not yet checked, or None when the text is none."""
    if not text.startswith(PREFIX) or len(text) > TEXT_LENGTH_MAX:
        return None
    data = base45_decode(text[len(PREFIX) :])
    if data is None or len(data) < 2 or data[0] != RECEIPT_TYPE or data[1] > DEVICE_ID_LENGTH_MAX:
        return None
    start = 2 + data[1]
    if len(data) != start + _FIXED + SIGNATURE_BYTES:
        return None
    device = parse_device(data[2:start].decode("ascii", errors="replace"))
    rest = data[start : start + _FIXED]
    numbers = [int.from_bytes(rest[at : at + NUMBER_BYTES], "big") for at in range(0, 5 * NUMBER_BYTES, NUMBER_BYTES)]
    reduced, means = rest[5 * NUMBER_BYTES], rest[5 * NUMBER_BYTES + 1]
    if device is None or reduced > 1 or means >= len(_MEANS):
        return None
    receipt = MemberReceipt(
        device=device,
        epoch=numbers[0],
        seq=numbers[1],
        policy_version=numbers[2],
        wall_ms=numbers[3],
        amount=numbers[4],
        reduced=bool(reduced),
        means=_MEANS[means],
        serial=int.from_bytes(rest[-CLAIM_ID_BYTES - 2 : -CLAIM_ID_BYTES], "big"),
        claim=ClaimId(rest[-CLAIM_ID_BYTES:]),
    )
    return SignedReceipt(receipt=receipt, signed=data[: start + _FIXED], signature=data[start + _FIXED :])


def is_genuine(read: SignedReceipt, key: Ed25519PublicKey) -> bool:
    """True when the device of that key signed the receipt."""
    return is_signed_by(key, read.signature, RECEIPT_CONTEXT, read.signed)
