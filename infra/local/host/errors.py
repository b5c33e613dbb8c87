"""The errors of the local Functions host.

* HostError(FootfallError)
  x AppRefused          the app would not run on Azure, or needs what this host has not: exit code 3
  x PortTaken           the HTTP port is in use: exit code 2
  x OutputFailed        an output binding could not be published: the invocation fails
  x InputFailed         an argument could not be made from the event: the invocation fails before the function is called
"""

from shared.errors import FootfallError


class HostError(FootfallError):
    """Base of the host's own errors."""


class AppRefused(HostError):
    """The app cannot be run as it stands; the message says what is wrong, `detail` is the engine's traceback."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class PortTaken(HostError):
    """Something else listens on the port; the message names it and the option that moves this host."""


class OutputFailed(HostError):
    """What the function returned could not be published; on Azure this fails the invocation as well."""


class InputFailed(HostError):
    """The host itself cannot make the function's argument from what came; Azure fails this invocation likewise."""
