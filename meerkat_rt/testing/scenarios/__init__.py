"""Sessions of this runtime as scenarios: what we promise, proved on your own machine.

`python -m meerkat_rt.testing.sweep` runs them all.  Each module of the package registers a family
of them when it is imported; a new family is a module with its name in the list below.
"""

from __future__ import annotations

from . import answers as answers
from . import cancelled_calls as cancelled_calls
from . import closes as closes
from . import continuity as continuity
from . import gemini_tools as gemini_tools
from . import gemini_turns as gemini_turns
from . import hazards as hazards
from . import interruptions as interruptions
from . import journals as journals
from . import long_calls as long_calls
from . import openai_turns as openai_turns
from . import openings as openings
from . import parity as parity
from . import tool_calls as tool_calls
from .stage import SCENARIOS as SCENARIOS
