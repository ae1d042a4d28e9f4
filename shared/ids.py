"""Typed ids, and the one id that two machines must derive alike without speaking to each other.

A claim id is derived, never random: two kiosks that cannot see each other, and the cloud that hears of both
weeks later, compute the same sixteen bytes for the same member on the same day, so repeats collapse without
compensation.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import date
from typing import NewType

TenantId = NewType("TenantId", str)
StoreId = NewType("StoreId", str)
CampaignId = NewType("CampaignId", str)
RuleId = NewType("RuleId", str)
DeviceId = NewType("DeviceId", str)
"""One MQTT topic level: lower-case letters and digits, so that no wildcard or separator can appear in it."""

MemberId = NewType("MemberId", bytes)
"""Ten random bytes, the member's pseudonym inside one programme; never the number of a customer file."""

ClaimId = NewType("ClaimId", bytes)
"""Sixteen bytes from `derive_claim_id`: the kiosk's primary key and the ledger's journal entry id."""

MEMBER_ID_BYTES = 10
CLAIM_ID_BYTES = 16
DEVICE_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
DEVICE_ID_LENGTH_MAX = 32
STORE_ID_LENGTH_MAX = 40  # what the catalogue gives


def derive_claim_id(
    naming_key: bytes, *, tenant: TenantId, rule: RuleId, store: StoreId, business_day: date, member: MemberId
) -> ClaimId:
    """The claim's id: HMAC-SHA256 under the tenant's naming key, cut to 16 bytes.

    Fields are length-prefixed, so no two different claims can serialise alike. It holds nothing that two kiosks
    could see differently: no kiosk, no time of day, no amount, no policy version. The key mints nothing; it only
    keeps whoever saw a card from computing that member's days.
    """
    fields = (tenant.encode(), rule.encode(), store.encode(), business_day.isoformat().encode(), member)
    text = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    return ClaimId(hmac.new(naming_key, b"DSC1" + text, hashlib.sha256).digest()[:CLAIM_ID_BYTES])


def format_member(member: MemberId) -> str:
    """The pseudonym as 16 lower-case base32 characters, for URLs and tables."""
    return base64.b32encode(member).decode().lower()


def parse_member(text: str) -> MemberId | None:
    """The pseudonym written by `format_member`, or None when the text is not one."""
    try:
        member = base64.b32decode(text.upper())
    except (binascii.Error, ValueError):
        return None
    return MemberId(member) if len(member) == MEMBER_ID_BYTES else None


def parse_store(text: str) -> StoreId | None:
    """The store's id when the text may be one: words of lower-case letters and digits joined by hyphens, else None."""
    words = text.split("-")
    is_id = len(text) <= STORE_ID_LENGTH_MAX and all(word and DEVICE_ID_CHARACTERS.issuperset(word) for word in words)
    return StoreId(text) if is_id else None


def parse_device(text: str) -> DeviceId | None:
    """The device id when the text may stand as one topic level, else None."""
    if 0 < len(text) <= DEVICE_ID_LENGTH_MAX and DEVICE_ID_CHARACTERS.issuperset(text):
        return DeviceId(text)
    return None
