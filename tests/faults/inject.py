"""Failing system calls: EIO, ENOSPC, EMFILE, EINTR and SIGKILL at the N-th call, under load and at the opening."""

import os
import re
import shutil
import time

from faults import Broken, not_here, strace
from faults.agent import Agent, folder
from faults.load import THREADS, Load, Stir, wait

KILL, EIO, ENOSPC, EINTR = "signal=SIGKILL", "error=EIO", "error=ENOSPC", "error=EINTR"
# What an agent under load does, while somebody deletes, flushes and compacts.
CALLS = ("pwrite64", "fdatasync", "fsync", "rename", "ftruncate", "fallocate", "openat", "unlink")
UNDER_LOAD = [(call, how) for how in (EIO, ENOSPC, KILL) for call in CALLS]
# Both pass.
UNDER_LOAD += [("openat", "error=EMFILE"), ("fallocate", EINTR)]
AT_OPENING = [
    ("ftruncate", EIO), ("pwrite64", EIO), ("openat", EIO),
    ("fdatasync", ENOSPC), ("fallocate", ENOSPC),
    ("fsync", KILL), ("rename", KILL),
]
# One of so many of each thread's calls fails; of the others the first.
WHEN = {"pwrite64": 20, "fdatasync": 10, "openat": 4, "fsync": 3}
WHEN_OPENING = {"openat": 20, "pwrite64": 16, "fdatasync": 10, "fsync": 6}
# Where space was short and then is not, a file is cut to what it got: nothing else does that under load, but a
# heartbeat each 30 s.
BESIDE = {"ftruncate": [("fallocate", f"{ENOSPC}:when=1")]}
# How often one is tried that did not strike.
TRIES = 6
# How long one may take to strike.
PATIENCE = 5
# A write at the beginning of a file.
BEGINNING = re.compile(r", 0\) = ")
# What an fdatasync takes that is held up, in seconds.
HELD = 0.2


