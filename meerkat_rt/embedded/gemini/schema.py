"""The client's five messages, field by field.

Source: the vendor's reference of BidiGenerateContent and the types of its Python package.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..faults import Fault
from ..schema import check_depth
from .proto import (
    Check,
    anything,
    array,
    base64_bytes,
    boolean,
    enum,
    integer,
    invalid,
    mapping,
    message,
    number,
    struct,
    text,
)

MOST_AUDIO_BYTES = 15 * 1024 * 1024  # in one message


def _fields(check: Check, *names: str) -> dict[str, Check]:
    return dict.fromkeys(names, check)


_blob = message({"data": base64_bytes, **_fields(text, "mimeType", "displayName")})
_part = message(
    {
        "text": text,
        "thought": boolean,
        "inlineData": _blob,
        "functionCall": message(
            {**_fields(text, "id", "name"), "args": struct, "partialArgs": anything,
             "willContinue": boolean}
        ),
        "functionResponse": message(
            {**_fields(text, "id", "name"), "response": struct, "willContinue": boolean,
             "scheduling": anything, "parts": anything}
        ),
        **_fields(
            anything, "mediaResolution", "codeExecutionResult", "executableCode", "fileData",
            "thoughtSignature", "videoMetadata", "toolCall", "toolResponse", "partMetadata",
            "audioTranscription", "mediaProcessing", "speechMetadata",
        ),
    }
)  # fmt: skip
_content = message({"role": enum("user", "model", "system", ""), "parts": array(_part)})

# ---------------------------------------------------------------- setup

_transcription = message(
    {
        **_fields(array(text), "languageCodes", "customVocabulary", "adaptationPhrases"),
        **_fields(anything, "languageAuto", "languageHints"),
        **_fields(boolean, "wordTimestamp", "diarization"),
        "mode": enum("VERBATIM", "SMART"),
        "sourceText": text,
    }
)
_speech = message(
    {
        "voiceConfig": message(
            {
                "prebuiltVoiceConfig": message({"voiceName": text}),
                "replicatedVoiceConfig": struct,
                "voice": text,
            }
        ),
        "languageCode": text,
        "multiSpeakerVoiceConfig": struct,
    }
)
_generation = message(
    {
        "responseModalities": array(enum("TEXT", "AUDIO", "IMAGE", "VIDEO")),
        "speechConfig": _speech,
        "thinkingConfig": message(
            {
                "includeThoughts": boolean,
                "thinkingBudget": integer,
                "thinkingLevel": enum("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"),
            }
        ),
        "translationConfig": message({"targetLanguageCode": text, "echoTargetLanguage": boolean}),
        "mediaResolution": enum(
            *(f"MEDIA_RESOLUTION_{size}" for size in ("LOW", "MEDIUM", "HIGH", "UNSPECIFIED"))
        ),
        "stopSequences": array(text),
        **_fields(
            number, "temperature", "topP", "topK", "frequencyPenalty", "presencePenalty"
        ),
        **_fields(integer, "maxOutputTokens", "seed", "candidateCount", "logprobs"),
        **_fields(
            boolean, "enableAffectiveDialog", "audioTimestamp", "responseLogprobs",
            "enableEnhancedCivicAnswers",
        ),
        **_fields(
            anything, "modelSelectionConfig", "responseJsonSchema", "responseMimeType",
            "responseSchema", "routingConfig", "responseFormat", "audioTranscriptionConfig",
        ),
    }
)  # fmt: skip
_sensitivity = ("HIGH", "LOW", "UNSPECIFIED")
_realtime_config = message(
    {
        "automaticActivityDetection": message(
            {
                "disabled": boolean,
                "startOfSpeechSensitivity": enum(*(f"START_SENSITIVITY_{s}" for s in _sensitivity)),
                "endOfSpeechSensitivity": enum(*(f"END_SENSITIVITY_{s}" for s in _sensitivity)),
                "prefixPaddingMs": integer,
                "silenceDurationMs": integer,
            }
        ),
        "activityHandling": enum(
            "ACTIVITY_HANDLING_UNSPECIFIED", "START_OF_ACTIVITY_INTERRUPTS", "NO_INTERRUPTION"
        ),
        "turnCoverage": enum(
            "TURN_COVERAGE_UNSPECIFIED",
            "TURN_INCLUDES_ONLY_ACTIVITY",
            "TURN_INCLUDES_ALL_INPUT",
            "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
        ),
        "interimTranscriptTimestampEnabled": boolean,
    }
)
_function = message(
    {
        **_fields(text, "name", "description"),
        **_fields(struct, "parameters", "response"),
        **_fields(anything, "parametersJsonSchema", "responseJsonSchema"),
        "behavior": enum("BLOCKING", "NON_BLOCKING", "UNSPECIFIED"),
    }
)
_tool = message(
    {
        "functionDeclarations": array(_function),
        **_fields(
            struct, "googleSearch", "codeExecution", "urlContext", "googleMaps", "retrieval",
            "computerUse", "fileSearch", "enterpriseWebSearch", "googleSearchRetrieval",
            "parallelAiSearch", "exaAiSearch",
        ),
        "mcpServers": anything,
    }
)  # fmt: skip
_setup = message(
    {
        "model": text,
        "generationConfig": _generation,
        "systemInstruction": _content,
        "tools": array(_tool),
        "realtimeInputConfig": _realtime_config,
        "sessionResumption": message({"handle": text, "transparent": boolean}),
        "contextWindowCompression": message(
            {"triggerTokens": integer, "slidingWindow": message({"targetTokens": integer})}
        ),
        **_fields(_transcription, "inputAudioTranscription", "outputAudioTranscription"),
        "proactivity": message(_fields(boolean, "proactiveAudio", "proactiveVideo")),
        "historyConfig": message({"initialHistoryInClientContent": boolean}),
        "explicitVadSignal": boolean,
        "labels": mapping(text),
        **_fields(anything, "avatarConfig", "safetySettings"),
    }
)

# ---------------------------------------------------------------- the others

_empty = message({})
_response = message(
    {
        **_fields(text, "id", "name"),
        "response": struct,
        "willContinue": boolean,
        "scheduling": enum("SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"),
        "parts": anything,
    }
)
MESSAGES: dict[str, Check] = {
    "setup": _setup,
    "clientContent": message({"turns": array(_content), "turnComplete": boolean}),
    "realtimeInput": message(
        {
            **_fields(_blob, "audio", "video"),
            "mediaChunks": array(_blob),
            "audioStreamEnd": boolean,
            "text": text,
            **_fields(_empty, "activityStart", "activityEnd"),
        }
    ),
    "toolResponse": message({"functionResponses": array(_response)}),
    "contextUpdate": message(
        {"systemInstruction": _content, "tools": message({"tools": array(_tool)})}
    ),
}
_message = message(MESSAGES)


def read(frame: str | bytes) -> tuple[str, Any]:
    """The key of a client's message and what stands under it, in camel case.

    Raises:
        Refused: it is none.
    """
    try:
        parsed = msgspec.json.decode(frame)
        check_depth(parsed)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, Fault) as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    if not isinstance(parsed, dict):
        raise invalid("Invalid JSON payload received. A message is an object.")
    checked = _message(parsed, "")
    if len(checked) != 1:
        told = ", ".join(checked) or "none"
        raise invalid(f"Request contains an invalid argument: one message type is set, not {told}.")
    ((key, body),) = checked.items()
    return key, body
