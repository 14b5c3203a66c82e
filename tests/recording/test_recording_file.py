"""The ring in the file: the newest is kept, a torn end is seen, and nothing is misread."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meerkat_rt.recording.file import _HEAD, FORMAT, MAGIC, Ring, UnreadableRecording, read

BUDGET = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def header(max_bytes: int, **other: object) -> bytes:
    return json.dumps({"format": FORMAT, "max_bytes": max_bytes, **other}).encode()


def line(number: int, size: int) -> bytes:
    noise = "".join(f"{zlib.crc32(b'%d %d' % (number, i)):08x}" for i in range(size // 8))
    return json.dumps(["m", float(number), {"noise": noise}]).encode()


def write(path: Path, batches: list[list[int]], max_bytes: int) -> list[int]:
    """Frames of records of these sizes; returns the numbers of those that were written."""
    number, written = 1, []
    with path.open("wb", buffering=0) as file:
        ring = Ring(file, max_bytes)
        ring.begin(header(max_bytes))
        for sizes in batches:
            lines = [line(number + at, size) for at, size in enumerate(sizes)]
            count = ring.write(number, lines)
            if count == len(sizes):
                written += range(number, number + count)
            number += len(sizes)
    return written


@given(st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=6), max_size=60))
@BUDGET
def test_the_newest_is_kept_in_order_and_the_bound_holds(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "ring.rec"
    written = write(path, batches, 8000)
    assert path.stat().st_size <= 8000
    found = read(path)
    numbers = [number for number, _ in found.records]
    assert numbers == written[len(written) - len(numbers) :]
    assert [record[1] for _, record in found.records] == [float(number) for number in numbers]
    assert not found.torn
    assert found.complete == (numbers == written)
    if not found.complete:
        # At least one half, less the frame that did not fit any more.
        assert sum(len(zlib.compress(line(n, 0))) for n in numbers) > 0
        assert path.stat().st_size > 4000


def test_half_of_the_bound_is_there_at_least(tmp_path: Path) -> None:
    path = tmp_path / "ring.rec"
    write(path, [[400]] * 200, 16_000)
    found = read(path)
    assert found.first > 1
    held = sum(len(json.dumps(record)) for _, record in found.records)
    assert held > 8000 * 1.2  # noise in hexadecimal compresses to about a half
    assert found.records[-1][0] == 200


def test_a_record_that_fits_nowhere_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "ring.rec"
    write(path, [[8], [60_000], [8]], 16_000)
    found = read(path)
    assert [number for number, _ in found.records] == [1, 3]
    assert found.gaps == (1,)
    assert not found.complete


def test_a_frame_that_is_too_large_is_divided(tmp_path: Path) -> None:
    path = tmp_path / "ring.rec"
    with path.open("wb", buffering=0) as file:
        ring = Ring(file, 16_000)
        ring.begin(header(16_000))
        assert ring.write(1, [line(number, 4000) for number in range(1, 9)]) == 8
    found = read(path)
    assert found.records[-1][0] == 8
    assert not found.gaps


def test_cut_off_anywhere_what_is_whole_can_be_read_and_the_rest_is_called_torn(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ring.rec"
    write(path, [[16], [16, 16], [16]], 16_000)
    data = path.read_bytes()
    whole = read(path)
    assert not whole.torn
    ends = {}  # length of a file that ends with a whole frame -> records in it
    at = len(MAGIC)
    for count in (0, 1, 3, 4):
        at += _HEAD.size + _HEAD.unpack_from(data, at)[1]
        ends[at] = count
    assert at == len(data)
    for size in range(len(data)):
        path.write_bytes(data[:size])
        if size < min(ends):
            with pytest.raises(UnreadableRecording, match=r"no header|is not a recording"):
                read(path)
            continue
        found = read(path)
        assert found.records == whole.records[: max(n for s, n in ends.items() if s <= size)]
        assert found.torn == (size not in ends), size


def test_a_frame_torn_over_older_ones_is_called_torn(tmp_path: Path) -> None:
    path = tmp_path / "ring.rec"
    write(path, [[400]] * 60, 16_000)
    before = read(path)
    newest = before.records[-1][0]
    with path.open("r+b", buffering=0) as file:
        data = path.read_bytes()
        at = data.index(_HEAD.pack(b"MKfr", 0, 0, newest)[-8:]) - 12
        after = at + _HEAD.size + _HEAD.unpack_from(data, at)[1]
        file.seek(after)
        file.write(_HEAD.pack(b"MKfr", 300, 1234, newest + 1) + b"half of it")
    found = read(path)
    assert found.records == before.records
    assert found.torn


def test_flipped_bits_end_a_chain_and_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "ring.rec"
    write(path, [[16]] * 6, 16_000)
    data = bytearray(path.read_bytes())
    whole = read(path).records
    start = len(MAGIC) + _HEAD.size + _HEAD.unpack_from(data, len(MAGIC))[1]
    for at in range(start, len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x40
        path.write_bytes(broken)
        assert list(read(path).records) == list(whole[: len(read(path).records)])
        assert len(read(path).records) < len(whole)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is not a recording"),
        (b"RIFF....WAVE", "is not a recording"),
        (MAGIC, "no header"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(data)
    with pytest.raises(UnreadableRecording, match=why):
        read(path)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (json.dumps({"format": 99, "max_bytes": 9}).encode(), "has format 99; this version reads"),
        (json.dumps({"format": FORMAT}).encode(), "how large"),
    ],
)
def test_headers_of_others_are_refused(tmp_path: Path, head: bytes, why: str) -> None:
    path = tmp_path / "x.rec"
    with path.open("wb", buffering=0) as file:
        Ring(file, 16_000).begin(head)
    with pytest.raises(UnreadableRecording, match=why):
        read(path)


@pytest.mark.parametrize("record", [b"{}", b"[1,2,3]", b'["m"]', b"nonsense"])
def test_records_that_are_none_are_refused(tmp_path: Path, record: bytes) -> None:
    path = tmp_path / "x.rec"
    with path.open("wb", buffering=0) as file:
        ring = Ring(file, 16_000)
        ring.begin(header(16_000))
        ring.write(1, [record])
    with pytest.raises(UnreadableRecording, match="a record is not"):
        read(path)