class Run:
    """What all runs share: one store, and what was acknowledged there."""

    def __init__(self, options, rng, data):
        self.binary, self.rng, self.data, self.trace = options.binary, rng, data, data + ".trace"
        self.load, self.before, self.runs, self.not_opened = Load(), "nothing", 0, 0

    def agent(self, durability):
        """Opens, and sees whether the last fault cost anything."""
        agent = Agent(self.binary, self.data, durability)
        self.load.verify(agent, self.before)
        return agent

    def fresh_trace(self):
        shutil.rmtree(self.trace, ignore_errors=True)
        os.makedirs(self.trace)
        self.runs += 1

    def when(self, most, sooner):
        """Which call is to fail; each try asks for a sooner one, since a slow machine makes few."""
        return 1 + self.rng.randrange(max(most >> sooner, 1))

    def under_load(self, call, how, sooner=0):
        """Answers whether it struck."""
        self.fresh_trace()
        durability = self.rng.choice(("interval:20ms", "sync"))
        when = self.when(WHEN.get(call, 1), sooner)
        agent = self.agent(durability)
        self.before = what = f"{call}:{how}:when={when} under {durability}"
        errors = how != KILL
        with self.load.on(agent, patient=errors), Stir(agent, self.load).on():
            if not self.load.progress(THREADS * 100):
                raise Broken(f"{what}: nothing is acknowledged before")
            with strace.at(agent, self.trace, (call, f"{how}:when={when}"), *BESIDE.get(call, [])):
                if not errors:
                    struck = wait(lambda: not agent.lives(), PATIENCE)
                    if struck and not agent.was_killed():
                        raise Broken(f"{what}: it ends with {agent.process.poll()}")
                else:
                    struck = wait(lambda: strace.struck_in(self.trace, call), PATIENCE)
                    self.answered(what, agent, call, how)
        if errors:
            # Poisoned or not: reads go on, and show what was acknowledged.
            self.load.look(agent, f"{what}, read before the end")
        agent.kill()
        return bool(struck)

    def answered(self, what, agent, call, how):
        """The answers tell of it, or nothing is lost by it."""
        load = self.load
        seen = sum(load.answers.values())
        # Of each thread one at least that was asked for afterwards.
        if not wait(lambda: sum(load.answers.values()) >= seen + 4 * THREADS):
            raise Broken(f"{what}: pushes are not answered: {load.answers}")
        log = [one for one in strace.struck_in(self.trace, call) if "/wal/" in one]
        # Of a new file without space for its first page nothing was written: that is a full disk, which passes.
        begun = how == ENOSPC and log and all(BEGINNING.search(one) for one in log)
        if call in ("pwrite64", "fdatasync") and log and not begun:
            if not load.refusals(2):
                raise Broken(f"{what}: the log failed, and pushes are taken: {load.answers}")
            acked = sum(load.acked)
            load.refusals(2)
            if sum(load.acked) != acked:
                raise Broken(f"{what}: the log failed, and pushes are taken again: {load.answers}")
        if (begun or call == "fallocate" and how in (ENOSPC, EINTR)) and not load.progress(THREADS * 100):
            # Each thread's call fails once: meanwhile that of another one may have, at the manifest, which is not
            # written again behind a failure.
            if not any("/MANIFEST" in one for one in strace.struck_in(self.trace, call)):
                raise Broken(f"{what}: there is space again, and pushes are refused: {load.answers}")
        if not agent.lives():
            raise Broken(f"{what}: it ends with {agent.process.poll()}")
        if any(status not in (204, 503) for status in list(load.answers)):
            raise Broken(f"{what}: pushes are answered {load.answers}")

    def at_opening(self, call, how, sooner=0):
        """Answers whether it struck."""
        self.fresh_trace()
        when = self.when(WHEN_OPENING.get(call, 1), sooner)
        what = f"{call}:{how}:when={when} at the opening"
        wrap = strace.command(self.trace, (call, f"{how}:when={when}"))
        agent = Agent(self.binary, self.data, self.rng.choice(("interval:20ms", "sync")), wrap, check=False)
        self.before = what
        if agent.address is None:
            self.not_opened += 1
            if not (agent.was_killed() if how == KILL else agent.code in (1, 127)):
                raise Broken(f"{what}: exits with {agent.code}: {agent.said}")
        else:
            with self.load.on(agent):
                time.sleep(0.1)
                ended = not agent.lives()
                agent.kill()
        if how == KILL:
            return agent.address is None or ended
        return bool(strace.struck_in(self.trace, call))

    def held_up(self):
        """Under `sync` nobody is answered before an fdatasync that began behind his push has ended."""
        self.fresh_trace()
        agent = self.agent("sync")
        self.before = what = f"fdatasync takes {HELD} s under sync"
        connection = agent.connection()
        with strace.at(agent, self.trace, ("fdatasync", f"delay_enter={int(HELD * 1e6)}")):
            for _ in range(3):
                begun = time.monotonic()
                status = self.load.push(connection, 0)
                took = time.monotonic() - begun
                if status != 204:
                    raise Broken(f"{what}: a push is answered {status}")
                if took < HELD:
                    raise Broken(f"{what}: a push is acknowledged after {took:.3f} s")
        connection.close()
        agent.kill()


def inject(options, rng):
    """Each of the calls, under load and at the opening, until it struck."""
    why = strace.why_not()
    if why:
        return not_here(why)
    with folder() as data:
        run, struck = Run(options, rng, data), 0
        kinds = [(run.under_load, *one) for one in UNDER_LOAD] + [(run.at_opening, *one) for one in AT_OPENING]
        for _ in range(options.rounds):
            rng.shuffle(kinds)
            for strike, call, how in kinds:
                if not any(strike(call, how, sooner) for sooner in range(TRIES)):
                    raise Broken(f"{strike.__name__}: {how} never struck {call}: this tests nothing")
                struck += 1
            run.held_up()
        run.agent("sync").close()
    return (
        f"{struck} calls struck in {run.runs} runs, {run.not_opened} of them at the opening, which failed; "
        f"{sum(run.load.acked)} samples"
    )
