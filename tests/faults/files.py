"""Few files may be open, and others take them all."""

import contextlib
import socket

from faults import Broken
from faults.agent import Agent, folder
from faults.load import Load, Stir, wait

# So many an agent asks for.
LEAST = 32
# Fewer than there are clients.
FEW, CLIENTS = 64, 100


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
        agent = Agent(options.binary, data, "interval:20ms", files=FEW)
        load.verify(agent, f"ulimit -n {LEAST}")
        host, port = agent.address.rsplit(":", 1)
        with load.on(agent, patient=True):
            if not load.progress(500):
                raise Broken("nothing is acknowledged")
            idle = []
            for _ in range(CLIENTS):
                with contextlib.suppress(OSError):
                    idle.append(socket.create_connection((host, int(port)), timeout=5))
            # While they hold on: one of them was taken leave of, since there was no file for the next.
            hit = wait(lambda: not agent.lives() or agent.rooms_made())
            if not agent.lives():
                raise Broken("it ends when it may open no more files")
            if not hit:
                raise Broken(f"{len(idle)} clients hold on, and {FEW} files are enough for them: {agent.open_files()}")
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
            raise Broken(f"ulimit -n {FEW}: stopped writing: {load.answers}")
        return f"{LEAST} are enough; {FEW} files, {CLIENTS} idle connections: all are taken, goes on"
