"""A process that writes sessions until it is killed, again and again.

It reads one request a line: the file, the session, the size of snapshots, the batches.  For each it
forks a child, which writes the batches and says after each that it is durable, while this process
waits for the child's end.  Importing once and forking is what makes hundreds of deaths cheap;
nothing is open in the process that forks.
"""

from __future__ import annotations

import base64
import os
import pickle
import signal
import sys
import traceback
from pathlib import Path

from meerkat_rt.storage.journal import open_journal
from meerkat_rt.storage.schema import StoreOptions


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def write(path, session_id, snapshot_bytes, batches):
    options = StoreOptions(sync=False, snapshot_bytes=snapshot_bytes)
    say("pid", os.getpid())
    writer = open_journal(Path(path), session_id, options=options)
    say("open", len(writer.restored.messages))
    for number, batch in batches:
        writer.commit(batch)
        say("durable", number)
    say("end")
    signal.pause()


def main():
    for line in sys.stdin:
        request = pickle.loads(base64.b64decode(line))
        pid = os.fork()
        if not pid:
            try:
                write(*request)
            except BaseException:
                say("failed")
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        say("dead", os.WTERMSIG(status) if os.WIFSIGNALED(status) else "by itself")


if __name__ == "__main__":
    main()
