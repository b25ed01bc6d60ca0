"""Few files may be open, and others take them all."""

import contextlib
import socket
import time

from faults import Broken
from faults.agent import Agent, folder
from faults.load import Load


def files(options, rng):
    """Too few are refused; with some more an agent goes on once they are given back."""
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
            if not load.progress(500):
                raise Broken("nothing is acknowledged")
            idle = []
            for _ in range(100):
                with contextlib.suppress(OSError):
                    idle.append(socket.create_connection((host, int(port)), timeout=5))
            time.sleep(0.5)
            if not agent.lives():
                raise Broken("it ends when it may open no more files")
            for one in idle:
                one.close()
            resumed = load.progress(500)
        if not agent.lives():
            raise Broken("it ended")
        agent.kill()
        agent = Agent(options.binary, data, "sync")
        load.verify(agent, "ulimit -n")
        agent.close()
        if not resumed:
            raise Broken(f"ulimit -n 64: stopped writing: {load.answers}")
        return "64 files, 100 idle connections: goes on"
