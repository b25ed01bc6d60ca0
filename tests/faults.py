#!/usr/bin/env python3
"""Real faults on the real binary: what was acknowledged must come back.

Several threads push numbered samples to an agent by remote write and note what was answered
with 2xx. Meanwhile the agent is killed, its system calls fail, its disk runs full, it is
stopped. Then it is started again, and each thread's samples must be 0, 1, 2, ... without a
gap, at least as many as were acknowledged (P3, P4, P5).

    tests/faults.py --binary target/debug/tidegauge              # a short form, about a minute
    tests/faults.py --binary ... --only kill --cycles 1000       # kill -9, a thousand times

Exit codes: 0 nothing lost, 1 a promise was broken, 2 the request makes no sense.
What this machine does not permit (strace, mounting) is skipped, and said; with TIDEGAUGE_REQUIRE
set, strace must not be.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

DEADLINE = 60
THREADS = 4
SKIPPED = "skipped: "
BATCH = 100
# Timestamps of the samples, in milliseconds: sample i lies i behind this.
BASE_MS = 1_600_000_000_000


class Broken(Exception):
    """A promise was."""


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def request_of(thread, first, count):
    """A remote-write request: samples `first` and the `count - 1` behind it."""
    labels = b"".join(
        field(1, field(1, name) + field(2, value))
        for name, value in ((b"__name__", b"n"), (b"t", str(thread).encode()))
    )
    samples = b"".join(
        field(2, b"\x09" + struct.pack("<d", i) + b"\x10" + varint(BASE_MS + i)) for i in range(first, first + count)
    )
    raw = field(1, labels + samples)
    # Snappy, all of it literal.
    out = bytearray(varint(len(raw)))
    for at in range(0, len(raw), 1 << 16):
        part = raw[at : at + (1 << 16)]
        out += bytes([62 << 2]) + (len(part) - 1).to_bytes(3, "little") + part
    return bytes(out)


HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


class Agent:
    """A running agent on a free port."""

    started = []

    def __init__(self, binary, data, durability, wrap=(), files=None, check=True):
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        command = [*wrap, binary, "serve", "--data-dir", data, "--listen", "127.0.0.1:0"]
        command += ["--durability", durability, "--no-host-metrics", "--enable-admin-api"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=limit, start_new_session=True,
        )
        Agent.started.append(self)
        line = self.process.stdout.readline()
        self.address = line.split("http://")[1].split()[0].rstrip("/") if "http://" in line else None
        if self.address is None:
            self.said = self.process.stderr.read()
            self.code = self.process.wait(DEADLINE)
            if check:
                raise Broken(f"does not start: {self.code}: {line}{self.said}")
        else:
            # Nobody waits for a full pipe.
            for pipe in (self.process.stdout, self.process.stderr):
                threading.Thread(target=lambda p=pipe: [None for _ in p], daemon=True).start()

    def connection(self, timeout=DEADLINE):
        return http.client.HTTPConnection(self.address, timeout=timeout)

    def query(self, expr):
        connection = self.connection()
        at = (BASE_MS + 200_000_000) / 1000
        connection.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": expr, "time": at}))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise Broken(f"a query is answered {answer.status}: {body[:300]}")
        return {int(one["metric"]["t"]): float(one["value"][1]) for one in json.loads(body)["data"]["result"]}

    def delete(self, selector):
        """Deletes all of it; answers the status and how long it took."""
        connection, begun = self.connection(), time.monotonic()
        connection.request("POST", "/api/v1/admin/tsdb/delete_series?" + urllib.parse.urlencode({"match[]": selector}))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, time.monotonic() - begun, body

    def kill(self, how=signal.SIGKILL):
        # Its group: under strace both.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        return self.process.wait(DEADLINE)

    def close(self):
        """An orderly end."""
        self.process.terminate()
        code = self.process.wait(DEADLINE)
        if code != 0:
            raise Broken(f"SIGTERM ends it with {code}")


class Load:
    """Threads that push; what each sent, and what was acknowledged."""

    def __init__(self):
        self.acked = [0] * THREADS
        self.sent = [0] * THREADS
        self.refused = 0
        self.answers = {}
        self.stop = threading.Event()

    def thread(self, agent, t, patient):
        connection = agent.connection()
        while not self.stop.is_set():
            first = self.acked[t]
            self.sent[t] = max(self.sent[t], first + BATCH)
            try:
                connection.request("POST", "/api/v1/write", request_of(t, first, BATCH), HEADERS)
                answer = connection.getresponse()
                answer.read()
            except OSError as error:
                # Answered or not: nobody was told.
                connection.close()
                if not patient:
                    return
                self.answers[type(error).__name__] = self.answers.get(type(error).__name__, 0) + 1
                time.sleep(0.01)
                continue
            except http.client.HTTPException:
                connection.close()
                if not patient:
                    return
                continue
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
            if 200 <= answer.status < 300:
                self.acked[t] = first + BATCH
            else:
                self.refused += 1
                time.sleep(0.005)

    @contextlib.contextmanager
    def on(self, agent, patient=False):
        self.stop.clear()
        self.answers = {}
        threads = [threading.Thread(target=self.thread, args=(agent, t, patient)) for t in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def verify(self, agent, what):
        """Each thread's samples are there without a gap; goes on behind what came back."""
        count = agent.query("count_over_time(n[10d])")
        total = agent.query("sum_over_time(n[10d])")
        last = agent.query("max_over_time(n[10d])")
        for t in range(THREADS):
            n = int(count.get(t, 0))
            if n < self.acked[t]:
                raise Broken(f"{what}: thread {t}: {n} samples came back of {self.acked[t]} acknowledged")
            if n > self.sent[t]:
                raise Broken(f"{what}: thread {t}: {n} samples came back, {self.sent[t]} were sent")
            if n and (int(last[t]) != n - 1 or total[t] != n * (n - 1) / 2):
                raise Broken(f"{what}: thread {t}: {n} samples came back, not the first ones")
            self.acked[t] = self.sent[t] = n


