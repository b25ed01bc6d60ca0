"""Threads that push numbered samples, and what must come back of them."""

import contextlib
import http.client
import struct
import threading
import time

from faults import DEADLINE, Broken
from faults.agent import BASE_MS

THREADS = 4
BATCH = 100
# One query, so that all of it is of one snapshot: a push that was refused may still come.
FOUND = " or ".join(f'label_replace({f}_over_time(n[10d]), "f", "{f}", "", "")' for f in ("count", "sum", "max"))
HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


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


class Load:
    """Threads that push; what each sent, and what was acknowledged."""

    def __init__(self):
        self.acked = [0] * THREADS
        self.sent = [0] * THREADS
        self.refused = [0] * THREADS
        self.answers = {}
        self.stop = threading.Event()

    def push(self, connection, t):
        """The next samples of a thread; answers the status."""
        first = self.acked[t]
        self.sent[t] = max(self.sent[t], first + BATCH)
        connection.request("POST", "/api/v1/write", request_of(t, first, BATCH), HEADERS)
        answer = connection.getresponse()
        answer.read()
        if 200 <= answer.status < 300:
            self.acked[t] = first + BATCH
        return answer.status

    def thread(self, agent, t, patient):
        connection = agent.connection()
        while not self.stop.is_set():
            try:
                status = self.push(connection, t)
            except (OSError, http.client.HTTPException) as error:
                # Answered or not: nobody was told.
                connection.close()
                if not patient:
                    return
                status = type(error).__name__
                time.sleep(0.01)
            self.answers[status] = self.answers.get(status, 0) + 1
            if isinstance(status, int) and status >= 300:
                self.refused[t] += 1
                time.sleep(0.005)

    @contextlib.contextmanager
    def on(self, agent, patient=False):
        """Pushes meanwhile. Who is patient goes on where a connection breaks."""
        self.stop.clear()
        self.answers, self.refused = {}, [0] * THREADS
        threads = [threading.Thread(target=self.thread, args=(agent, t, patient)) for t in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def look(self, agent, what, least=None):
        """Each thread's samples are there without a gap, at least so many; answers how many."""
        answer = {(labels["f"], int(labels["t"])): value for labels, value in agent.query(FOUND)}
        found = [int(answer.get(("count", t), 0)) for t in range(THREADS)]
        for t, n in enumerate(found):
            wanted = (least or self.acked)[t]
            if n < wanted:
                raise Broken(f"{what}: thread {t}: {n} samples came back of {wanted} that must")
            if n > self.sent[t]:
                raise Broken(f"{what}: thread {t}: {n} samples came back, {self.sent[t]} were sent")
            if n and (answer["max", t] != n - 1 or answer["sum", t] != n * (n - 1) / 2):
                raise Broken(f"{what}: thread {t}: {n} samples came back, not the first ones")
        return found

    def verify(self, agent, what, least=None):
        """The same once it is opened again; goes on behind what came back. Answers how many of the acknowledged did not,
        which is none where no less was asked for."""
        found = self.look(agent, what, least)
        lost = sum(max(acked - n, 0) for acked, n in zip(self.acked, found))
        self.acked, self.sent = list(found), list(found)
        return lost

    def progress(self, samples, most=DEADLINE):
        """Waits until so many samples more were acknowledged."""
        want = sum(self.acked) + samples
        return wait(lambda: sum(self.acked) >= want, most)

    def refusals(self, each, most=DEADLINE):
        """Waits until each thread was refused so many times more: what it was told before, it has noted then."""
        want = [refused + each for refused in self.refused]
        return wait(lambda: all(now >= then for now, then in zip(self.refused, want)), most)


def wait(until, most=DEADLINE):
    """Waits until it is so; answers whether it is."""
    end = time.monotonic() + most
    while not until():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


class Stir:
    """A thread that deletes, flushes and compacts, which makes the rarer system calls; what was flushed for certain."""

    def __init__(self, agent, load, pause=0.0):
        self.agent, self.load, self.pause = agent, load, pause
        # What was there when it was opened lies in files.
        self.kept = list(load.acked)
        self.flushes = 0
        self.answers = {}

    def run(self, stop):
        while not stop.is_set():
            acked = list(self.load.acked)
            try:
                status, _ = self.agent.compact()
                if status == 200:
                    self.kept, self.flushes = acked, self.flushes + 1
                self.note("compact", status)
                self.note("delete", self.agent.delete('n{t="nobody"}')[0])
            except (OSError, http.client.HTTPException) as error:
                self.note("", type(error).__name__)
            stop.wait(self.pause)

    def note(self, what, status):
        key = f"{what} {status}".strip()
        self.answers[key] = self.answers.get(key, 0) + 1

    @contextlib.contextmanager
    def on(self):
        stop = threading.Event()
        thread = threading.Thread(target=self.run, args=(stop,))
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
