"""Defines the exception for errors that a user can correct."""


class UserError(Exception):
    """Reports an error that the user can correct: a path, a flag, a key, a
    file.

        import electra_tf

        try:
            electra_tf.Encoder.from_pretrained("no_such_model")
        except electra_tf.UserError as error:
            print(error)  # no_such_model: no such model directory ...

    The message names the thing, what was expected and what to do. Commands
    print it on one line, without a traceback, and exit with status 2.
    """
