"""The one exception of the package, and a signal's."""


class CecliError(ValueError):
    """Something given to cecli cannot be used.

    Its text is one line: what is wrong, where, and what would be right. The command line
    prints it as it is and exits with status 2.
    """


class Terminated(BaseException):
    """SIGTERM or SIGHUP, raised so that what was begun is cleaned up before the process ends by it.

    Its one argument is the signal's number.
    """
