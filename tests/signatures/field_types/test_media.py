"""`Image`, `Audio` and `File`: how they are made, compared and written as JSON."""

from __future__ import annotations

import base64
import http.server
import io
import json
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
from helpers.pictures import PDF, png, wav
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import CallError, ConfigError, MediaError, SignatureError
from lmpipe.signatures.signature import spec_of

PNG = png()


class Look(lmpipe.Signature):
    """Look at the photo."""

    photo: lmpipe.Image = lmpipe.Input()
    answer: str = lmpipe.Output()


def checked(value: Any) -> lmpipe.Image:
    """The image that an input of this value becomes."""
    photo = spec_of(Look).check_inputs({"photo": value})["photo"]
    assert isinstance(photo, lmpipe.Image)
    return photo


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    return path


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_an_image_of_a_path_has_its_bytes(photo: Path) -> None:
    assert lmpipe.Image.of(str(photo)).data == PNG


def test_a_type_that_the_bytes_do_not_tell_is_given(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"a new format")
    assert lmpipe.Image.of(tmp_path / "new", media_type="image/jxl").media_type == "image/jxl"


def test_images_of_the_same_content_are_equal(photo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(PNG)
    made = {lmpipe.Image.of(source) for source in (photo, copy, PNG, data_url(PNG))}
    assert len(made) == 1


def test_images_of_other_content_differ() -> None:
    assert lmpipe.Image.of(PNG) != lmpipe.Image.of(png(0, 0, 255))


def test_a_url_is_kept_and_not_fetched() -> None:
    assert lmpipe.Image.of("https://example.org/a.png").url == "https://example.org/a.png"


@pytest.mark.parametrize("source", [PNG, data_url(PNG), lmpipe.Image.of(PNG)])
def test_inputs_are_coerced(source: Any) -> None:
    assert checked(source) == lmpipe.Image.of(PNG)


def test_a_path_is_coerced(photo: Path) -> None:
    assert checked(photo) == lmpipe.Image.of(PNG)


def test_a_path_in_a_text_is_not_read_from_an_input(photo: Path) -> None:
    with pytest.raises(CallError, match=r"write lmpipe.Image.of"):
        checked(str(photo))


def test_a_path_in_json_is_not_read_from_an_input(photo: Path) -> None:
    with pytest.raises(CallError, match="read only from a data file"):
        checked({"image": {"path": str(photo)}})


def test_the_error_of_wrong_bytes_does_not_show_them() -> None:
    with pytest.raises(CallError, match=r"9 bytes: .*not an image") as caught:
        checked(b"secret!!!")
    assert "secret!!!" not in str(caught.value)


def test_an_image_of_pil_is_coerced() -> None:
    pil = pytest.importorskip("PIL.Image")
    image = checked(pil.new("RGB", (3, 2), "red"))
    assert pil.open(io.BytesIO(image.data)).size == (3, 2)


@pytest.mark.parametrize("source", [5, None, ["a"], "text"])
def test_anything_else_is_refused(source: Any) -> None:
    with pytest.raises(CallError, match="input 'photo' must be Image"):
        checked(source)


def test_bytes_of_another_kind_are_refused() -> None:
    with pytest.raises(MediaError, match="the bytes are application/pdf"):
        lmpipe.Image.of(PDF)


def test_a_large_image_is_refused() -> None:
    with pytest.raises(MediaError, match="more than 10 bytes"):
        lmpipe.Image.of(PNG, max_bytes=10)


def test_a_large_data_url_is_refused() -> None:
    with pytest.raises(MediaError, match="more than 10 bytes"):
        lmpipe.Image.of(data_url(PNG), max_bytes=10)


@pytest.mark.parametrize("limit", [0, -1, True, "many"])
def test_a_limit_that_nothing_fits_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigError, match="max_bytes"):
        lmpipe.Image.of(PNG, max_bytes=limit)


def test_data_and_a_url_are_too_much() -> None:
    with pytest.raises(pydantic.ValidationError, match="both data and a url"):
        lmpipe.Image(data=PNG, url="https://example.org/a.png")


