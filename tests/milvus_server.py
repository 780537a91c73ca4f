"""A Milvus server of its own, from the package `milvus`, in a folder; it ends when the program that started it does.

python milvus_server.py FOLDER     prints its port, and goes on until its input ends
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# Milliseconds: until the next one comes reads of strong consistency wait, and what is loaded is not seen to be.
QUICK = (("proxy.timeTickInterval", 20), ("queryCoord.checkInterval", 100), ("queryCoord.distPullInterval", 100))


def start(folder: Path, *, token: bool = False, is_quick: bool = False) -> tuple[subprocess.Popen[str], int]:
    """Start a server; return what to close the input of, and its port.

    Args:
        token: whether it lets in who has one only, root:Milvus.
        is_quick: with other settings than the package's, so that tests wait less.
    """
    command = [sys.executable, __file__, str(folder), *["token"] * token, *["quick"] * is_quick]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.strip().isdecimal(), f"no server: {line}{process.stdout.read()}"
    return process, int(line)


def stop(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)


def serve(folder: Path, *, token: bool, is_quick: bool) -> None:
    import milvus

    options = {"data_dir": str(folder), "template": str(_template(folder, Path(milvus.__file__).parent / "data"))}
    config = milvus.MilvusServerConfig(**options)
    config.glog_conf_file = str(Path(milvus.__file__).parent / "data" / "glog.conf")
    config.set("authorization_enabled", token)
    if is_quick:
        for setting in QUICK:
            config.set(*setting)
    server = milvus.MilvusServer(config)

    def end_with_who_started_it() -> None:
        sys.stdin.read()
        server.stop()
        os._exit(0)

    watcher = threading.Thread(target=end_with_who_started_it)
    watcher.start()
    # Its ports are free when they are looked for: of two that start at one time, each must have taken its own.
    with (Path(tempfile.gettempdir()) / "c3dhash-tests-milvus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _choose_etcd_ports(folder)
        server.start()
    print(server.listen_port, flush=True)
    watcher.join()


def _template(folder: Path, data: Path) -> Path:
    """Write the package's settings, but for etcd, which would listen on the same two ports in each server."""
    line = "  rootPath: by-dev # The root path where data is stored in etcd\n"
    text = (data / "config.yaml.template").read_text()
    assert line in text
    path = folder / "config.yaml.template"
    path.write_text(text.replace(line, f"{line}  config:\n    path: {folder / 'etcd.yaml'}\n", 1))
    return path


def _choose_etcd_ports(folder: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        client, peer = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (one, other))
    (folder / "etcd.yaml").write_text(
        f"name: default\ndata-dir: {folder / 'etcd'}\nlisten-client-urls: {client}\nadvertise-client-urls: {client}\n"
        f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
        f"log-level: error\nlog-outputs: [{folder / 'etcd.log'}]\n"
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]), token="token" in sys.argv[2:], is_quick="quick" in sys.argv[2:])
