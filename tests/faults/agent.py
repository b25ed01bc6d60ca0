"""A running agent, and what is asked of it."""

import collections
import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse

from faults import DEADLINE, Broken

# Timestamps of the samples, in milliseconds: sample i lies i behind this.
BASE_MS = 1_600_000_000_000


class Agent:
    """A running agent on a free port."""

    started = []
    hangs = False

    def __init__(self, binary, data, durability, wrap=(), files=None, check=True):
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        command = [*wrap, binary, "serve", "--data-dir", data, "--listen", "127.0.0.1:0"]
        command += ["--durability", durability, "--no-host-metrics", "--enable-admin-api"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=limit, start_new_session=True,
        )
        Agent.started.append(self)
        # The last lines of what it says.
        self.errors = collections.deque(maxlen=50)
        self.reader = threading.Thread(target=self.errors.extend, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        late = threading.Timer(DEADLINE, self.give_up)
        late.start()
        line = self.process.stdout.readline()
        late.cancel()
        self.address = line.split("http://")[1].split()[0].rstrip("/") if "http://" in line else None
        if self.address is None:
            self.code = self.process.wait(DEADLINE)
            self.look_for_panics()
            self.said = "".join(self.errors)
            if self.hangs:
                raise Broken(f"says nothing for {DEADLINE} s: {self.said}")
            if check:
                raise Broken(f"does not start: {self.code}: {line}{self.said}")
        else:
            # Nobody waits for a full pipe.
            threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()

    def give_up(self):
        """It neither serves nor ends."""
        self.hangs = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def look_for_panics(self):
        """Once it has ended. A panic poisons, and so looks like an honest refusal."""
        self.reader.join(DEADLINE)
        if any("panicked" in line for line in self.errors):
            raise Broken("".join(self.errors))

    def lives(self):
        return self.process.poll() is None

    def was_killed(self):
        """Itself, or strace around it tells so."""
        return self.process.poll() in (-signal.SIGKILL, 128 + signal.SIGKILL)

    def connection(self, timeout=DEADLINE):
        return http.client.HTTPConnection(self.address, timeout=timeout)

    def query(self, expr):
        """The labels and the value of each series."""
        connection = self.connection()
        at = (BASE_MS + 200_000_000) / 1000
        connection.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": expr, "time": at}))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise Broken(f"a query is answered {answer.status}: {body[:300]}")
        return [(one["metric"], float(one["value"][1])) for one in json.loads(body)["data"]["result"]]

    def rooms_made(self):
        """How often it could take no connection, and ended the one that was idle for longest; 0 if it does not say."""
        connection = self.connection()
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/metrics")
            name = "tidegauge_http_made_room_total "
            lines = connection.getresponse().read().decode().splitlines()
            return next((int(float(line.removeprefix(name))) for line in lines if line.startswith(name)), 0)
        return 0

    def open_files(self):
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return 0

    def post(self, path):
        """An administrative request; answers the status and what it says."""
        connection = self.connection()
        try:
            connection.request("POST", f"/api/v1/admin/{path}")
            answer = connection.getresponse()
            return answer.status, answer.read()[:300]
        finally:
            connection.close()

    def compact(self):
        """Flushes, and merges what there is."""
        return self.post("tidegauge/compact")

    def delete(self, selector):
        """Deletes all of it; answers how long that took, too."""
        begun = time.monotonic()
        status, said = self.post("tsdb/delete_series?" + urllib.parse.urlencode({"match[]": selector}))
        return status, time.monotonic() - begun, said

    def kill(self, how=signal.SIGKILL):
        # Its group: under strace both.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        self.process.wait(DEADLINE)
        self.look_for_panics()

    def close(self):
        """An orderly end."""
        self.process.terminate()
        code = self.process.wait(DEADLINE)
        self.look_for_panics()
        if code != 0:
            raise Broken(f"SIGTERM ends it with {code}")

    @classmethod
    def end_all(cls):
        """Whatever became of a fault, nothing of it runs on."""
        for agent in cls.started:
            if agent.lives():
                with contextlib.suppress(Broken):
                    agent.kill()
        cls.started.clear()


@contextlib.contextmanager
def folder():
    """Where a store may lie; gone afterwards."""
    dir = tempfile.mkdtemp(prefix="tidegauge-faults-", dir=".")
    try:
        yield os.path.join(dir, "data")
    finally:
        shutil.rmtree(dir, ignore_errors=True)
