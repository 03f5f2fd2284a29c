"""Many spend one budget at once, over HTTP and two web workers; meanwhile workers are killed.

In the long form two machines with one Redis then spend one, and Redis is flushed, killed and started again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing

from tests.drills.base import Drill, Run, eventually, running
from tests.drills.caller import Heard, ask
from tests.drills.provider import ScriptedProvider
from tests.drills.question import MODEL, Question
from tests.product import PROJECT, Product
from tests.servers import RedisServer

WORKERS = 2
CALLERS = 500
PROMPT_TOKENS = 7  # that the provider tells
PIECES = 4  # as many tokens of answer
INPUT, OUTPUT = 1_000, 1  # dollars for a million tokens
COST = PROMPT_TOKENS * INPUT + PIECES * OUTPUT  # of a call, in millionths of a dollar
RESERVED = 180_000  # for a call, about: many more tokens may be in its question than the provider tells
MOST_ROUNDS = 60
KILLED_WITHIN_S = 0.4

# Everything the ledger says of one budget.
SUMS = """
SELECT b.amount_microusd, coalesce(p.spent_microusd, 0), coalesce(p.reserved_microusd, 0),
  (SELECT coalesce(sum(amount_microusd), 0) FROM orchestrator_holdline WHERE budget_id = b.id),
  (SELECT coalesce(sum(cost_microusd), 0) FROM orchestrator_charge WHERE b.key_id IS NULL OR key_id = b.key_id)
FROM orchestrator_budget b LEFT JOIN orchestrator_budgetperiod p ON p.budget_id = b.id WHERE b.name = ?
"""


async def run(run: Run) -> None:
    """First in peace, then with workers killed."""
    with (
        ScriptedProvider() as provider,
        running(
            run,
            provider,
            ORCHESTRATOR_WEB_WORKERS=WORKERS,
            ORCHESTRATOR_REQUIRE_KEYS=1,
            ORCHESTRATOR_QUEUE=100_000,  # who has to wait for the processor is not what this is about
            ORCHESTRATOR_QUEUE_TIMEOUT_S=60,
        ) as product,
    ):
        manage(product, "prices", "set", f"openai/{MODEL}", "--input", str(INPUT), "--output", str(OUTPUT))
        await in_peace(run, Spenders(run, provider, product, "calm"))
        for number in range(run.pick(1, 20)):
            await killed(run, Spenders(run, provider, product, f"killed-{number}"), product)
    if run.pick(0, 1):
        await together(run)


def manage(product: Product, *arguments: str) -> None:
    """As an operator does."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=PROJECT, env=product.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}")


class Spenders:
    """Callers with one key, and a budget of that key alone, or one for all."""

    def __init__(
        self, run: Run, provider: ScriptedProvider, product: Product, name: str, *, is_for_all: bool = False
    ) -> None:
        self.run, self.provider, self.product, self.name = run, provider, product, name
        self.heard: Counter[int] = Counter()
        self.key = product.issue_key(name, "--tenant", "drill")
        prefix = self.key.split("_")[1]
        is_for = run.pick(25, 100)  # calls under way
        amount = f"{is_for * RESERVED / 1_000_000:.2f}"
        whose = ["all"] if is_for_all else ["key", "--key", prefix, "--tenant", "drill"]
        manage(product, "budgets", "make", name, amount, "day", "--each", *whose)

    async def once(self, number: int) -> Heard:
        """One question that nobody asked before."""
        question = Question(name=f"{self.name} {number}", pieces=PIECES, first_s=0.05)
        try:
            answer = await ask(self.product.base_url, question, stream=False, Authorization=f"Bearer {self.key}")
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            answer = Heard(error=type(error).__name__)
        self.heard[answer.status] += 1
        if answer.status == 429:
            is_told = self.name in answer.error and "retry-after" in answer.headers
            self.run.expect(is_told, f"{self.name}: a refusal that does not say why: {answer.error} {answer.headers}")
        return answer

    async def all_at_once(self, since: int) -> None:
        """All ask, each once."""
        await asyncio.gather(*(self.once(since + number) for number in range(CALLERS)))

    async def to_the_end(self) -> None:
        """Until nobody is answered any more: what calls had reserved and did not cost is spent as well."""
        for number in range(1, MOST_ROUNDS):
            answered = self.heard[200]
            await self.all_at_once(number * CALLERS)
            if self.heard[200] == answered and not self.heard[503]:
                return
            self.heard[503] = 0
        self.run.expect(False, f"{self.name}: there was money left after {MOST_ROUNDS} rounds")

    def sums(self) -> tuple[int, int, int, int, int]:
        """Amount, spent, reserved; what calls under way hold, and what was charged."""
        with closing(sqlite3.connect(self.product.data / "ledger.sqlite3")) as database:
            found: tuple[int, int, int, int, int] = database.execute(SUMS, (self.name,)).fetchone()
            return found

    def judge(self, *, lost: int) -> None:
        """What the ledger says, what callers heard and what the provider was asked are the same.

        lost  calls of killed processes, at most: they are charged what was reserved for them, answered or not.
        """
        run, name = self.run, self.name
        amount, spent, reserved, held, charged = self.sums()
        calls = sum(call.name.startswith(f"{name} ") for call in self.provider.calls())
        strange = {status: count for status, count in self.heard.items() if status not in {0, 200, 429, 503}}
        run.expect(not strange, f"{name}: answers of other kinds: {strange}")
        run.expect(not self.heard[0] or lost > 0, f"{name}: {self.heard[0]} connections broke")
        run.expect(spent <= amount, f"{name}: {spent} were spent of {amount}")
        run.expect(calls * COST <= amount, f"{name}: the provider was asked {calls} times for {amount}")
        run.expect(spent == charged, f"{name}: {spent} were spent, and {charged} charged")
        run.expect((reserved, held) == (0, 0), f"{name}: {reserved} are reserved, {held} held, and nobody calls")
        run.expect(
            spent >= calls * COST, f"{name}: {calls} calls cost {calls * COST}, and {spent} were charged for them"
        )
        if not lost:
            run.expect(spent == self.heard[200] * COST, f"{name}: {self.heard[200]} answers for {spent}")
            run.expect(amount - spent < 2 * RESERVED, f"{name}: only {spent} of {amount} could be spent")
        run.counts[f"{name.partition('-')[0]} answered"] += self.heard[200]
        run.counts[f"{name.partition('-')[0]} refused"] += self.heard[429]
        run.counts[f"{name.partition('-')[0]} broken off"] += self.heard[0]


