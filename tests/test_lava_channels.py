"""Races in lava-nc's channels: each is forced to happen, hangs the stock code, and does not hang ours."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Runs in a process of its own: mending changes Lava's classes. Prints what became of the waiting side.
PROLOGUE = """
import sys, threading, time
from multiprocessing import Semaphore
import numpy as np
from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSelector, Proto
from lava.magma.compiler.channels.watchdog import NoOPWatchdog
if sys.argv[1] == "mended":
    from export.lava.mended_channels import mend_channels
    mend_channels()

class Memory:
    buf = bytearray(64)

req, ack, quiet = Semaphore(0), Semaphore(0), NoOPWatchdog(None)
port = CspRecvPort("port", Memory(), Proto((1,), np.int64, 8), 4, req, ack, quiet, quiet)

def finish(thread):
    thread.join(3)
    print("hangs" if thread.is_alive() else "goes on")
    sys.stdout.flush()
    import os
    os._exit(0)
"""

LOST_WAKE_UP = """
# A second message arrives while the first is taken: between the port's look at its queue and its put.
port.start()
selector, done = CspSelector(), []
waiter = threading.Thread(target=lambda: selector.select((port, lambda: done.append(port.recv()))), daemon=True)
req.release()
while not port.probe():
    time.sleep(0.01)
put = port._queue.put_nowait

def put_late(item):
    port.recv()          # the consumer takes the first message ...
    waiter.start()       # ... and waits for the next
    time.sleep(0.5)
    put(item)

port._queue.put_nowait = put_late
req.release()
time.sleep(1)
finish(waiter)
"""

OBSERVER_GONE = """
# The selector takes its observer away between the port's look at it and the call.
class Fickle(CspRecvPort):
    looks = 0

    @property
    def observer(self):
        self.looks += 1
        return (lambda: None) if self.looks == 1 else None

    @observer.setter
    def observer(self, value):
        pass

threading.excepthook = lambda args: None
port.__class__ = Fickle
port.start()
req.release()
time.sleep(0.3)
req.release()            # does the port still listen?
waiter = threading.Thread(target=lambda: (port.recv(), port.recv()), daemon=True)
waiter.start()
finish(waiter)
"""

ACTION_WAITS = """
# The chosen action waits for two messages of a port whose thread is about to wake the selector.
port.start()
ready = CspRecvPort("ready", Memory(), Proto((1,), np.int64, 8), 4, Semaphore(0), Semaphore(0), quiet, quiet)
ready.start()
selector = CspSelector()
changed = selector._changed
selector._changed = lambda: (time.sleep(0.5), changed())  # the port's thread is slow on its way to the selector
waiter = threading.Thread(
    target=lambda: selector.select((ready, lambda: (port.recv(), port.recv())), (port, lambda: None)), daemon=True
)
with_first = threading.Thread(target=lambda: (time.sleep(0.2), ready._queue.put_nowait(0), changed()), daemon=True)
selector._set_observer(((port, None),), selector._changed)
req.release()            # its thread now sleeps in the observer
port._queue.get()        # the item itself is taken again: the selector finds only `ready`
with_first.start()
waiter.start()
time.sleep(0.3)
req.release()
req.release()
finish(waiter)
"""


def outcome(which: str, scene: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + scene, which],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("scene", [LOST_WAKE_UP, OBSERVER_GONE, ACTION_WAITS], ids=["lost", "gone", "waits"])
def test_the_race_hangs_stock_lava_and_not_the_mended_channels(scene):
    assert outcome("stock", scene) == "hangs"
    assert outcome("mended", scene) == "goes on"


CHILD = """
import os, sys
from pathlib import Path
from export.lava.child import main
from export.lava.job import Job, write_job
folder = Path(sys.argv[1])
write_job(folder, Job(network=str(folder / "none.net"), steps=1, samples=1, fast=False, sources={}, sinks={}))
status = main(folder)
from lava.magma.compiler.channels.pypychannel import CspRecvPort
print(status, CspRecvPort._req_callback.__module__, flush=True)
os._exit(0)
"""


def test_the_supervised_child_mends_the_channels_before_anything_else(tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    # Its standard input is its life line, and it ends its process group: an open pipe, and a group of its own.
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(job)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        assert child.stdout.readline().strip() == "1 export.lava.mended_channels"
