"""The one error of this package."""

from __future__ import annotations


class HardwareConfigError(ValueError):
    """A hardware config that is unknown, unreadable or wrong: the message names the file, the key and the fix.

    A ValueError of its own, since this package depends on no other of ours; the CLI shows it as it stands.
    """
