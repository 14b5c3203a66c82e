"""A server for OpenAI's and Gemini's live protocols that needs no network."""

from __future__ import annotations

from .brain import Brain as Brain
from .brain import BrainCall as BrainCall
from .brain import BrainEntry as BrainEntry
from .brain import BrainMessage as BrainMessage
from .brain import BrainOutput as BrainOutput
from .brain import BrainRequest as BrainRequest
from .brain import BrainTool as BrainTool
from .brain import Call as Call
from .brain import Reply as Reply
from .brain import Say as Say
from .default_brain import DefaultBrain as DefaultBrain
from .doors import AccessPolicy as AccessPolicy
from .engine import Engine as Engine
from .limits import ServerLimits as ServerLimits
from .options import ServerOptions as ServerOptions
from .provider import EmbeddedGemini as EmbeddedGemini
from .provider import EmbeddedProvider as EmbeddedProvider
from .quirks import Quirks as Quirks
from .recognizer import RecognitionFailed as RecognitionFailed
from .recognizer import Recognizer as Recognizer
from .recognizer import SpeechMeter as SpeechMeter
from .server import EmbeddedServer as EmbeddedServer
from .server import serve_embedded as serve_embedded
