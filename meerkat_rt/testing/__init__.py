"""The deterministic test kit: prove that cancelling a Trio program anywhere leaves nothing behind.

`cancel_everywhere` runs a scenario once for every point at which it could be cancelled, and cancels
it exactly there.  `assert_quiescent` names what a block has left.  The wires are in-memory
connections that misbehave on command.  The scripted peer speaks the server's half of a provider's
protocol over one of them, with a script that reads like the conversation.  README.md beside this
file shows how.
"""

from __future__ import annotations

from .clock import StallWatch as StallWatch
from .clock import virtual_clock as virtual_clock
from .everywhere import ActionSweep as ActionSweep
from .everywhere import CancellationFailed as CancellationFailed
from .everywhere import Report as Report
from .everywhere import cancel_everywhere as cancel_everywhere
from .everywhere import replay as replay
from .explore import Exploration as Exploration
from .explore import ExplorationFailed as ExplorationFailed
from .explore import explore as explore
from .explore import explore_nearby as explore_nearby
from .failures import Failure as Failure
from .faults import FAULTS as FAULTS
from .faults import Faults as Faults
from .gemini_peer import GeminiPeer as GeminiPeer
from .gemini_peer import gemini_peer as gemini_peer
from .on_wires import gemini_on as gemini_on
from .on_wires import openai_on as openai_on
from .openai_peer import OpenAIPeer as OpenAIPeer
from .openai_peer import openai_peer as openai_peer
from .openai_response import MessageInPlay as MessageInPlay
from .openai_response import ResponseInPlay as ResponseInPlay
from .probe import Place as Place
from .quiescence import Leak as Leak
from .quiescence import NotQuiescent as NotQuiescent
from .quiescence import QuiescenceBaseline as QuiescenceBaseline
from .quiescence import assert_quiescent as assert_quiescent
from .quiescence import quiescence_baseline as quiescence_baseline
from .quiescence import quiescent_after as quiescent_after
from .recipe import Recipe as Recipe
from .run import HarnessError as HarnessError
from .run import RunResult as RunResult
from .scheduler import Schedule as Schedule
from .scheduler import UnsupportedTrio as UnsupportedTrio
from .scheduler import own_order as own_order
from .scripted_peer import Received as Received
from .scripted_peer import ScriptedPeer as ScriptedPeer
from .scripted_peer import ScriptError as ScriptError
from .scripted_peer import ScriptMismatch as ScriptMismatch
from .scripted_peer import ScriptTimeout as ScriptTimeout
from .scripted_peer import ScriptUnfinished as ScriptUnfinished
from .scripted_peer import played as played
from .selfcheck import selfcheck as selfcheck
from .sweep.case import Case as Case
from .targets import InjectedError as InjectedError
from .trial import Scenario as Scenario
from .trial import Trial as Trial
from .trial import Verify as Verify
from .websocket_peer import ClientGone as ClientGone
from .websocket_peer import CloseFrame as CloseFrame
from .websocket_peer import WebSocketPeer as WebSocketPeer
from .wires import WIRES as WIRES
from .wires import Wire as Wire
from .wires import WireName as WireName
from .wires import WireStream as WireStream
from .wires import make_wire as make_wire
