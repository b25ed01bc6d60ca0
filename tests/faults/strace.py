"""strace at a running agent, or around one that begins: what has system calls fail."""

import contextlib
import os
import re
import shutil
import subprocess

from faults import DEADLINE, Broken
from faults.load import wait

# A call may have another name on another machine; what stands behind `?` need not be there.
NAMES = {"rename": "?rename,?renameat,?renameat2", "unlink": "?unlink,?unlinkat"}
STRUCK = re.compile(r"(\w+)\((.*)\(INJECTED\)")


def command(into, *injections):
    """What lets calls fail; each is (call, how). Each thread is written about in a file of its own: no line is torn."""
    names = [NAMES.get(call, call) for call, _ in injections]
    options = ["-ff", "-y", "-qq", "-o", os.path.join(into, "trace"), "-e", f"trace={','.join(names)}", "-e", "signal=none"]
    for name, (_, how) in zip(names, injections):
        options += ["-e", f"inject={name}:{how}"]
    return ["strace", *options]


def why_not():
    """Why this machine does not permit it; nothing if it does."""
    if not shutil.which("strace"):
        return "strace is not there"
    # A child of ours is not one of strace's, and neither is the agent.
    asleep = subprocess.Popen(["sleep", str(DEADLINE)], stdin=subprocess.DEVNULL)
    strace = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(asleep.pid)], stderr=subprocess.PIPE, text=True)
    try:
        wait(lambda: strace.poll() is not None or tracer_of(asleep.pid) == strace.pid)
        return f"strace may not: {strace.stderr.read().strip()}" if strace.poll() is not None else None
    finally:
        asleep.kill()
        asleep.wait()
        strace.kill()
        strace.communicate()


def tracer_of(pid, task=None):
    """Who traces a thread; 0 if nobody does, or it is gone."""
    try:
        with open(f"/proc/{pid}/task/{task or pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("TracerPid:"))
    except (OSError, StopIteration):
        return 0


def struck_in(into, call):
    """The arguments of the calls that an error struck; a descriptor stands with its path."""
    names, found = NAMES.get(call, call).replace("?", "").split(","), []
    for name in os.listdir(into):
        with open(os.path.join(into, name), errors="replace") as lines:
            matches = [match for line in lines if (match := STRUCK.search(line))]
            found += [arguments for name, arguments in (match.groups() for match in matches) if name in names]
    return found


@contextlib.contextmanager
def at(agent, into, *injections):
    """strace at all threads of a running agent."""
    attach = [*command(into, *injections), "-p", str(agent.process.pid)]
    strace = subprocess.Popen(attach, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def attached():
        pid = agent.process.pid
        with contextlib.suppress(OSError):
            return all(tracer_of(pid, task) == strace.pid for task in os.listdir(f"/proc/{pid}/task"))
        return True

    try:
        # It may strike, and end the agent, as soon as it is there.
        wait(lambda: strace.poll() is not None or not agent.lives() or attached())
        if strace.poll() is not None and agent.lives():
            raise Broken(f"strace ends by itself: {strace.stderr.read()}")
        yield
    finally:
        # The agent goes on without it.
        strace.terminate()
        strace.communicate()
