"""The port that Serve opens in each replica, on loopback where Ray itself is there."""

from __future__ import annotations

import ipaddress
from typing import Any

import ray
from ray.serve._private import replica

_ANY = "[::]"
_add_port = replica.add_port_to_grpc_server


def keep_on_loopback() -> None:
    """The port of this replica for the other deployments is for this machine alone, if its Ray is.

    Serve opens it on every address, asks for no token and unpickles what it is sent: whoever
    reached it could run anything. Called while a replica is constructed: the port is opened after.
    """
    if ipaddress.ip_address(ray.util.get_node_ip_address()).is_loopback:
        replica.add_port_to_grpc_server = _add_port_on_loopback


def _add_port_on_loopback(server: Any, address: str) -> int:
    return int(_add_port(server, address.replace(_ANY, "127.0.0.1")))
