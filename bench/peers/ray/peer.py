"""Ray's actors: one process each, and their state in memory alone."""

from __future__ import annotations

import shutil
import tempfile

from bench.load.driver import Lines
from bench.peers.subject import Place, Subject, Way, built
from bench.servers import ROOT

# Each is a process; more of them are no faster on a machine of few cores.
ACTORS = 4
# Ray takes another address of the machine than loopback unless it is told that it is alone.
_ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


def start(place: Place) -> Subject:
    python = built("ray") / ".venv" / "bin" / "python"
    servers = place.group("server")
    # Its sockets are files, whose paths may have but 107 bytes.
    directory = tempfile.mkdtemp(prefix="bench-ray-")
    place.stack.callback(shutil.rmtree, directory, ignore_errors=True)
    # Ended before its directory goes.
    place.stack.callback(servers.stop)
    script = str(ROOT / "bench" / "peers" / "ray" / "driver.py")
    driver = Lines(servers, [str(python), script, directory, str(ACTORS)], ROOT, **_ENV)
    subject = Subject("Ray 2.60.0", "no: in memory", servers, load_pid=driver.pid)
    subject.ways = [Way("Python client", driver)]
    return subject
