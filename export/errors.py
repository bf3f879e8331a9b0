"""Every error that a user can cause hangs on this tree.

NeurosegError
  UsageError              wrong flags, wrong config, a path that cannot be used        exit 2
  TraceError              a module or operation that the compiler cannot express       exit 1
  CertificateError        a layer that is not spike-only                               exit 1
  QuantizeError           a value that the chip's number formats cannot hold           exit 1
  GrammarError            a graph that breaks the rules of its stage                   exit 1
  FileFormatError         a truncated, foreign or inconsistent file                    exit 1
  DataError               images, masks or data sets that do not fit                   exit 1
    MissingData           a data set that is not on this machine                       exit 1
  RuntimeFailure          the Lava run failed, was killed or missed its deadline       exit 1
  MissingBackend          a backend that is not installed here                         exit 1
"""


class NeurosegError(Exception):
    """Base of all errors shown to users: one plain message that names the thing, the limit and the fix."""

    exit_code = 1


class UsageError(NeurosegError):
    """Wrong flags, a wrong config, or a path that cannot be used."""

    exit_code = 2


class TraceError(NeurosegError):
    """A module or operation that the compiler cannot express."""


class CertificateError(NeurosegError):
    """A layer that is not spike-only."""


class QuantizeError(NeurosegError):
    """A value that the chip's number formats cannot hold."""


class GrammarError(NeurosegError):
    """A graph that breaks the rules of its stage."""


class FileFormatError(NeurosegError):
    """A truncated, foreign or inconsistent file."""


class DataError(NeurosegError):
    """Images, masks or data sets that do not fit."""


class MissingData(DataError):
    """A data set that is not on this machine."""


class RuntimeFailure(NeurosegError):
    """The Lava run failed, was killed or missed its deadline."""


class MissingBackend(NeurosegError):
    """A backend that is not installed here."""
