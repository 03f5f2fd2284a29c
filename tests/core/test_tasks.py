"""What has to end ends, also when it does not hear of it at first."""

import asyncio

from orchestrator.core.tasks import end


async def test_a_cancellation_that_gets_lost_is_said_again() -> None:
    heard = 0

    async def deaf() -> None:
        nonlocal heard
        while heard < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1

    async def at_once() -> None:
        await asyncio.Event().wait()

    async def broken() -> None:
        raise ValueError("of its own")

    tasks = [asyncio.create_task(one()) for one in (deaf, at_once, broken)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(tasks)
    assert heard == 3
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[2].exception(), ValueError)
