"""Images, sounds and files of recorded calls lie beside the cassette, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmpipe.errors import CassetteError, CassetteMissError
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, TextPart, ToolResult
from lmpipe.lm.request import Reply, Request

CAT, DOG = b"\x89PNG cat", b"\x89PNG dog"


def picture(data: bytes, **settings: str) -> MediaPart:
    return MediaPart("image", "image/png", data, **settings)  # type: ignore[arg-type]


def asking(*media: MediaPart, question: str = "What is it?") -> Request:
    return Request(LM("vllm/m"), (Message("user", (TextPart(question), *media)),))


def record(path: Path, *requests: Request, mode: str = "new_episodes") -> None:
    with Cassette(path, mode=mode) as cassette:  # type: ignore[arg-type]
        for request in requests:
            if cassette.get(request.key(), request) is None:
                cassette.put(request.key(), request, Reply("an animal"))


def replay(path: Path, request: Request) -> str:
    reply = Cassette(path).get(request.key(), request)
    assert reply is not None
    return reply.text


def stored(path: Path) -> dict[str, bytes]:
    folder = path.with_name(f"{path.name}.media")
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*"))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.jsonl"


def test_a_call_with_a_picture_is_replayed(path: Path) -> None:
    record(path, asking(picture(CAT)))
    assert replay(path, asking(picture(CAT))) == "an animal"


def test_the_same_picture_by_another_name_is_replayed(path: Path) -> None:
    record(path, asking(picture(CAT, name="cat.png")))
    assert replay(path, asking(picture(CAT, name="copy.png"))) == "an animal"


def test_the_picture_is_part_of_the_recorded_request(path: Path) -> None:
    record(path, asking(picture(CAT)))
    (call,) = Cassette(path).unplayed
    assert call.request.messages == asking(picture(CAT)).messages


def test_the_picture_of_a_tool_is_stored(path: Path) -> None:
    result = ToolResult("1", (picture(CAT),))
    request = Request(LM("vllm/m"), (Message("tool", (result,)),))
    record(path, request)
    assert replay(path, request) == "an animal"


def test_two_calls_with_one_picture_store_it_once(path: Path) -> None:
    record(path, asking(picture(CAT)), asking(picture(CAT), question="How old?"))
    assert stored(path) == {picture(CAT).sha256: CAT}


def test_the_cassette_has_no_bytes_of_the_picture(path: Path) -> None:
    record(path, asking(picture(CAT)))
    assert CAT not in path.read_bytes()
    assert picture(CAT).base64.encode() not in path.read_bytes()


def test_a_cassette_of_texts_has_no_folder(path: Path) -> None:
    record(path, asking())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_picture_is_a_miss_that_names_both(path: Path) -> None:
    record(path, asking(picture(CAT)))
    with pytest.raises(CassetteMissError) as raised:
        replay(path, asking(picture(DOG)))
    assert picture(CAT).sha256[:8] in str(raised.value)
    assert picture(DOG).sha256[:8] in str(raised.value)


def test_recording_again_drops_pictures_that_no_call_holds(path: Path) -> None:
    record(path, asking(picture(CAT)), asking(picture(DOG)))
    record(path, asking(picture(DOG)), mode="rewrite")
    assert stored(path) == {picture(DOG).sha256: DOG}


def test_recording_again_without_pictures_drops_the_folder(path: Path) -> None:
    record(path, asking(picture(CAT)))
    record(path, asking(), mode="rewrite")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_other_files_in_the_folder_are_kept(path: Path) -> None:
    record(path, asking(picture(CAT)))
    note = path.with_name(f"{path.name}.media") / "README.md"
    note.write_text("Photos by Ada.")
    record(path, asking(), mode="rewrite")
    assert note.is_file()


def test_an_abandoned_recording_continues_with_its_pictures(path: Path) -> None:
    cassette, request = Cassette(path, mode="once"), asking(picture(CAT))
    cassette.put(request.key(), request, Reply("an animal"))
    cassette.abandon()
    with Cassette(path, mode="once") as cassette:
        assert cassette.get(request.key(), request) is not None
    assert replay(path, request) == "an animal"


@pytest.mark.parametrize("damage", ["missing", "wrong"])
def test_a_picture_that_is_not_as_recorded_is_an_error(path: Path, damage: str) -> None:
    record(path, asking(picture(CAT)))
    file = path.with_name(f"{path.name}.media") / picture(CAT).sha256
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(DOG)
    with pytest.raises(CassetteError, match=r"one\.jsonl(.|\n)*restore it") as raised:
        Cassette(path)
    assert str(file) in str(raised.value)


def test_a_damaged_picture_is_written_again(path: Path) -> None:
    record(path, asking(picture(CAT)))
    file = path.with_name(f"{path.name}.media") / picture(CAT).sha256
    file.write_bytes(DOG)
    record(path, asking(picture(CAT)), mode="rewrite")
    assert replay(path, asking(picture(CAT))) == "an animal"


def test_a_name_that_is_no_hash_is_not_read(path: Path) -> None:
    path.with_name("secret").write_bytes(CAT)
    record(path, asking(picture(CAT)))
    path.write_bytes(path.read_bytes().replace(picture(CAT).sha256.encode(), b"../secret"))
    with pytest.raises(CassetteError, match="is not a hash"):
        Cassette(path)
