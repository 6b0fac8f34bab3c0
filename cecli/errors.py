"""The one exception of the package, and a signal's."""

from __future__ import annotations

from typing import Literal

About = Literal["logits", "target", "soft_target", "weight", "sample_weight", "grad", "loss"]


class CecliError(ValueError):
    """Something given to cecli cannot be used.

    Its text is one line: what is wrong, where, and what would be right. The command line
    prints it as it is and exits with status 2.

    about: whose numbers are wrong, for whoever knows which file these stand in; None where it is
    not about numbers, or the text names the file already.
    """

    def __init__(self, text: str = "", *, about: About | None = None) -> None:
        super().__init__(text)
        self.about = about


class Terminated(BaseException):
    """A signal other than SIGINT, raised so that what was begun is cleaned up before it ends all.

    Its one argument is the signal's number.
    """
