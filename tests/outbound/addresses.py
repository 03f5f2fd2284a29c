"""Ways to write an address that must not be reached, as they are found in reports of how somebody got past a check."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

INSIDE = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104  # named, not bound
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "192.88.99.1",
)
INSIDE_SIX = (
    "::",
    "::1",
    "::2",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "2001:db8::1",
    "2001::1",
    "2001:10::1",
    "2001:20::1",
    "2002::1",
    "3fff::1",
    "5f00::1",
    "64:ff9b:1::1",
)
FULL_WIDTH = str.maketrans("0123456789.", "０１２３４５６７８９．")
CIRCLED = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")


def of_four(text: str) -> Iterator[str]:
    """An IPv4 address as a host, in every notation that something reads."""
    number = int(IPv4Address(text))
    a, b, c, d = (int(part) for part in text.split("."))
    high, low = number >> 16, number & 0xFFFF
    yield text
    yield f"{text}."
    yield f"{text}.."
    yield str(number)
    yield f"{number}."
    yield str(number + 2**32)  # what wraps around
    yield f"0x{number:08x}"
    yield f"0X{number:X}"
    yield f"0{number:o}"
    yield f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"{a:03}.{b:03}.{c:03}.{d:03}"
    yield f"{a}.{number & 0xFFFFFF}"
    yield f"{a}.{b}.{low}"
    yield f"0x{a:x}.{b}.0{c:o}.{d}"
    yield f"{a}.0x{number & 0xFFFFFF:x}"
    yield f"{a + 256}.{b}.{c}.{d}"
    yield text.translate(FULL_WIDTH)
    yield text.replace(".", "。")
    yield text.replace(".", "｡")
    yield text.translate(CIRCLED)
    yield text.replace(".", "%2e")
    yield "".join(f"%{ord(char):02x}" for char in text)
    yield text.replace(".", ".\u00ad")  # soft hyphens vanish in a name
    yield f"[::ffff:{text}]"
    yield f"[::ffff:{high:x}:{low:x}]"
    yield f"[0:0:0:0:0:ffff:{text}]"
    yield f"[::{text}]"
    yield f"[64:ff9b::{text}]"
    yield f"[64:ff9b:1::{text}]"
    yield f"[2002:{high:x}:{low:x}::1]"
    yield f"[2001:0:{high:x}:{low:x}::1]"
    yield f"[2001::{~high & 0xFFFF:x}:{~low & 0xFFFF:x}]"
    yield f"[fe80::5efe:{text}]"  # ISATAP


def of_six(text: str) -> Iterator[str]:
    """An IPv6 address as a host."""
    yield f"[{text}]"
    yield f"[{IPv6Address(text).exploded.upper()}]"
    yield f"[{text}%25lo]"
    yield f"[{text}%lo]"
    yield f"[{text}%1]"
    yield f"[{text}]."


def tricks(port: int) -> Iterator[str]:
    """Whole addresses that two readers read differently; `port` is where nobody may come."""
    inside = f"127.0.0.1:{port}"
    yield from (
        f"http://user@{inside}/",
        f"http://user:password@{inside}/",
        f"http://public.example@{inside}/",
        f"http://public.example:80@{inside}/",
        f"http://public.example%40{inside}/",
        f"http://{inside}#@public.example/",
        f"http://{inside}?@public.example/",
        f"http://{inside}\\@public.example/",
        f"http://public.example\\@{inside}/",
        f"http://public.example\\.{inside}/",
        f"http:\\\\{inside}\\",
        f"http:/{inside}/",
        f"http:{inside}/",
        f"http:///{inside}/",
        f"//{inside}/",
        f"{inside}/",
        f" http://{inside}/",
        f"http://{inside}/ ",
        f"http:// {inside}/",
        f"http://\t{inside}/",
        f"http://127.0.0.1\t:{port}/",
        f"ht\ntp://{inside}/",
        f"http://127.0.0.1\r\n:{port}/",
        f"http://{inside}\x00.public.example/",
        f"http://{inside}/\r\nHost: public.example",
        f"http://127.0.0.1%00.public.example:{port}/",
        f"http://127.0.0.1%0d%0a:{port}/",
        f"http://127.0.0.1%20:{port}/",
        f"http://127.0.0.1::{port}/",
        f"http://127.0.0.1:{port}:80/",
        f"http://127.0.0.1:0{port}0/",
        f"http://127.0.0.1:+{port}/",
        f"http://127.0.0.1:{port}a/",
        f"http://127.0.0.1:/{port}",
        f"http://127.0.0.1:٣{port}/",
        f"http://[127.0.0.1]:{port}/",
        f"http://[::1:{port}/",
        f"http://::1]:{port}/",
        f"http://[[::1]]:{port}/",
        f"http://[::1]]:{port}/",
        f"http://[::1]public.example:{port}/",
        f"http://[v1.127.0.0.1]:{port}/",
        f"http://:{port}/",
        f"http://.:{port}/",
        f"http://..:{port}/",
        f"http://-:{port}/",
        f"http://*:{port}/",
        f"http://127.0.0.1,public.example:{port}/",
        f"http://127.0.0.1;public.example:{port}/",
        f"http://{'a' * 64}.example:{port}/",
        f"http://{'a.' * 200}example:{port}/",
        f"http://public.example:{port}/{'a' * 3000}",
        f"http://\ud800.example:{port}/",
        f"http://{inside}/\udfff",
        "http://",
        "https://",
        "http:",
        "",
        "http://127.0.0.1:22/",
        "http://127.0.0.1:6379/",
        "http://public.example:25/",
        "http://public.example:0/",
        "http://public.example:65536/",
        "http://public.example:99999/",
    )
    for scheme in (
        "file",
        "ftp",
        "gopher",
        "dict",
        "ldap",
        "tftp",
        "jar:http",
        "data",
        "javascript",
        "ws",
        "unix",
        "netdoc",
    ):
        yield f"{scheme}://{inside}/"
    yield "file:///etc/passwd"
    yield "gopher://127.0.0.1:6379/_FLUSHALL"
    yield "data:text/plain,hello"


NAMES = (  # that stand for an address inside, one way or another
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ｌｏｃａｌｈｏｓｔ",
    "localhost.localdomain",
    "ip6-localhost",
    "inside.example",
    "127.0.0.1.nip.example",
    "7f000001.rebind.example",
    "metadata.internal",
    "alias.example",  # an alias of a name inside
    "xn--bcher-kva.example",
    "bücher.example",
    "İnside.example",
    "inside。example",
)


def hosts() -> list[str]:
    """Every host that must not be reached, written in every way."""
    found = [host for text in INSIDE for host in of_four(text)]
    return found + [host for text in INSIDE_SIX for host in of_six(text)]


def addresses(port: int) -> list[str]:
    """Every address that must not be fetched."""
    return [*(f"http://{host}:{port}/" for host in (*hosts(), *NAMES)), *tricks(port)]
