"""The limits: the same requests by a bare aiohttp client, the same texts from a bare diskcache.

No library around a call can be faster than these. See `harness.py` for the command line.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import diskcache
import orjson
from harness import INSTRUCTION, MAX_TOKENS, Settings, demonstrations, main

_FORM = "\n\nReply in exactly this form:\n\n## reasoning\n<text>\n\n## answer\n<text>"


class BareSide:
    def versions(self) -> dict[str, str]:
        names = ("aiohttp", "diskcache", "orjson")
        return {"python": platform.python_version(), **{name: version(name) for name in names}}

    def set_up(self, settings: Settings) -> None:
        self.url = settings.url
        self.session: aiohttp.ClientSession | None = None
        self.cache = diskcache.Cache(settings.cache) if settings.cache else None
        self.prefix = [{"role": "system", "content": INSTRUCTION + _FORM}]
        for demo in demonstrations() if settings.demos else []:
            text = f"## reasoning\n{demo['reasoning']}\n\n## answer\n{demo['answer']}"
            self.prefix.append({"role": "user", "content": f"## question\n{demo['question']}"})
            self.prefix.append({"role": "assistant", "content": text})

    async def ask(self, text: str) -> str:
        if self.session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self.session = aiohttp.ClientSession(connector=connector)
        async with self.session.post(
            f"{self.url}/chat/completions", data=self._body(text), headers=_HEADERS
        ) as response:
            reply = orjson.loads(await response.read())
        content: str = reply["choices"][0]["message"]["content"]
        return content[content.rindex("\n") + 1 :]

    def ask_sync(self, text: str) -> str:
        """Read the reply from the cache; `fill` puts it there."""
        assert self.cache is not None
        found: str | None = self.cache.get(text)
        if found is None:
            found = "City " + text.rstrip("?").rsplit(" ", 1)[1]
            self.cache.set(text, found)
        return found

    def ask_all_sync(self, texts: Sequence[str]) -> list[str]:
        return [self.ask_sync(text) for text in texts]

    def ask_batch(self, texts: Sequence[str]) -> list[str]:
        raise NotImplementedError("a bare client has no batch")

    def examples(self, pairs: Sequence[tuple[str, str]]) -> Any:
        raise NotImplementedError("a bare client evaluates nothing")

    def evaluate(self, examples: Any, folder: Path) -> float:
        raise NotImplementedError("a bare client evaluates nothing")

    def rows_kept(self) -> bool:
        return False

    async def aclose(self) -> None:
        if self.session is not None:
            await self.session.close()

    def _body(self, text: str) -> bytes:
        turn = {"role": "user", "content": f"## question\n{text}"}
        return orjson.dumps(
            {
                "model": "stub",
                "messages": [*self.prefix, turn],
                "temperature": 0.0,
                "max_tokens": MAX_TOKENS,
            }
        )


_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer x"}


if __name__ == "__main__":
    main(BareSide())
