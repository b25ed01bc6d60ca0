"""Few files may be open, and others take them all."""

import contextlib
import socket
import time

from faults import Broken
from faults.agent import Agent, folder
from faults.load import Load, Stir, wait

# So many an agent asks for.
LEAST = 32


def files(options, rng):
    """Too few are refused; with as many as are asked for it works, and goes on once they are given back."""
    for few in (9, 13, 17, LEAST - 1):
        with folder() as data:
            agent = Agent(options.binary, data, "interval:20ms", files=few, check=False)
            if agent.address or agent.code != 1 or "ulimit -n" not in agent.said:
                raise Broken(f"ulimit -n {few}: {'it starts' if agent.address else agent.said}")
    with folder() as data:
        load = Load()
        agent = Agent(options.binary, data, "interval:20ms", files=LEAST)
        with load.on(agent, patient=True), Stir(agent, load).on() as stir:
            if not load.progress(5000) or not wait(lambda: stir.flushes):
                raise Broken(f"ulimit -n {LEAST}: {load.answers} {stir.answers}")
        agent.kill()
        agent = Agent(options.binary, data, "interval:20ms", files=64)
        load.verify(agent, f"ulimit -n {LEAST}")
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
        return f"{LEAST} are enough; 64 files, 100 idle connections: goes on"
