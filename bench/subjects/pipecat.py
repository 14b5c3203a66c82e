"""`pipecat-ai`: `OpenAIRealtimeLLMService` in a pipeline, frames at the next processor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    StartFrame,
    TTSAudioRawFrame,
    UserStoppedSpeakingFrame,
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
SPEAKING = "a frame through the pipeline, of which a task writes; keeps half a second of audio"

logger.remove()
logger.add(sys.stderr, level="ERROR")


class Sink(FrameProcessor):
    """The application."""

    def __init__(self, tally: Tally, done: asyncio.Event) -> None:
        super().__init__()
        self.connected = asyncio.Event()
        self._tally = tally
        self._done = done

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self.connected.set()  # the service has passed it on behind its own start
        elif isinstance(frame, TTSAudioRawFrame):
            self._tally.audio += len(frame.audio)
        elif isinstance(frame, LLMTextFrame):
            self._tally.text += len(frame.text)
        elif isinstance(frame, LLMFullResponseEndFrame) and self._tally.response():
            self._done.set()
        await self.push_frame(frame, direction)


@asynccontextmanager
async def pipeline(
    url: str, units: int, tally: Tally, done: asyncio.Event, **properties
) -> AsyncIterator[PipelineTask]:
    """The service and the application, running."""
    service = OpenAIRealtimeLLMService(
        api_key="bench",
        base_url=url,
        settings=OpenAIRealtimeLLMService.Settings(
            model=f"bench-{units}",
            session_properties=events.SessionProperties(**properties),
        ),
    )
    sink = Sink(tally, done)
    task = PipelineTask(
        Pipeline([service, sink]),
        params=PipelineParams(enable_metrics=False),
        cancel_on_idle_timeout=False,
    )
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await sink.connected.wait()
    yield task
    await task.queue_frame(EndFrame())
    await running


async def run(url: str, units: int, modality: str) -> Tally:
    """Receive that many units."""
    tally, done = Tally(units), asyncio.Event()
    async with pipeline(url, units, tally, done, output_modalities=[modality]) as task:
        tally.start()
        await task.queue_frame(LLMContextFrame(LLMContext([{"role": "user", "content": "hello"}])))
        await done.wait()
    return tally


async def speak(url: str, chunks: int, data: bytes, pause: float) -> Tally:
    """Send that much speech, a chunk a call; an answer of two frames tells that it is there."""
    tally, done = Tally(1), asyncio.Event()
    manual = events.AudioConfiguration(input=events.AudioInput(turn_detection=False))
    async with pipeline(url, 1, tally, done, audio=manual) as task:
        tally.start()
        for _ in range(chunks):
            await task.queue_frame(InputAudioRawFrame(data, sample_rate=24000, num_channels=1))
            if pause:
                await asyncio.sleep(pause)
        await task.queue_frame(UserStoppedSpeakingFrame())
        await done.wait()
    return tally
