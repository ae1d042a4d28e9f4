"""The one picture that `web` draws: the QR of a kiosk that asks to join its store's group."""

import io

import segno

QUIET_MODULES = 4  # ISO/IEC 18004: fewer, and readers may not find the code


def draw_code(text: str) -> bytes:
    """The text's QR code as an SVG picture that fits whatever it is put in."""
    picture = io.BytesIO()
    segno.make_qr(text, error="m").save(
        picture, kind="svg", border=QUIET_MODULES, dark="#000", light="#fff", omitsize=True, xmldecl=False
    )
    return picture.getvalue()
