"""`Code`: a text that is code; the fence that LMs write around it is taken off."""

from __future__ import annotations

import ast
import copyreg
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, get_args

from pydantic_core import core_schema
from typing_extensions import TypeVar

from lmpipe.signatures.made_classes import reduce_class, remember_origin

# Names of languages as fences have them, and as people write them.
_SPELLINGS = {
    "bash": "Bash",
    "c": "C",
    "cpp": "C++",
    "csharp": "C#",
    "css": "CSS",
    "go": "Go",
    "html": "HTML",
    "java": "Java",
    "javascript": "JavaScript",
    "json": "JSON",
    "php": "PHP",
    "python": "Python",
    "r": "R",
    "ruby": "Ruby",
    "rust": "Rust",
    "sql": "SQL",
    "typescript": "TypeScript",
    "xml": "XML",
    "yaml": "YAML",
}
_ALIASES = {
    "c++": "cpp",
    "c#": "csharp",
    "js": "javascript",
    "py": "python",
    "python3": "python",
    "rb": "ruby",
    "rs": "rust",
    "sh": "bash",
    "shell": "bash",
    "ts": "typescript",
    "yml": "yaml",
}

L = TypeVar("L", default=Any)


class _CodeMeta(type):
    """Makes the classes of `Code["python"]` and its like picklable."""


copyreg.pickle(_CodeMeta, reduce_class)  # type: ignore[arg-type]


class _Code(str, metaclass=_CodeMeta):
    """A text that is code, in any language or in one: `Code["python"]`.

    Type checkers want `Code[Literal["python"]]`, which is the same. Of a text with one fenced
    block, the value is the inside of the fence; a text with several is not valid. The prompt says
    what language is wanted.
    """

    __slots__ = ()

    language: ClassVar[str] = ""

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, text)

    def __class_getitem__(cls, language: Any) -> Any:
        named = get_args(language) or (language,)
        if len(named) != 1 or not isinstance(named[0], str) or cls.language:
            raise TypeError(
                f"Code takes the name of one language, as in Code['python'], not {language!r}"
            )
        return code_in(named[0].lower())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            lambda text: cls(without_fence(text, cls.language)),
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "description": cls.words()}

    @classmethod
    def words(cls) -> str:
        """Say what it is to an LM, such as `Python code`."""
        language = _SPELLINGS.get(_ALIASES.get(cls.language, cls.language), cls.language)
        return f"{language} code".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)


if TYPE_CHECKING:

    class Code(str, Generic[L]):
        """A text that is code, in any language or in one."""

        language: ClassVar[str]

        @classmethod
        def words(cls) -> str:
            """Say what it is to an LM."""
            ...

else:
    _Code.__name__ = _Code.__qualname__ = "Code"
    Code = _Code


@cache
def code_in(language: str) -> Any:
    """Return the type of code in a language; equal names give one type."""
    made = _CodeMeta(f"Code[{language!r}]", (_Code,), {"language": language, "__slots__": ()})
    remember_origin(made, lambda: (code_in, (language,)))
    return made


@dataclass(frozen=True, slots=True)
class _Block:
    """A fenced block: what follows the backticks of its first line, and its inside."""

    tag: str
    inside: str


def without_fence(text: str, language: str = "") -> str:
    """Return the code in a text: the inside of its only fenced block, or all of it.

    A text that is valid Python as it stands is kept: its docstrings may have fences.

    Raises:
        ValueError: if it has several blocks, of which none is the only one in the language.
    """
    blocks = _blocks(text)
    if not blocks:
        return text
    wanted = _ALIASES.get(language, language)
    if wanted == "python" and _is_python(text):
        return text
    named = [block for block in blocks if language and _ALIASES.get(block.tag, block.tag) == wanted]
    chosen = named or blocks
    if len(chosen) > 1:
        raise ValueError(f"it has {len(chosen)} blocks of code; give one")
    return chosen[0].inside


def _blocks(text: str) -> Sequence[_Block]:
    """Find the fenced blocks of a text; the last may lack its end."""
    found: list[_Block] = []
    fence, tag, inside = "", "", list[str]()
    for line in text.split("\n"):
        marks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            if len(marks) >= len(fence) and not line[len(marks) :].strip():
                found.append(_Block(tag, "\n".join(inside)))
                fence = ""
            else:
                inside.append(line)
        elif len(marks) >= 3:
            fence, tag, inside = marks, line[len(marks) :].strip().lower(), []
    if fence:
        found.append(_Block(tag, "\n".join(inside)))
    return found


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
