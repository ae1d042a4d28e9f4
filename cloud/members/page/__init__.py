"""Serves the member page: one HTML file at /join and /me, its scripts and styles below /member, nothing else.

The files are read once and listed by name, so no path of a request ever reaches the file system. The page loads
nothing from outside and may not be framed; its policy lets scripts come from its own files alone.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request, Response

HTML: Final = "text/html; charset=utf-8"
SCRIPT: Final = "text/javascript; charset=utf-8"
ASSETS: Final = {
    "icon.svg": "image/svg+xml",
    "page.webmanifest": "application/manifest+json",
    "style.css": "text/css; charset=utf-8",
    "app.js": SCRIPT,
    "cloud.js": SCRIPT,
    "face.js": SCRIPT,
    "keep.js": SCRIPT,
    "offline.js": SCRIPT,
    "pass.js": SCRIPT,
    "qr.js": SCRIPT,
    "texts.js": SCRIPT,
    "token.js": SCRIPT,
    "vendor/qrcode.mjs": SCRIPT,
}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " manifest-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # kept, but asked about: a phone never runs half an old page
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file of the page with its media type and the tag by which a browser asks whether it changed."""

    content: bytes
    media_type: str
    tag: str


def router() -> APIRouter:
    """The page's routes. They need nothing from the service but its API."""
    routes = APIRouter(include_in_schema=False)
    html = _read("index.html", HTML)
    for path in ("/join", "/me"):
        _serve(routes, path, html)
    for name, media_type in ASSETS.items():
        _serve(routes, f"/member/{name}", _read(name, media_type))
    return routes


def _serve(routes: APIRouter, path: str, asset: Asset) -> None:
    headers = {**HEADERS, "ETag": asset.tag}
    if path == "/member/offline.js":
        headers["Service-Worker-Allowed"] = "/me"

    @routes.get(path)
    def get(request: Request) -> Response:
        if request.headers.get("If-None-Match") == asset.tag:
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)


def _read(name: str, media_type: str) -> Asset:
    content = files(__package__).joinpath(name).read_bytes()
    return Asset(content=content, media_type=media_type, tag=f'"{hashlib.sha256(content).hexdigest()[:20]}"')
