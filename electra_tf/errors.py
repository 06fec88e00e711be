"""The one exception that is written for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: a path, a flag, a key, a damaged file.

    The message names the thing, what was expected and what to do. Commands
    print it on one line, without a traceback, and exit with status 2.
    """
