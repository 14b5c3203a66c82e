"""How an answer is handed out: speech in chunks with their words, text word by word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from .voice import Utterance, Word

CHUNK_SECONDS = 0.2  # of audio in one piece; the services' vary around this
WORD_SECONDS = 0.1  # that a written word is made to take, for the pace


def spoken(utterance: Utterance) -> Iterator[tuple[list[Word], NDArray[np.int16]]]:
    """Chunks of speech, each with the words that come with it.

    Words run ahead of their sound by up to one chunk, as the services' do.
    """
    words = iter(utterance.words)
    word = next(words, None)
    until = 0.0
    for samples in utterance.render(int(CHUNK_SECONDS * utterance.rate)):
        until += len(samples) / utterance.rate
        begun: list[Word] = []
        while word is not None and word.start < until:
            begun.append(word)
            word = next(words, None)
        yield begun, samples


def written(text: str) -> Iterator[str]:
    """The words of a text, each with the space after it."""
    start = 0
    for index in range(1, len(text)):
        if text[index - 1].isspace() and not text[index].isspace():
            yield text[start:index]
            start = index
    if text:
        yield text[start:]
