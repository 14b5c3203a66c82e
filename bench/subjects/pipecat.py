"""`pipecat-ai`: `OpenAIRealtimeLLMService` in a pipeline, frames at the next processor."""

from __future__ import annotations

import asyncio
import sys

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

from . import Tally

NAME = "pipecat"
TITLE = "pipecat-ai, OpenAIRealtimeLLMService"
PACKAGES = ("pipecat-ai[openai]",)
NOTE = "frames through a pipeline of one service and one sink; audio decoded"

logger.remove()
logger.add(sys.stderr, level="ERROR")


class Sink(FrameProcessor):
    """The application."""

    def __init__(self, tally: Tally, done: asyncio.Event) -> None:
        super().__init__()
        self._tally = tally
        self._done = done

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._tally.audio += len(frame.audio)
        elif isinstance(frame, LLMTextFrame):
            self._tally.text += len(frame.text)
        elif isinstance(frame, LLMFullResponseEndFrame) and self._tally.response():
            self._done.set()
        await self.push_frame(frame, direction)


async def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    tally, done = Tally(units), asyncio.Event()
    service = OpenAIRealtimeLLMService(
        api_key="bench",
        base_url=url,
        settings=OpenAIRealtimeLLMService.Settings(
            model=f"bench-{units}",
            session_properties=events.SessionProperties(output_modalities=[modality]),
        ),
    )
    task = PipelineTask(
        Pipeline([service, Sink(tally, done)]),
        params=PipelineParams(enable_metrics=False),
        cancel_on_idle_timeout=False,
    )
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await asyncio.sleep(0.5)  # it connects in the background
    tally.start()
    await task.queue_frame(LLMContextFrame(LLMContext([{"role": "user", "content": "hello"}])))
    await done.wait()
    await task.queue_frame(EndFrame())
    await running
    return tally
