"""The errors that Footfall raises on purpose.

* FootfallError
  x TransientError         retrying may help: it rises to the trigger's retry policy
    + StateUnavailable       the state table could not be read or written
    + LakeUnavailable        the lake's storage did not answer
      - LakeConflict           another writer of the same table was faster: look again, and do it again
    + HubUnavailable         an event hub did not answer
    + ReferenceUnavailable   the reference data could not be looked up
  x ConfigurationError     nothing helps but another setting or another deployment
  x ReferenceRefused       stores or promotions with faults: carries all of them, by line
  x RequestRefused         a request over HTTP asks for what is not valid or not allowed
  x SqlBusy                as many queries of analysts as may run at once are running: ask again in seconds
  x CaptureFileUnreadable  a capture file that is not Avro, or is cut short: poison, not a retry
  x ReplayRefused          a replay cannot give what is asked for; says why, and what would be possible
  x CaptureFileTooOld      a capture file so old that nothing can tell whether silver has it: poison as well

A ping that cannot be used is no exception: it is a value with a reason (`shared.domain.pings`), and goes to quarantine.
"""

from collections.abc import Sequence


class FootfallError(Exception):
    """Base of every error that this app raises on purpose."""


class TransientError(FootfallError):
    """The same work may succeed later; raise it, and let the retry policy of the trigger wait."""


class StateUnavailable(TransientError):
    """The state table could not be read or written."""


class LakeUnavailable(TransientError):
    """The storage of the lake did not answer."""


class LakeConflict(LakeUnavailable):
    """Another writer committed to the same table first; the same work on the table's new state may succeed."""


class HubUnavailable(TransientError):
    """An event hub did not answer."""


class ReferenceUnavailable(TransientError):
    """The catalogue of reference data could not be read."""


class ConfigurationError(FootfallError):
    """A setting is missing, malformed or contradicts another one; the message names it and what would be valid."""


class ReferenceRefused(FootfallError):
    """Stores or promotions have faults; the last good version stays in force."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        counted = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{counted} in the reference data:\n" + "\n".join(self.faults))


class RequestRefused(FootfallError):
    """A request over HTTP cannot be served as it is; the message names what would be valid."""


class SqlBusy(FootfallError):
    """As many queries of analysts as may run at once are running; the same request may succeed in seconds."""


class ReplayRefused(FootfallError):
    """A replay cannot give what is asked for; the message says why, and what would be possible."""


class CaptureFileUnreadable(FootfallError):
    """A capture file is not Avro, has a foreign schema or ends too early; the message says where."""


class CaptureFileTooOld(FootfallError):
    """A capture file is older than the lake remembers commits; nothing can tell whether its rows are there already."""
