"""Three races in lava-nc 0.10's Python channels that can stop a run for ever, mended.

A port has a thread that moves arrivals into a queue and wakes a selector that waits for one of several ports.

1. The thread asks *before* it puts an arrival whether the queue was empty, and wakes the selector only then. If the last
   item is taken in between, and the selector goes to sleep, it is never woken.
2. The thread tests `observer` and then calls it; the selector may have set it to None in between. The thread dies of a
   TypeError that nobody sees, and with it the port.
3. The selector runs the chosen action under the lock that the thread needs to wake it: an action that waits for two
   arrivals of one port can wait for a thread that waits for the action.

All three show on a busy machine only. What travels is not touched. Upstream is archived, so they are mended here, in the
supervised child, before any channel is made. Shown by tests/test_lava_channels.py.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSelector, CspSendPort


def mend_channels() -> None:
    """Replace the methods with the races, for this process and all that it forks."""
    CspRecvPort._req_callback = _on_arrival
    CspSendPort._ack_callback = _on_room
    CspSelector.__init__ = _make_selector
    CspSelector._changed = _wake
    CspSelector.select = _select


def _on_arrival(port: Any, arrivals: Any) -> None:
    """The thread of a receiving port: count each arrival, then always wake who waits."""
    try:
        while arrivals.acquire() and not port._done:
            port._queue.put_nowait(0)
            _tell(port)
    except EOFError:  # as in Lava: the channel is gone
        return


def _on_room(port: Any, taken: Any) -> None:
    """The thread of a sending port: the other side has taken an item."""
    try:
        while taken.acquire() and not port._done:
            port._semaphore.release()
            _tell(port)
    except EOFError:
        return


def _tell(port: Any) -> None:
    observer = port.observer  # read once: the selector may set it to None at any time
    if observer is not None:
        observer()


def _make_selector(selector: Any) -> None:
    selector._event = Event()


def _wake(selector: Any) -> None:
    selector._event.set()


def _select(selector: Any, *channel_actions: tuple[Any, Callable[[], Any]]) -> Any:
    """Wait for any channel to become ready, then run its action and return the result.

    What arrives after `clear` sets the event again, what arrived before it is seen by `probe`: nothing is missed.
    """
    selector._set_observer(channel_actions, selector._changed)
    while True:
        selector._event.clear()
        for channel, action in channel_actions:
            if channel.probe():
                selector._set_observer(channel_actions, None)
                return action()
        selector._event.wait()
