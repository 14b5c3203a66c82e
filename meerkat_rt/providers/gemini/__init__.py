"""The Gemini Live protocol, as a dialect."""

from .addresses import AiStudio as AiStudio
from .addresses import Vertex as Vertex
from .dialect import CANONICAL_MODEL as CANONICAL_MODEL
from .dialect import GeminiDialect as GeminiDialect
from .tools_json import ToolBehavior as ToolBehavior
from .tools_json import ToolScheduling as ToolScheduling