def progress(until, load, most=DEADLINE):
    """Waits until so many samples more were acknowledged."""
    want, end = sum(load.acked) + until, time.monotonic() + most
    while sum(load.acked) < want:
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@contextlib.contextmanager
def folder():
    dir = tempfile.mkdtemp(prefix="tidegauge-faults-", dir=".")
    try:
        yield os.path.join(dir, "data")
    finally:
        shutil.rmtree(dir, ignore_errors=True)


def kill(options, rng):
    """kill -9 under load, again and again on the same store."""
    with folder() as data:
        load, slowest = Load(), 0.0
        for cycle in range(options.cycles):
            durability = ("interval:100ms", "sync")[cycle // 50 % 2]
            begun = time.monotonic()
            agent = Agent(options.binary, data, durability)
            load.verify(agent, f"kill -9, cycle {cycle}")
            slowest = max(slowest, time.monotonic() - begun)
            with load.on(agent):
                time.sleep(rng.random() * 0.15)
                agent.kill()
            if options.cycles > 100 and cycle % 100 == 99:
                print(f"  {cycle + 1} cycles, {sum(load.acked)} samples acknowledged", flush=True)
        agent = Agent(options.binary, data, "sync")
        load.verify(agent, "after the last kill")
        agent.close()
        return f"{options.cycles} times under load, {sum(load.acked)} samples; slowest to open and verify {slowest:.2f} s"


# What fails, and how; `when` counts the calls of each thread.
INJECTIONS = [
    ("pwrite64", "signal=SIGKILL"), ("fdatasync", "signal=SIGKILL"), ("fallocate", "signal=SIGKILL"),
    ("rename", "signal=SIGKILL"), ("fsync", "signal=SIGKILL"), ("unlink", "signal=SIGKILL"),
    ("pwrite64", "error=EIO"), ("fdatasync", "error=EIO"), ("fallocate", "error=EIO"), ("fsync", "error=EIO"),
    ("rename", "error=EIO"), ("ftruncate", "error=EIO"), ("openat", "error=EIO"), ("openat", "error=EMFILE"), ("unlink", "error=EIO"),
    ("pwrite64", "error=ENOSPC"), ("fallocate", "error=ENOSPC"), ("openat", "error=ENOSPC"),
]

# A life of a moment makes about so many of them in a thread; of the others one or two.
FIRST = {"openat": 20, "pwrite64": 16, "fdatasync": 10, "fsync": 6}


def inject(options, rng):
    """SIGKILL, EIO and ENOSPC at the N-th system call."""
    if not shutil.which("strace") or subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        if os.environ.get("TIDEGAUGE_REQUIRE"):
            raise Broken("strace is not there, or not permitted, and TIDEGAUGE_REQUIRE is set")
        return "skipped: strace is not there, or not permitted"
    started = stopped = 0
    struck = dict.fromkeys(INJECTIONS, 0)
    with folder() as data:
        load, trace = Load(), data + ".trace"

        def run(n, call, how, at):
            nonlocal started, stopped
            # A call may have another name on another machine.
            calls = {"rename": "rename,renameat,renameat2", "unlink": "unlink,unlinkat"}.get(call, call)
            inject = f"inject={calls}:{how}:when={at}"
            wrap = ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={calls}", "-e", inject]
            agent = Agent(options.binary, data, "sync" if n % 2 else "interval:20ms", wrap, check=False)
            if agent.address is None:
                stopped, ended = stopped + 1, True
                if how.startswith("error") and agent.code not in (1, 127):
                    raise Broken(f"{inject}: does not start, and exits with {agent.code}: {agent.said}")
                if "panicked" in agent.said:
                    raise Broken(f"{inject}: {agent.said}")
            else:
                started += 1
                with load.on(agent):
                    time.sleep(0.15)
                    if agent.process.poll() is None and how.startswith("error"):
                        with contextlib.suppress(OSError, http.client.HTTPException):
                            # Poisoned or not: reads go on.
                            agent.query("max_over_time(n[10d])")
                    ended = agent.process.poll() is not None
                    agent.kill()
            with open(trace) as file:
                # Nobody else kills it before we do.
                struck[call, how] += ended if how == "signal=SIGKILL" else "(INJECTED)" in file.read()
            agent = Agent(options.binary, data, "sync")
            load.verify(agent, inject)
            agent.kill()

        for n in range(len(INJECTIONS) * options.rounds):
            call, how = INJECTIONS[n % len(INJECTIONS)]
            run(n, call, how, 1 + rng.randrange(FIRST.get(call, 2)))
        for n, (call, how) in enumerate(INJECTIONS):
            if not struck[call, how]:
                # Every life makes the first call of each.
                run(n, call, how, 1)
                if not struck[call, how]:
                    raise Broken(f"{how} never struck {call}: this tests nothing")
    return (
        f"{started} runs with a failing call, {stopped} that did not start, {sum(struck.values())} struck; "
        f"{sum(load.acked)} samples"
    )


def fill(ballast):
    """Takes all the space that is left."""
    for size in (64 << 10, 4 << 10):
        with contextlib.suppress(OSError), open(ballast, "ab", buffering=0) as file:
            while file.write(bytes(size)) == size:
                pass


def delete_often(agent, where):
    """The reserve is for this, and nobody waits for it until a push has found its space."""
    for n in range(10):
        status, took, body = agent.delete('n{t="nobody"}')
        if status != 204 or took > 20:
            raise Broken(f"delete {n} {where} is answered {status} after {took:.1f} s: {body[:300]}")


def full(options, rng):
    """A small disk runs full, is deleted from, opened again, and freed."""
    with folder() as data:
        os.makedirs(data)
        if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", data], capture_output=True).returncode:
            return "skipped: mounting a tmpfs is not permitted"
        try:
            store, ballast = os.path.join(data, "store"), os.path.join(data, "ballast")
            # Something to be freed, whoever fills the rest first.
            with open(ballast, "wb") as file:
                file.write(bytes(6 << 20))
            load = Load()
            agent = Agent(options.binary, store, "interval:20ms")
            with load.on(agent, patient=True):
                if not progress(1000, load):
                    raise Broken("nothing is acknowledged")
                fill(ballast)
                end = time.monotonic() + DEADLINE
                while not load.refused:
                    if time.monotonic() > end:
                        raise Broken(f"a full disk is never told: {load.answers}")
                    time.sleep(0.01)
                agent.query("max_over_time(n[10d])")
                delete_often(agent, "on a full disk")
            # It cannot flush. What was acknowledged is in the log, so that is no failure.
            agent.close()
            agent = Agent(options.binary, store, "interval:20ms")
            load.verify(agent, "closed on a full disk")
            agent.kill()
            # What it left free, somebody else takes.
            fill(ballast)
            agent = Agent(options.binary, store, "interval:20ms")
            load.verify(agent, "opened on a full disk")
            with load.on(agent, patient=True):
                delete_often(agent, "on a full disk, opened there")
                os.remove(ballast)
                if not progress(1000, load):
                    raise Broken(f"pushes are not taken again: {load.answers}")
            answers = dict(load.answers)
            agent.kill()
            agent = Agent(options.binary, store, "sync")
            load.verify(agent, "full disk")
            agent.close()
            return f"refused and resumed by itself; answers {answers}"
        finally:
            subprocess.run(["umount", "-l", data], check=False)


def stop(options, rng):
    """The process is stopped and goes on."""
    with folder() as data:
        load = Load()
        agent = Agent(options.binary, data, "sync")
        with load.on(agent):
            for _ in range(3):
                if not progress(500, load):
                    raise Broken("nothing is acknowledged after SIGCONT")
                agent.process.send_signal(signal.SIGSTOP)
                time.sleep(rng.random() * 0.5)
                agent.process.send_signal(signal.SIGCONT)
            if not progress(500, load):
                raise Broken("nothing is acknowledged after SIGCONT")
            agent.process.send_signal(signal.SIGSTOP)
            agent.kill()
        agent = Agent(options.binary, data, "sync")
        load.verify(agent, "SIGSTOP")
        agent.close()
        return f"three times, then killed; {sum(load.acked)} samples"


def files(options, rng):
    """Few files may be open, and others take them all."""
    told = 0
    for few in range(9, 14):
        with folder() as data:
            agent = Agent(options.binary, data, "interval:20ms", files=few, check=False)
            if agent.address:
                agent.kill()
                break
            # What is opened by the engine says what to do about it.
            told += "ulimit -n" in agent.said
            if "open files" not in agent.said or "space" in agent.said:
                raise Broken(f"ulimit -n {few}: {agent.said}")
    if not told:
        raise Broken("no start with few files says what to do")
    with folder() as data:
        load = Load()
        agent = Agent(options.binary, data, "interval:20ms", files=64)
        host, port = agent.address.rsplit(":", 1)
        with load.on(agent, patient=True):
            if not progress(500, load):
                raise Broken("nothing is acknowledged")
            idle = []
            for _ in range(100):
                with contextlib.suppress(OSError):
                    idle.append(socket.create_connection((host, int(port)), timeout=5))
            time.sleep(0.5)
            if agent.process.poll() is not None:
                raise Broken("it ends when it may open no more files")
            for one in idle:
                one.close()
            resumed = progress(500, load)
        health = "goes on" if resumed else f"stopped writing: {load.answers}"
        if agent.process.poll() is not None:
            raise Broken("it ended")
        agent.kill()
        agent = Agent(options.binary, data, "sync")
        load.verify(agent, "ulimit -n")
        agent.close()
        if not resumed:
            raise Broken(f"ulimit -n 64: {health}")
        return f"64 files, 100 idle connections: {health}"


FAULTS = {"kill": kill, "inject": inject, "full": full, "stop": stop, "files": files}


def tell_skipped(line):
    """As ci/skipped.sh: the gate lists at its end what was not checked."""
    print(line, flush=True)
    if os.environ.get("TIDEGAUGE_SKIPPED"):
        with open(os.environ["TIDEGAUGE_SKIPPED"], "a", encoding="utf-8") as listed:
            listed.write(line + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/debug/tidegauge", help="the agent [target/debug/tidegauge]")
    parser.add_argument("--only", default=",".join(FAULTS), help=f"some of {','.join(FAULTS)}")
    parser.add_argument("--cycles", type=int, default=25, help="of kill -9 [25]")
    parser.add_argument("--rounds", type=int, default=1, help="of each failing call [1]")
    parser.add_argument("--seed", type=int, default=None, help="what random times and places follow from [by the clock]")
    options = parser.parse_args()
    names = options.only.split(",")
    if any(name not in FAULTS for name in names):
        parser.error(f"--only takes {','.join(FAULTS)}")
    options.binary = os.path.abspath(options.binary)
    seed = options.seed if options.seed is not None else int(time.time())
    print(f"seed {seed}")
    for name in names:
        began = time.monotonic()
        try:
            said = FAULTS[name](options, random.Random(f"{seed} {name}"))
        except Broken as broken:
            print(f"BROKEN: {name}: {broken}\n  again: tests/faults.py --only {name} --seed {seed}")
            return 1
        finally:
            for agent in Agent.started:
                if agent.process.poll() is None:
                    agent.kill()
            Agent.started.clear()
        if said.startswith(SKIPPED):
            tell_skipped(f"{SKIPPED}fault {name}, because {said.removeprefix(SKIPPED)}")
            continue
        print(f"{name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