def test_a_file_url_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="not an http or https URL"):
        lmpipe.File(url="file:///etc/passwd")


def test_the_repr_has_no_bytes() -> None:
    assert repr(lmpipe.Image.of(PNG)) == f"Image('image/png, {len(PNG)} bytes')"


def test_it_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        lmpipe.Image.of(PNG).data = b""


def test_it_can_be_pickled() -> None:
    image = lmpipe.Image.of(PNG, name="a.png")
    assert pickle.loads(pickle.dumps(image)) == image


@given(
    data=st.binary(min_size=1, max_size=200),
    name=st.text(max_size=20),
    kind=st.sampled_from([lmpipe.File, lmpipe.Image, lmpipe.Audio]),
)
def test_json_gives_it_back(data: bytes, name: str, kind: type[Any]) -> None:
    start = {"Image": b"GIF89a", "Audio": b"ID3"}.get(kind.__name__, b"")
    made = kind.of(start + data, name=name)
    assert kind.model_validate(json.loads(json.dumps(made.to_json()))) == made


def test_json_that_is_not_base64_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="not base64"):
        lmpipe.Image.model_validate({"image": {"data": "§§"}})


def test_kinds_are_not_mixed_up() -> None:
    with pytest.raises(CallError, match="must be Image"):
        checked(lmpipe.Audio.of(wav()))


def test_a_string_signature_names_them() -> None:
    spec = lmpipe.Predict("photo: Image, sounds: list[Audio], paper: File -> answer").spec
    assert [field.type_name for field in spec.inputs] == ["Image", "list[Audio]", "File"]


@pytest.mark.parametrize("annotation", ["Image", "list[Image]", "dict[str, Audio] | None"])
def test_an_output_cannot_be_an_image(annotation: str) -> None:
    with pytest.raises(SignatureError, match="an LM replies with text"):
        lmpipe.Predict(f"question -> drawing: {annotation}")


@pytest.fixture
def address() -> Iterator[str]:
    class Pictures(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/red.png" else 404)
            self.end_headers()
            self.wfile.write(PNG)

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_image_is_fetched_when_asked(address: str) -> None:
    assert lmpipe.Image.fetch(f"{address}/red.png") == lmpipe.Image.of(PNG)


def test_a_missing_image_cannot_be_fetched(address: str) -> None:
    with pytest.raises(MediaError, match=r"cannot be fetched.*404"):
        lmpipe.Image.fetch(f"{address}/blue.png")


def test_only_web_addresses_are_fetched() -> None:
    with pytest.raises(MediaError, match="not an http or https URL"):
        lmpipe.File.fetch("file:///etc/hostname")


@pytest.mark.parametrize("text", ["QUJD" * 2000, "DATA:image/png;base64,§" + "QUJD" * 2000])
def test_a_text_that_holds_a_medium_is_not_shown(text: str) -> None:
    with pytest.raises(MediaError) as error:
        lmpipe.Image.of(text)
    assert "QUJDQUJD" not in str(error.value)
    with pytest.raises(CallError) as refused:
        checked(text)
    assert "QUJDQUJDQ" not in str(refused.value)


def test_a_path_with_a_null_byte_is_refused() -> None:
    with pytest.raises(MediaError, match="cannot be read: embedded null byte"):
        lmpipe.Image.of("a\0b")


def test_a_data_url_with_other_characters_is_refused() -> None:
    with pytest.raises(MediaError, match="not base64"):
        lmpipe.Image.of("data:image/png;base64,@@" + base64.b64encode(PNG).decode())


@pytest.mark.parametrize(
    "content",
    [
        {"data": 5, "media_type": "image/png"},
        {"data": {"a": "b"}, "media_type": "image/png"},
        {"url": 5},
        {"data": base64.b64encode(PNG).decode(), "media_type": 5},
    ],
)
def test_json_of_other_types_is_refused(content: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match="give"):
        lmpipe.Image.model_validate({"image": content})


def test_a_url_with_a_password_is_refused_where_it_is_given() -> None:
    with pytest.raises(MediaError, match="password: fetch it"):
        lmpipe.Image.of("https://user:secret@example.org/a.png")
