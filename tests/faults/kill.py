"""kill -9 under load, again and again on the same store."""

import contextlib
import time

from faults import Broken
from faults.agent import Agent, folder
from faults.load import Load, Stir, wait

DURABILITIES = ("interval:100ms", "sync", "memory")


def kill(options, rng):
    """Under each durability in turn. Under `memory` what was flushed must come back, and more may."""
    with folder() as data:
        load, slowest, flushes, lost = Load(), 0.0, 0, 0
        before, least = "nothing", None
        for cycle in range(options.cycles):
            durability = DURABILITIES[cycle % len(DURABILITIES)]
            begun = time.monotonic()
            agent = Agent(options.binary, data, durability)
            lost += load.verify(agent, f"kill -9 under {before}, cycle {cycle}", least)
            slowest = max(slowest, time.monotonic() - begun)
            # Every other time it strikes amid flushes and compactions.
            stir = Stir(agent, load, pause=0.02)
            flushing = stir.on() if durability == "memory" or rng.random() < 0.5 else contextlib.nullcontext()
            with load.on(agent), flushing:
                if durability == "memory" and rng.random() < 0.5 and not wait(lambda: stir.flushes):
                    raise Broken(f"under memory, cycle {cycle}: nothing is flushed: {stir.answers}")
                time.sleep(rng.random() * 0.15)
                agent.kill()
            before, least = durability, None
            if durability == "memory":
                least, flushes = stir.kept, flushes + stir.flushes
            wrong = [answer for answer in stir.answers if answer not in ("compact 200", "delete 204") and " " in answer]
            if wrong:
                raise Broken(f"under {durability}, cycle {cycle}: {wrong}")
            if options.cycles > 100 and cycle % 100 == 99:
                print(f"  {cycle + 1} cycles, {sum(load.acked)} samples acknowledged", flush=True)
        agent = Agent(options.binary, data, "sync")
        lost += load.verify(agent, "after the last kill", least)
        agent.close()
        if options.cycles >= 9 and not (flushes and lost):
            raise Broken(f"under memory {flushes} flushes were done, {lost} samples lost: this tests nothing")
        return (
            f"{options.cycles} times under load, {sum(load.acked)} samples; under memory {flushes} flushes, and {lost} "
            f"samples behind them gone; slowest to open and verify {slowest:.2f} s"
        )
