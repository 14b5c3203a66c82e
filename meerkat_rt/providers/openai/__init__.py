"""The OpenAI Realtime protocol (GA), as a dialect."""

from .dialect import BASE_URL as BASE_URL
from .dialect import CANONICAL_MODEL as CANONICAL_MODEL
from .dialect import OpenAIDialect as OpenAIDialect
