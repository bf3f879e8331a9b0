"""Ctrl-C for processes that tests start."""

import signal


def heed_interrupts() -> None:
    """For `preexec_fn`: what a shell starts in the background ignores Ctrl-C, and would hand that down to the child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
