"""The one exception that is written for the person at the keyboard."""


class UserError(Exception):
    """Reports something to mend: a path, a flag, a key, a damaged file.

        import electra_tf

        try:
            electra_tf.Encoder.from_pretrained("no_such_model")
        except electra_tf.UserError as error:
            print(error)  # no_such_model: no such model directory ...

    The message names the thing, what was expected and what to do. Commands
    print it on one line, without a traceback, and exit with status 2.
    """
