"""The two vocabularies between a dialect and the machine, in one place to import from.

`ProviderEvent`s come in: one neutral fact each, with the provider's ids.  `ProviderCommand`s go
out: neutral requests that a dialect encodes at the moment of writing.  Neither knows of frames,
epochs, lanes or tasks.
"""

from __future__ import annotations

from .provider_commands import AppendAudio as AppendAudio
from .provider_commands import CancelResponse as CancelResponse
from .provider_commands import ClearAudio as ClearAudio
from .provider_commands import CommitAudio as CommitAudio
from .provider_commands import CreateItem as CreateItem
from .provider_commands import CreateResponse as CreateResponse
from .provider_commands import DeleteItem as DeleteItem
from .provider_commands import ProviderCommand as ProviderCommand
from .provider_commands import ResponseOptions as ResponseOptions
from .provider_commands import SendRaw as SendRaw
from .provider_commands import SendToolOutput as SendToolOutput
from .provider_commands import TruncateItem as TruncateItem
from .provider_commands import UpdateSession as UpdateSession
from .provider_events import AudioDelta as AudioDelta
from .provider_events import AudioDone as AudioDone
from .provider_events import CommandRefused as CommandRefused
from .provider_events import ErrorMeaning as ErrorMeaning
from .provider_events import GoingAway as GoingAway
from .provider_events import InputCleared as InputCleared
from .provider_events import InputCommitted as InputCommitted
from .provider_events import InputTranscriptDelta as InputTranscriptDelta
from .provider_events import InputTranscriptDone as InputTranscriptDone
from .provider_events import InputTranscriptFailed as InputTranscriptFailed
from .provider_events import ItemAdded as ItemAdded
from .provider_events import ItemDeleted as ItemDeleted
from .provider_events import ItemKind as ItemKind
from .provider_events import ItemTruncated as ItemTruncated
from .provider_events import OutputItemBegan as OutputItemBegan
from .provider_events import OutputItemEnded as OutputItemEnded
from .provider_events import OutputProgress as OutputProgress
from .provider_events import ProtocolFault as ProtocolFault
from .provider_events import ProviderError as ProviderError
from .provider_events import ProviderEvent as ProviderEvent
from .provider_events import RateLimits as RateLimits
from .provider_events import ResponseBegan as ResponseBegan
from .provider_events import ResponseEnded as ResponseEnded
from .provider_events import ResponseInterrupted as ResponseInterrupted
from .provider_events import ResponseStatus as ResponseStatus
from .provider_events import ResumptionUpdated as ResumptionUpdated
from .provider_events import SeedAcknowledged as SeedAcknowledged
from .provider_events import ServerToolProgress as ServerToolProgress
from .provider_events import SessionCreated as SessionCreated
from .provider_events import SessionUpdated as SessionUpdated
from .provider_events import SpeechStarted as SpeechStarted
from .provider_events import SpeechStopped as SpeechStopped
from .provider_events import TextDelta as TextDelta
from .provider_events import TextDone as TextDone
from .provider_events import ToolCalled as ToolCalled
from .provider_events import ToolCallsRevoked as ToolCallsRevoked
from .provider_events import TranscriptDelta as TranscriptDelta
from .provider_events import TranscriptDone as TranscriptDone
from .provider_events import UnknownFrame as UnknownFrame
from .provider_events import UsageReported as UsageReported
