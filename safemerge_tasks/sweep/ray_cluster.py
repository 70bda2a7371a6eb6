"""Joining a Ray cluster."""

import os
import socket
from typing import Any

from safemerge_tasks.common.errors import SafemergeError, one_line

_REACHED_WITHIN = 10.0
"""Seconds."""


def join(address: str) -> Any:
    """Connect to a cluster and return the module `ray`.

    Args:
        address: of the cluster; `auto` finds a running one.

    Raises:
        SafemergeError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise SafemergeError(
            "Ray is not installed; run `pip install safemerge[ray]`, or leave --ray out."
        ) from error
    try:
        address = resolved(address)
        _reach(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError) as error:
        raise SafemergeError(
            f"There is no Ray cluster at {address} ({type(error).__name__}); start one with "
            "`ray start --head`, or give --ray-address."
        ) from error
    except RuntimeError as error:
        raise SafemergeError(
            f"The Ray cluster at {address} cannot be used: {one_line(error, 300)}"
        ) from error
    return ray


def resolved(address: str) -> str:
    """Return the address that Ray would connect to.

    Raises:
        ConnectionError: it finds none.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if "://" in address:
        return address
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError:
        # Ray does not promise to keep this function; only the quick answer is lost with it.
        return address
    return canonicalize_bootstrap_address(address) or address


def _reach(address: str) -> None:
    """Connect once, for Ray would try a cluster that is gone for a quarter of an hour.

    Raises:
        OSError: nobody listens there.
    """
    host, separator, port = address.rpartition(":")
    if "://" in address or not separator:
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_WITHIN):
        pass
