"""One machine's model server, with TensorFlow Serving's REST interface."""
