"""Sealed templates and wraps: opened by whom they are for, as what they are, and by nobody else or as anything else."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.faces.gallery import TEMPLATE_BYTES
from edge.vision.faces.recovery import ALPHABET, SheetFault, format_sheet, parse_sheet
from edge.vision.faces.sealing import (
    SEALED_BYTES,
    Address,
    Listed,
    Package,
    Seal,
    is_proved,
    key_id,
    open_wrap,
    parse_wrap,
    wrap,
)
from shared.biometrics import KIOSKS_MAX, SEALED_TEMPLATE_BYTES_MAX, WRAP_BYTES_MAX
from shared.ids import DeviceId, MemberId, StoreId

SECRET = bytes(range(32))
TEMPLATE = bytes(range(256)) + b"\x00\x00\x80?"
ANNA, BERT = MemberId(b"anna000000"), MemberId(b"bert000000")
EMBEDDER, OTHER_EMBEDDER = b"embedder", b"retailor"
NONCE = b"n" * 12
SEALED = Seal(SECRET).close(TEMPLATE, member=ANNA, embedder=EMBEDDER, nonce=NONCE)


def opened(
    sealed: bytes, *, secret: bytes = SECRET, member: MemberId = ANNA, embedder: bytes = EMBEDDER
) -> bytes | None:
    into = bytearray(b"x" * TEMPLATE_BYTES)
    if Seal(secret).open(sealed, member=member, embedder=embedder, into=into):
        return bytes(into)
    assert not any(into), "what did not open must not look like something"
    return None


# --- templates --------------------------------------------------------------------------------------------------------


def test_what_was_sealed_opens() -> None:
    assert opened(SEALED) == TEMPLATE
    assert len(SEALED) == SEALED_BYTES == 289 <= SEALED_TEMPLATE_BYTES_MAX


def test_the_sealed_form_is_frozen() -> None:
    assert SEALED[:13] == b"\x01" + NONCE
    assert SEALED[13:29].hex() == "d4e10bc98a7f612a17d8311ee6d9dde7"


@pytest.mark.parametrize(
    "found",
    [
        opened(SEALED, secret=b"o" * 32),
        opened(SEALED, member=BERT),
        opened(SEALED, embedder=OTHER_EMBEDDER),
        opened(b""),
        opened(SEALED[:-1]),
        opened(SEALED + b"\x00"),
        opened(b"\x02" + SEALED[1:]),
    ],
    ids=["secret", "member", "embedder", "empty", "short", "long", "version"],
)
def test_nothing_else_opens(found: bytes | None) -> None:
    assert found is None


@given(st.integers(0, SEALED_BYTES - 1), st.integers(1, 255))
def test_no_altered_byte_goes_unseen(place: int, change: int) -> None:
    altered = bytearray(SEALED)
    altered[place] ^= change
    assert opened(bytes(altered)) is None


def test_a_seal_shows_its_name_and_nothing_else() -> None:
    assert repr(Seal(SECRET)) == f"Seal({key_id(SECRET).hex()})"
    assert key_id(SECRET) == key_id(bytearray(SECRET)) != key_id(b"o" * 32)


# --- wraps ------------------------------------------------------------------------------------------------------------

SENDER_KEY, READER_KEY, OTHER_KEY = (X25519PrivateKey.from_private_bytes(byte * 32) for byte in (b"a", b"b", b"c"))
STORE, SENDER, READER = StoreId("corso"), DeviceId("kioska"), DeviceId("kioskb")
ADDRESS = Address(store=STORE, sender=SENDER, reader=READER, key=key_id(SECRET))


def public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


PACKAGE = Package(3, SECRET, (Listed(SENDER, public(SENDER_KEY)), Listed(READER, public(READER_KEY))))
WRAPPED = wrap(PACKAGE, ADDRESS, SENDER_KEY, public(READER_KEY))


def test_the_reader_opens_a_wrap_and_knows_its_sender() -> None:
    head = parse_wrap(WRAPPED)
    assert head is not None
    assert (head.key, head.sender) == (key_id(SECRET), SENDER)
    assert open_wrap(head, STORE, READER, READER_KEY) == PACKAGE
    assert is_proved(head, STORE, READER, READER_KEY, public(SENDER_KEY))


def test_nobody_else_opens_it_or_is_taken_for_its_sender() -> None:
    head = parse_wrap(WRAPPED)
    assert head is not None
    assert open_wrap(head, STORE, READER, OTHER_KEY) is None
    assert open_wrap(head, StoreId("piazza"), READER, READER_KEY) is None
    assert open_wrap(head, STORE, SENDER, READER_KEY) is None
    assert not is_proved(head, STORE, READER, READER_KEY, public(OTHER_KEY))
    assert not is_proved(head, StoreId("piazza"), READER, READER_KEY, public(SENDER_KEY))
    assert not is_proved(head, STORE, READER, READER_KEY, bytes(32)), "a point of low order"
    renamed = replace(head, key=key_id(b"o" * 32))
    assert open_wrap(renamed, STORE, READER, READER_KEY) is None


def test_a_secret_under_another_name_is_no_package() -> None:
    named = replace(ADDRESS, key=key_id(b"o" * 32))
    head = parse_wrap(wrap(PACKAGE, named, SENDER_KEY, public(READER_KEY)))
    assert head is not None
    assert open_wrap(head, STORE, READER, READER_KEY) is None


@given(st.integers(0, len(WRAPPED) - 1), st.integers(1, 255))
def test_no_altered_byte_of_a_wrap_goes_unseen(place: int, change: int) -> None:
    altered = bytearray(WRAPPED)
    altered[place] ^= change
    head = parse_wrap(bytes(altered))
    if head is not None:
        proved = is_proved(head, STORE, READER, READER_KEY, public(SENDER_KEY))
        assert not proved
        assert open_wrap(head, STORE, READER, READER_KEY) in (None, PACKAGE)  # the proof is not what HPKE binds


@given(st.binary(max_size=200) | st.binary(max_size=120).map(lambda tail: WRAPPED[:60] + tail))
def test_any_bytes_are_a_wrap_or_not(data: bytes) -> None:
    head = parse_wrap(data)
    assert head is None or open_wrap(head, STORE, READER, READER_KEY) is None


def test_a_sender_is_written_in_ascii() -> None:
    assert parse_wrap(WRAPPED[:10] + b"\xff" + WRAPPED[11:]) is None


def test_a_wrap_is_bounded_and_a_full_list_fits() -> None:
    kiosks = tuple(Listed(f"{number:032}", bytes([number]) * 32) for number in range(KIOSKS_MAX))
    longest = replace(ADDRESS, sender=DeviceId("s" * 32), reader=DeviceId("r" * 32))
    wrapped = wrap(Package(2**53, SECRET, kiosks), longest, SENDER_KEY, public(READER_KEY))
    assert len(wrapped) <= WRAP_BYTES_MAX
    assert parse_wrap(wrapped) is not None
    assert parse_wrap(wrapped + bytes(WRAP_BYTES_MAX)) is None


def test_a_package_shows_no_secret() -> None:
    assert repr(PACKAGE) == "Package(3, …, 2 kiosks)"


# --- the recovery sheet -----------------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32))
def test_a_sheet_is_read_back(secret: bytes) -> None:
    text = format_sheet(secret)
    assert parse_sheet(text) == bytearray(secret)
    assert parse_sheet(text.lower().replace("-", " \n").replace("0", "o").replace("1", "l")) == bytearray(secret)


def test_a_sheet_is_frozen() -> None:
    assert format_sheet(SECRET) == (
        "000H-004R-106E-105M-0R38-GG27-8A12-C60K-T3GH-F20N-8H4T-4RMS-2MBA-1E6R-0S3R-8DH4-R78X-Y3WF-5KE2-TFCG"
    )


@given(st.data())
def test_a_slip_is_found_where_it_was_made(data: st.DataObject) -> None:
    text = format_sheet(SECRET)
    place = data.draw(st.sampled_from([at for at, letter in enumerate(text) if letter != "-"]))
    letter = data.draw(st.sampled_from(sorted(set(ALPHABET) - {text[place]})))
    fault = parse_sheet(text[:place] + letter + text[place + 1 :])
    assert isinstance(fault, SheetFault)
    assert fault.groups in ((place // 5 + 1,), ())  # one slip in 32 only the whole sheet's checksum sees


def test_groups_in_another_order_are_found() -> None:
    groups = format_sheet(SECRET).split("-")
    groups[3], groups[4] = groups[4], groups[3]
    assert parse_sheet("-".join(groups)) == SheetFault(groups=(4, 5), typed=20)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", SheetFault(groups=(), typed=0)),
        (format_sheet(SECRET)[:-5], SheetFault(groups=(), typed=19)),
        (format_sheet(SECRET) + "-AAAA", SheetFault(groups=(), typed=21)),
        ("*" + format_sheet(SECRET)[1:], SheetFault(groups=(1,), typed=20)),
        ("Ω" * 80, SheetFault(groups=tuple(range(1, 21)), typed=20)),
    ],
)
def test_what_is_no_sheet_is_told(text: str, fault: SheetFault) -> None:
    assert parse_sheet(text) == fault


def test_a_number_beyond_the_secrets_is_none() -> None:
    groups = format_sheet(SECRET).split("-")
    firsts = (f"ZZZ{last}" for last in ALPHABET)
    faults = {parse_sheet("-".join([first, *groups[1:]])) for first in firsts}
    assert faults == {SheetFault(groups=(1,), typed=20), SheetFault(groups=(), typed=20)}


def test_right_groups_of_a_wrong_sheet_are_no_secret() -> None:
    one, other = format_sheet(SECRET).split("-"), format_sheet(b"o" * 32).split("-")
    assert parse_sheet("-".join([*one[:10], *other[10:]])) == SheetFault(groups=(), typed=20)
