"""Why something cannot be done in this project, or with its running site."""


class Unfit(ValueError):
    """This project cannot be swept as it was asked for; the text says why and what to do."""


class Unreachable(Exception):
    """The site does not answer, what answers is not this site, or this project does not tell of its pools."""
