"""The process is stopped and goes on."""

import signal
import time

from faults import Broken
from faults.agent import Agent, folder
from faults.load import Load


def stop(options, rng):
    """Three times, then it is killed while it is stopped."""
    with folder() as data:
        load = Load()
        agent = Agent(options.binary, data, "sync")
        with load.on(agent):
            for _ in range(3):
                if not load.progress(500):
                    raise Broken("nothing is acknowledged after SIGCONT")
                agent.process.send_signal(signal.SIGSTOP)
                time.sleep(rng.random() * 0.5)
                agent.process.send_signal(signal.SIGCONT)
            if not load.progress(500):
                raise Broken("nothing is acknowledged after SIGCONT")
            agent.process.send_signal(signal.SIGSTOP)
            agent.kill()
        agent = Agent(options.binary, data, "sync")
        load.verify(agent, "SIGSTOP")
        agent.close()
        return f"three times, then killed; {sum(load.acked)} samples"
