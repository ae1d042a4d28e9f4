"""The member's receipt: written, read back, and refused whatever else the text is."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.ids import ClaimId, DeviceId
from shared.policy import Means
from shared.receipts import MemberReceipt, is_genuine, parse_receipt, write_receipt
from shared.tokens import PREFIX, TEXT_LENGTH_MAX, TokenFault, base45_decode, base45_encode, parse_token

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
RECEIPT = MemberReceipt(
    device=DeviceId("door1"),
    epoch=3,
    seq=17,
    policy_version=4,
    wall_ms=1_763_636_400_000,
    amount=10,
    reduced=False,
    means=Means.CARD,
    serial=258,
    claim=ClaimId(bytes(range(16))),
)


@pytest.mark.parametrize("means", list(Means))
@pytest.mark.parametrize("device", ["d", "k" * 32])
def test_what_is_written_is_read(device: str, means: Means) -> None:
    receipt = replace(RECEIPT, device=DeviceId(device), means=means, reduced=means is Means.FACE, serial=0)
    text = write_receipt(KEY, receipt)
    read = parse_receipt(text)
    assert len(text) <= TEXT_LENGTH_MAX
    assert read is not None
    assert (read.receipt, is_genuine(read, KEY.public_key())) == (receipt, True)
    assert not is_genuine(read, OTHER.public_key())


def test_a_receipt_is_no_credential() -> None:
    assert parse_token(write_receipt(KEY, RECEIPT)) is TokenFault.MALFORMED


def test_a_changed_receipt_is_not_genuine() -> None:
    text = write_receipt(KEY, RECEIPT)
    data = base45_decode(text.removeprefix(PREFIX))
    assert data is not None
    changed = data.replace((17).to_bytes(6, "big"), (18).to_bytes(6, "big"))
    read = parse_receipt(PREFIX + base45_encode(changed))
    assert read is not None
    assert read.receipt.seq == 18
    assert not is_genuine(read, KEY.public_key())


def _with(place: int, value: int) -> str:
    """The receipt with one byte changed."""
    data = bytearray(base45_decode(write_receipt(KEY, RECEIPT).removeprefix(PREFIX)) or b"")
    data[place] = value
    return PREFIX + base45_encode(bytes(data))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org",
        "DS1:",
        "DS1:0",
        "DS1:" + "A" * 300,
        "DS1:abc",
        PREFIX + base45_encode(b"\x13"),
        PREFIX + base45_encode(bytes([0x13, 5]) + b"door1"),
        write_receipt(KEY, RECEIPT)[:-3],
        _with(0, 0x11),
        _with(1, 33),
        _with(1, 6),
        _with(2, ord("/")),
        _with(2, 0xC3),
        _with(37, 2),
        _with(38, 4),
    ],
)
def test_what_is_no_receipt_is_none(text: str) -> None:
    assert parse_receipt(text) is None
