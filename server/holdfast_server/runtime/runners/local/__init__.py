"""Runs actors in this process: the one package that knows the SDK's classes.

A runner makes instances; an instance is one live actor; a host is what `c` does
for one call; a transport is `c.client`'s way to other actors of this process;
`current_fields` tells a log which actor's code runs.
"""

from holdfast_server.runtime.runners.local.logs import current_fields
from holdfast_server.runtime.runners.local.runner import LocalRunner

__all__ = ["LocalRunner", "current_fields"]
