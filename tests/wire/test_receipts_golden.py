"""The bytes of a member's receipt never change: members keep photographs of them for weeks."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.ids import ClaimId, DeviceId
from shared.policy import Means
from shared.receipts import MemberReceipt, is_genuine, parse_receipt, write_receipt
from shared.tokens import PREFIX, base45_decode

GOLDEN = Path(__file__).parent / "golden"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RECEIPT = MemberReceipt(
    device=DeviceId("kiosk1"),
    epoch=3,
    seq=17,
    policy_version=4,
    wall_ms=1_763_636_400_000,
    amount=10,
    reduced=True,
    means=Means.PHONE,
    serial=258,
    claim=ClaimId(bytes.fromhex("000102030405060708090a0b0c0d0e0f")),
)


def test_a_receipt_is_written_and_read_as_it_always_was() -> None:
    text = (GOLDEN / "receipt-member.txt").read_text(encoding="ascii")
    assert write_receipt(KEY, RECEIPT) == text
    assert base45_decode(text.removeprefix(PREFIX)) == (GOLDEN / "receipt-member.bin").read_bytes()
    read = parse_receipt(text)
    assert read is not None
    assert (read.receipt, is_genuine(read, KEY.public_key())) == (RECEIPT, True)
