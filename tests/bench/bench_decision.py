"""The decision through Microsoft's engine, batches of 1,024, against what a straightforward app does.

    python -m tests.bench.bench_decision [rounds]

Rounds of all apps are interleaved; the figures are medians of CPU time, for other work on the machine disturbs the
wall clock. Ends with where the time goes.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.azurite import AzuriteServer
from tests.bench.decision_worker import Case, Round, Worker
from tests.bench.report import record

ROUNDS, BATCHES, BASELINE_BATCHES, STEP_BATCHES = 5, 40, 10, 40
BASELINE = "straightforward app"
CASES = {
    BASELINE: Case("straightforward_app", 0.2),
    "  with our decoding of the binding's times": Case("straightforward_app", 0.2, has_fast_decode=True),
    "footfall": Case("footfall", 0.2),
    "footfall, every device has a row": Case("footfall", 1.0),
}
AZURITE = "footfall, state on Azurite"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def pings_a_cpu_second(rounds: list[Round]) -> float:
    return statistics.median(taken.pings / taken.cpu_s for taken in rounds)


def line(name: str, rounds: list[Round], baseline: float) -> str:
    pings, rate = sum(taken.pings for taken in rounds), pings_a_cpu_second(rounds)
    wall = statistics.median(taken.pings / taken.wall_s for taken in rounds)
    near, decisions, offers = (sum(getattr(taken, of) for taken in rounds) for of in ("near", "decisions", "offers"))
    return (
        f"  {name:<44}{rate:>9,.0f} pings a CPU second  {rate / baseline:5.1f} x {wall:>9,.0f}/s by the clock"
        f"   {near / pings:.1%} near, {decisions / pings:.3f} decisions and {offers / pings:.3f} offers a ping"
    )


def record_all(rounds: dict[str, list[Round]]) -> None:
    rates = {name: pings_a_cpu_second(taken) for name, taken in rounds.items()}
    taken = rounds["footfall"]
    decisions = sum(one.decisions for one in taken) / sum(one.pings for one in taken)
    note = f"state faked, a fifth of the devices have a row, {decisions:.3f} decisions a ping; 23,000 stores, 10 % near"
    record("decision_batch", rates["footfall"], "pings/s a core", rates[BASELINE], note)
    note = "the same when every device has a row, so that every ping writes it"
    record(
        "decision_batch_all_rows", rates["footfall, every device has a row"], "pings/s a core", rates[BASELINE], note
    )
    wall_ms = statistics.median(one.wall_s / one.pings * 1_024_000 for one in rounds[AZURITE])
    note = f"the same with the state on Azurite: {wall_ms:.0f} ms a batch by the clock"
    record("decision_batch_azurite", rates[AZURITE], "pings/s a core", rates[BASELINE], note)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        storage = AzuriteServer(Path(folder))
        storage.start()
        stack.callback(storage.stop)
        cases = CASES | {AZURITE: Case("footfall", 0.2, state_storage=storage.connection_string)}
        workers = {name: stack.enter_context(Worker(case)) for name, case in cases.items()}
        rounds: dict[str, list[Round]] = {name: [] for name in cases}
        for _ in range(count):
            for name, worker in workers.items():
                is_ours = cases[name].app == "footfall"
                rounds[name].append(worker.run(BATCHES if is_ours else BASELINE_BATCHES))
        baseline = pings_a_cpu_second(rounds[BASELINE])
        for name, taken in rounds.items():
            say(line(name, taken, baseline))
        record_all(rounds)
        for name in ("footfall", AZURITE):
            say(f"where the time goes, CPU µs a ping: {name}")
            for step, us in workers[name].steps(STEP_BATCHES).items():
                say(f"  {step:<44}{us:8.2f}")


if __name__ == "__main__":
    main()
