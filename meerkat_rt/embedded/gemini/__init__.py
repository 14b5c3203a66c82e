"""The Gemini Live side of the embedded server."""

from __future__ import annotations

from .door import GeminiDoor as GeminiDoor
from .engine import GeminiEngine as GeminiEngine
from .shelf import Shelf as Shelf
