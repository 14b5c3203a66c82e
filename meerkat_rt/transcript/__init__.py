"""The canonical conversation: events with identity in, messages out.  See `authority`."""

from __future__ import annotations

from ..model.transcript import (
    SESSION_REALTIME_TRANSCRIPT_STATE_KEY as SESSION_REALTIME_TRANSCRIPT_STATE_KEY,
)
from ..model.transcript import AppendRealtimeTranscript as AppendRealtimeTranscript
from ..model.transcript import AssistantTextDelta as AssistantTextDelta
from ..model.transcript import AssistantTranscriptDelta as AssistantTranscriptDelta
from ..model.transcript import AssistantTranscriptFinalText as AssistantTranscriptFinalText
from ..model.transcript import AssistantTranscriptTruncated as AssistantTranscriptTruncated
from ..model.transcript import AssistantTurnCompleted as AssistantTurnCompleted
from ..model.transcript import AssistantTurnInterrupted as AssistantTurnInterrupted
from ..model.transcript import BlockedTranscriptItem as BlockedTranscriptItem
from ..model.transcript import ItemObserved as ItemObserved
from ..model.transcript import ItemSkipped as ItemSkipped
from ..model.transcript import MaterializedAssistant as MaterializedAssistant
from ..model.transcript import MaterializedUser as MaterializedUser
from ..model.transcript import RealtimeTranscriptApplyOutcome as RealtimeTranscriptApplyOutcome
from ..model.transcript import RealtimeTranscriptEvent as RealtimeTranscriptEvent
from ..model.transcript import (
    RealtimeTranscriptMaterializedMessage as RealtimeTranscriptMaterializedMessage,
)
from ..model.transcript import RealtimeTranscriptRole as RealtimeTranscriptRole
from ..model.transcript import TranscriptDiagnostic as TranscriptDiagnostic
from ..model.transcript import TranscriptLane as TranscriptLane
from ..model.transcript import TranscriptRule as TranscriptRule
from ..model.transcript import TranscriptWait as TranscriptWait
from ..model.transcript import UserTranscriptFinal as UserTranscriptFinal
from ..model.transcript_state import RealtimeTranscriptState as RealtimeTranscriptState
from ..model.transcript_state import TranscriptCompletionState as TranscriptCompletionState
from ..model.transcript_state import TranscriptItemState as TranscriptItemState
from ..model.transcript_state import TranscriptStateError as TranscriptStateError
from ..model.transcript_state import TranscriptStateRule as TranscriptStateRule
from .authority import TranscriptAuthority as TranscriptAuthority
from .durable import state_from_json as state_from_json
from .durable import state_to_json as state_to_json
