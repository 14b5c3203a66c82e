"""A telephone call of hours in virtual time, whose connections are taken away again and again.

A user speaks at fixed times, a model answers, and looks something up for every third answer.  What
is said follows from the numbers of the turns alone, so a call that was disturbed must come to the
same transcript as one that was not: every frame of the user's heard once, every answer whole, every
lookup made once and spoken about once.

The model (`Mind`) knows only what its connection was told; two servers give it the wire of OpenAI
and of Gemini.  `LongCall.run` plays a call and says what was wrong with it.
"""

from __future__ import annotations

from .call import LongCall as LongCall
from .call import Outcome as Outcome
