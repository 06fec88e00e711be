"""Guards a server against browsers, by hosts and origins.

Any page on the web can make its reader's browser send requests to a server on
the reader's machine: by a name that the page's owner points to 127.0.0.1 (DNS
rebinding), or by a POST that needs no permission. So a server on a loopback
address only accepts the machine's own names and addresses, and no server
accepts a page of another origin unless it is allowed. Programs other than
browsers send no Origin and are not affected.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from electra_tf.errors import UserError
from electra_tf.serving.server.limits import RequestError, invalid

_LOCAL = ("localhost",)
_ANY = "*"
# Response to a preflight request: methods and headers of the REST API.
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Content-Encoding",
    "Access-Control-Max-Age": "600",
}


class Browsers:
    """Decides which requests of browsers are allowed.

    Args:
      host: the address that the server listens on.
      allowed_hosts: names that clients may use for the server; "*" is any. By
        default any for a server that other machines can reach, and local names
        and addresses for one that they cannot.
      cors_origins: origins of pages, as `https://app.example`, that may send
        requests; "*" is any.

    Raises:
      UserError: a host has a port or scheme, or an origin has no scheme.
    """

    def __init__(
        self,
        host: str,
        allowed_hosts: Sequence[str] = (),
        cors_origins: Sequence[str] = (),
    ) -> None:
        for name in allowed_hosts:
            if name != _ANY and not _is_host(name):
                raise UserError(
                    f"--allowed_hosts: expected a host's name or address, "
                    f"without a port, got '{name}'"
                )
        for origin in cors_origins:
            if origin != _ANY and not _is_origin(origin):
                raise UserError(
                    "--cors_origins: expected an origin such as "
                    f"https://app.example, got '{origin}'"
                )
        self._hosts = {*map(_bare, allowed_hosts), *_LOCAL, _bare(host)}
        if not allowed_hosts and not _is_loopback(host):
            self._hosts.add(_ANY)
        self._origins = {origin.lower() for origin in cors_origins}

    def check(self, method: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Refuses requests that a browser must not send.

        Args:
          method: HTTP method.
          headers: headers of the request, by lower-case names.

        Returns:
          Headers for the response, for pages of allowed origins.

        Raises:
          RequestError: 403, the host or the origin is not allowed.
        """
        host = headers.get("host", "")
        if host and not self._knows(_name(host)):
            raise _refused(
                f"This server does not answer to the name {host[:100]}; "
                "start it with --allowed_hosts to add names"
            )
        origin = headers.get("origin", "").lower()
        if not origin:
            # Browsers that send no Origin still send the request's site.
            if headers.get("sec-fetch-site", "") in ("cross-site", "same-site"):
                if method not in ("GET", "HEAD"):
                    raise _refused(
                        "Requests from pages of other sites are refused"
                    )
            return {}
        if _ANY in self._origins or origin in self._origins:
            allowed = _ANY if _ANY in self._origins else headers["origin"]
            found = {"Access-Control-Allow-Origin": allowed, "Vary": "Origin"}
            return {**found, **_PREFLIGHT} if method == "OPTIONS" else found
        if host and origin.partition("://")[2] == host.lower():
            return {}
        if method in ("GET", "HEAD"):
            return {}  # the browser hides the response from the page
        raise _refused(
            f"Requests from pages of {origin[:100]} are refused; start the "
            "server with --cors_origins to allow an origin"
        )

    def _knows(self, name: str) -> bool:
        return name in self._hosts or _ANY in self._hosts or _is_address(name)


def target_path(target: str) -> tuple[str, str | None]:
    """Returns the path of a request's target, and its host if absolute.

    `GET http://host:8501/v1/models HTTP/1.1` means the same as a target of
    `/v1/models` (RFC 9112, 3.2.2); its host replaces the header's.

    Raises:
      RequestError: 400, the target is of another kind.
    """
    if target.startswith("/") or target == "*":
        return target, None
    parts = _split(target)
    if (
        parts is None
        or parts.scheme.lower() not in ("http", "https")
        or not parts.netloc
    ):
        raise invalid(f"Malformed request target: {target[:200]}")
    return parts.path or "/", parts.netloc


def _split(url: str) -> SplitResult | None:
    """Splits an address; returns None for one that is malformed."""
    try:
        found = urlsplit(url)
        found.port  # noqa: B018 - raises, too
    except ValueError:
        return None
    return found


def _is_host(name: str) -> bool:
    """Returns whether a Host header without its port may have this name."""
    if ":" in name:
        return _is_address(_bare(name))
    return bool(name) and not set(name) & set("/ ,*[]")


def _is_origin(origin: str) -> bool:
    """Returns whether a browser may send this as its page's origin."""
    parts = _split(origin)
    return (
        parts is not None
        and "*" not in origin
        and bool(parts.scheme and parts.hostname)
        and parts.username is None
        and not (parts.path or parts.query or parts.fragment)
    )


def _refused(message: str) -> RequestError:
    return RequestError(HTTPStatus.FORBIDDEN, message)


def _name(host: str) -> str:
    """Returns the name or address in a Host header, without port."""
    if host.startswith("["):
        return _bare(host.partition("]")[0])
    return _bare(host.rpartition(":")[0] if ":" in host else host)


def _bare(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    if _bare(host) in _LOCAL:
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
