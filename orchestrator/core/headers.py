"""What every answer says to browsers: to run nothing else, to show it nowhere else, to keep and guess nothing.

Constants, so that they cost an answer nothing. The lean handler, the pages and whatever refuses ahead of
both take them from here; see SECURITY.md for what each is against.
"""

from __future__ import annotations

from collections.abc import Iterable

Header = tuple[bytes, bytes]

HSTS_S = 365 * 86400
NO_STORE = "no-store"
# An answer of the API is data: a browser that is made to show it as a page may do nothing with it.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# A page may load what this site serves, and nothing that is written into the page.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_UNUSED = (  # abilities of browsers; "" is: for nobody
    "accelerometer",
    "browsing-topics",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "hid",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)
ANYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": NO_STORE,
}
DATA = ANYWHERE | {"Content-Security-Policy": DATA_POLICY, "Referrer-Policy": "no-referrer"}
PAGE = ANYWHERE | {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{ability}=()" for ability in _UNUSED),
    "X-Frame-Options": "DENY",
}
HSTS = {"Strict-Transport-Security": f"max-age={HSTS_S}"}


def as_bytes(headers: dict[str, str]) -> tuple[Header, ...]:
    """As ASGI wants them."""
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


def missing(wanted: Iterable[Header], given: Iterable[Header]) -> list[Header]:
    """Those of `wanted` that `given` says nothing of."""
    named = {name.lower() for name, _ in given}
    return [header for header in wanted if header[0] not in named]
