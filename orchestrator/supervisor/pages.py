"""The process that makes pages for the web workers: `python -m orchestrator.supervisor.pages`."""

import asyncio
import faulthandler
import signal

import django
from django.conf import settings

from orchestrator.core.heart import Heart
from orchestrator.core.listening import listening_at

BEATS_EVERY_S = 1.0


def main() -> None:
    """Make pages until SIGTERM."""
    faulthandler.enable()
    django.setup()
    asyncio.run(_serve())


async def _serve() -> None:
    from orchestrator import asgi, wiring
    from orchestrator.relay import serving

    told = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, told.set)
    heart = Heart()
    wiring.parts()
    try:
        await asgi.load_pages()
        with listening_at(settings.PAGES_SOCKET) as listening:
            async with serving(asgi.pages, listening):
                while not told.is_set():
                    heart.beat()
                    await _wait(told, BEATS_EVERY_S)
    finally:
        await wiring.close()


async def _wait(told: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await told.wait()
    except TimeoutError:
        pass


if __name__ == "__main__":
    main()
