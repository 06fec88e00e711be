"""What a client asks of a server, over one protocol or another."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from electra_tf.errors import UserError

Value = str | bytes | int | float | bool | Sequence[Any] | Mapping[str, Any]
Rows = Sequence[Value]
Columns = Mapping[str, Sequence[Any]]


class ServingError(UserError):
    """The server refused, failed or could not be reached.

    Attributes:
      status: of HTTP; None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Api(Protocol):
    """A server's interface, over one protocol or another."""

    def predict(
        self,
        model: str,
        version: int | None,
        signature: str | None,
        data: Rows | Columns,
    ) -> Any:
        """Answers by row to rows, by column to columns."""

    def models(self) -> list[dict[str, Any]] | None:
        """Name, version and description of each; None if it does not tell."""

    def status(self, model: str, version: int | None) -> list[dict[str, Any]]:
        """The versions of a model, each with its state."""

    def metadata(self, model: str, version: int | None) -> dict[str, Any]:
        """The signatures, in the form of the REST interface."""

    def close(self) -> None:
        """Ends the connections."""