async def in_peace(run: Run, spenders: Spenders) -> None:
    """As much is spent as there is, and not a millionth more."""
    await spenders.all_at_once(0)
    await spenders.to_the_end()
    spenders.judge(lost=0)


async def killed(run: Run, spenders: Spenders, product: Product) -> None:
    """What a dead worker's calls had reserved is charged; nothing stays reserved."""
    asking = asyncio.create_task(spenders.all_at_once(0))
    await asyncio.sleep(run.random.uniform(0.05, KILLED_WITHIN_S))
    os.kill(run.random.choice(product.pids("web")), signal.SIGKILL)
    await asking
    await eventually(lambda: len(product.pids("web")) == WORKERS, "the worker to be back", 30.0)
    await eventually(lambda: spenders.sums()[2] == 0, "holds of the dead to be charged", 30.0)
    spenders.judge(lost=CALLERS)


async def together(run: Run) -> None:
    """On two machines a budget of one name is one budget; all of it can be spent, and by one of them alone."""
    server = RedisServer().start()
    env = {
        "REDIS_URL": server.url,
        "ORCHESTRATOR_REQUIRE_KEYS": 1,
        "ORCHESTRATOR_QUEUE": 100_000,
        "ORCHESTRATOR_QUEUE_TIMEOUT_S": 60,
    }
    try:
        with ScriptedProvider() as provider, running(run, provider, **env) as one:
            other = Product(**(provider.environment() | env))
            (other.data / "keys").mkdir(mode=0o700)
            (other.data / "keys" / "master").write_text((one.data / "keys" / "master").read_text())
            with other:
                await over_both(run, provider, (one, other), server)
    finally:
        server.stop()


async def over_both(
    run: Run, provider: ScriptedProvider, machines: tuple[Product, Product], server: RedisServer
) -> None:
    """Both spend in peace, then in trouble; then the first one spends what is left."""
    for machine in machines:
        manage(machine, "prices", "set", f"openai/{MODEL}", "--input", str(INPUT), "--output", str(OUTPUT))
    spenders = [Spenders(run, provider, machine, "both", is_for_all=True) for machine in machines]
    await eventually(lambda: all(_knows_another(machine) for machine in machines), "machines to meet", 30.0)
    for number, hurt in enumerate((lambda: None, lambda: server.command("FLUSHALL"), server.kill, server.start)):
        asking = [asyncio.create_task(some.all_at_once((number + 1) * 100_000 + place * 1_000))
                  for place, some in enumerate(spenders)]  # fmt: skip
        await asyncio.sleep(run.random.uniform(0, 0.3))
        hurt()
        await asyncio.gather(*asking)
        spent, amount = sum(sum(some.sums()[1:3]) for some in spenders), spenders[0].sums()[0]
        run.expect(spent <= amount, f"together {spent} were spent and reserved of {amount}")
    for number in range(10, 10 + MOST_ROUNDS):
        answered = spenders[0].heard[200]
        await spenders[0].all_at_once(number * 100_000)
        if spenders[0].heard[200] == answered:
            break
        await asyncio.sleep(1.0)  # what the other one does not need comes back with a beat
    found = [some.sums() for some in spenders]
    amount, spent = found[0][0], sum(of[1] for of in found)
    calls = sum(call.name.startswith("both ") for call in provider.calls())
    run.expect(spent <= amount, f"together {spent} were spent of {amount}")
    run.expect(spent == calls * COST, f"together {spent} were spent, and {calls} calls cost {calls * COST}")
    run.expect(amount - spent < 2 * RESERVED, f"together only {spent} of {amount} could be spent")
    run.expect(all(of[1] for of in found), f"one of two spent nothing: {[of[1] for of in found]}")
    run.counts["together answered"] += sum(some.heard[200] for some in spenders)
    run.counts["together refused"] += sum(some.heard[429] for some in spenders)


def _knows_another(machine: Product) -> bool:
    with closing(sqlite3.connect(machine.data / "ledger.sqlite3")) as database:
        sql = "SELECT count(*) FROM orchestrator_machine WHERE NOT is_own"
        return database.execute(sql).fetchone() == (1,)


DRILL = Drill("budget", "many spend one budget, workers are killed: never more than there is", run, long_within_s=1_200)
