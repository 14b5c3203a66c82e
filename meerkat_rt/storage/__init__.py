"""Conversations that outlive their process.  The guide is README.md beside this file."""

from __future__ import annotations

from ..model.turns import LeftOut as LeftOut
from ..model.turns import estimate_tokens as estimate_tokens
from .errors import JournalClosed as JournalClosed
from .errors import NotAStore as NotAStore
from .errors import SessionExists as SessionExists
from .errors import SessionLocked as SessionLocked
from .errors import SessionNotFound as SessionNotFound
from .errors import StagedTextConflict as StagedTextConflict
from .errors import StoreBusy as StoreBusy
from .errors import StoreCorrupted as StoreCorrupted
from .errors import StoredStateRefused as StoredStateRefused
from .errors import StoreError as StoreError
from .errors import StoreFull as StoreFull
from .errors import StoreNotFound as StoreNotFound
from .errors import StoreReadOnly as StoreReadOnly
from .errors import StoreTooNew as StoreTooNew
from .errors import StoreUnavailable as StoreUnavailable
from .errors import StoreWriteFailed as StoreWriteFailed
from .memory import MemoryStore as MemoryStore
from .present import conversation_from_json as conversation_from_json
from .present import conversation_to_json as conversation_to_json
from .present import conversation_to_markdown as conversation_to_markdown
from .present import conversation_to_text as conversation_to_text
from .present import sessions_to_json as sessions_to_json
from .present import sessions_to_text as sessions_to_text
from .resume import Resumption as Resumption
from .resume import resume_config as resume_config
from .sqlite import SqliteStore as SqliteStore
