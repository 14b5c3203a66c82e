"""The deterministic test kit: prove that cancelling a Trio program anywhere leaves nothing behind.

`cancel_everywhere` runs a scenario once for every point at which it could be cancelled, and cancels it
exactly there.  `assert_quiescent` names what a block has left.  The wires are in-memory connections
that misbehave on command.  The scripted peer speaks the server's half of a provider's protocol over
one of them, with a script that reads like the conversation.  README.md beside this file shows how.
"""

from __future__ import annotations
