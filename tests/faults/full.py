"""A small disk runs full, is deleted from, opened again, and freed."""

import contextlib
import os
import subprocess
import sys

from faults import Broken, not_here
from faults.agent import Agent, folder
from faults.load import Load

# Set where we run in namespaces of our own.
INSIDE = "TIDEGAUGE_FAULTS_INSIDE"


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
            raise Broken(f"delete {n} {where} is answered {status} after {took:.1f} s: {body}")


def full(options, rng):
    """On a file system of its own; where only some may mount, as such a one."""
    with folder() as data:
        os.makedirs(data)
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", data]
        mounted = subprocess.run(mount, capture_output=True, text=True)
        if mounted.returncode == 0:
            try:
                return on(data, options)
            finally:
                subprocess.run(["umount", "-l", data], check=False)
        if not os.environ.get(INSIDE) and subprocess.run(["unshare", "-rm", *mount], capture_output=True).returncode == 0:
            return inside(options)
    return not_here(f"no file system can be mounted: {mounted.stderr.strip().splitlines()[0]}")


def inside(options):
    """The same in namespaces where we are root."""
    command = ["unshare", "-rm", sys.executable, os.path.abspath(sys.argv[0]), "--only", "full"]
    command += ["--binary", options.binary, "--seed", str(options.seed)]
    ran = subprocess.run(command, env={**os.environ, INSIDE: "1"}, capture_output=True, text=True)
    said = [line.removeprefix("full: ") for line in ran.stdout.splitlines() if line.startswith("full: ")]
    if ran.returncode or not said:
        raise Broken(f"in namespaces: {ran.stdout}{ran.stderr}")
    return f"{said[0]}, in a user's own namespaces"


def on(data, options):
    """On the file system that is mounted there."""
    store, ballast = os.path.join(data, "store"), os.path.join(data, "ballast")
    # Something to be freed, whoever fills the rest first.
    with open(ballast, "wb") as file:
        file.write(bytes(6 << 20))
    load = Load()
    agent = Agent(options.binary, store, "interval:20ms")
    with load.on(agent, patient=True):
        if not load.progress(1000):
            raise Broken("nothing is acknowledged")
        fill(ballast)
        if not load.refusals(1):
            raise Broken(f"a full disk is never told: {load.answers}")
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
        if not load.progress(1000):
            raise Broken(f"pushes are not taken again: {load.answers}")
    answers = dict(load.answers)
    agent.kill()
    agent = Agent(options.binary, store, "sync")
    load.verify(agent, "full disk")
    agent.close()
    return f"refused and resumed by itself; answers {answers}"
