"""`ProgramState`: everything that a compiler can learn, as one frozen value with a hash."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

import orjson
import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer

from lmpipe.errors import ArtifactError
from lmpipe.foundation.canonical_json import canonical_json, digest, pretty_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.vectors import decode_bytes
from lmpipe.state.lessons import Lesson, with_lessons

STATE_FORMAT = 1

T = TypeVar("T")

_HASH_DIGITS = 16

_MEMBER = re.compile(r"members\[(0|[1-9][0-9]*)\]\.(.+)", re.DOTALL)


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MappingProxyType({key: _freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    return value


def to_plain(value: Any) -> Any:
    """Copy a frozen JSON value into plain, mutable dicts and lists."""
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value


def _as_json(value: Mapping[str, Any]) -> Any:
    # The same value that a file gives back: keys sorted, dates as text, no NaN. Otherwise a state
    # in memory and the same state loaded could show an LM different demonstrations.
    try:
        return load_json(canonical_json(to_plain(value)))
    except TypeError as error:
        raise ValueError(str(error)) from error


FrozenJson = Annotated[
    Mapping[str, Any],
    AfterValidator(_as_json),
    AfterValidator(_freeze),
    PlainSerializer(to_plain, return_type=dict[str, Any]),
]

FrozenTexts = Annotated[
    Mapping[str, str],
    AfterValidator(lambda texts: MappingProxyType(dict(sorted(texts.items())))),
    PlainSerializer(dict, return_type=dict[str, str]),
]


class _Value(BaseModel, frozen=True):
    model_config = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Return the value as JSON; `model_validate` reads it back unchanged."""
        return self.model_dump(mode="json")

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the value, in hexadecimal digits."""
        return digest(self.to_json())

    def _changed(self, changes: Mapping[str, Any]) -> Self:
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**fields, **changes})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        # pydantic's method would copy the cached hash and skip validation.
        return self._changed(update or {})

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, to_plain(value) if isinstance(value, Mapping) else value

    def __copy__(self) -> Self:  # a frozen value may be shared
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:  # a read-only mapping cannot be pickled
        return type(self).model_validate, (self.to_json(),)

    def __hash__(self) -> int:
        return hash(self.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.hash == other.hash


def _is_none(value: object) -> bool:
    return value is None


class Demo(_Value, frozen=True):
    """A demonstration: one example of a predictor's inputs and outputs.

    Args:
        inputs: input values by field name, as JSON.
        outputs: output values by field name, as JSON. A labeled demonstration may lack some
            (a `reasoning` that no data set holds).
        source: `labeled` (from the data) or `bootstrapped` (from a rollout that passed).
        example: which example of the data it was made from, as `data.identity.inputs_digest`
            says, so that a run on that example is not shown it; None if that is not known.
    """

    inputs: FrozenJson
    outputs: FrozenJson
    source: Literal["labeled", "bootstrapped"] = "labeled"
    # Not written if None, so that states from before this field keep their hash and bytes.
    example: str | None = pydantic.Field(default=None, exclude_if=_is_none)


class Vectors(_Value, frozen=True):
    """Embeddings of the inputs of a pool, one vector per demonstration.

    Args:
        embedder: the name of the embedding LM; the caller configures its address.
        dimension: the number of components of each vector, 1 or more.
        data: unit vectors in the pool's order: little-endian half floats in base64.
    """

    embedder: str
    dimension: int = pydantic.Field(ge=1, strict=True)
    data: str = pydantic.Field(repr=False)

    @cached_property
    def count(self) -> int:
        """The number of vectors."""
        return len(decode_bytes(self.data)) // (2 * self.dimension)

    @pydantic.model_validator(mode="after")
    def _check_data(self) -> Self:
        size = len(decode_bytes(self.data))
        if size % (2 * self.dimension):
            raise ValueError(
                f"the vectors have {size} bytes, which is not a multiple of {2 * self.dimension}, "
                f"the size of a vector of {self.dimension} numbers"
            )
        return self


class Retrieval(_Value, frozen=True):
    """Demonstrations that are chosen for each call: those nearest to its inputs.

    Args:
        pool: the demonstrations to choose from; of two that are equally near, the earlier one
            is chosen.
        k: how many are shown, 1 or more.
        balanced: choose at most k / number of labels (rounded up) of each label first, then fill
            up with the nearest. The labels are the values of the first output with a fixed set
            of values; without such an output this has no effect.
        vectors: embeddings of the pool's inputs, to measure nearness by; None measures it by
            words and is not written to files.
    """

    pool: tuple[Demo, ...]
    k: int = pydantic.Field(ge=1, strict=True)
    balanced: bool = False
    vectors: Vectors | None = pydantic.Field(default=None, exclude_if=_is_none)

    @pydantic.model_validator(mode="after")
    def _check_vectors(self) -> Self:
        if self.vectors is not None and self.vectors.count != len(self.pool):
            raise ValueError(
                f"a pool of {len(self.pool)} demonstrations has {self.vectors.count} vectors"
            )
        return self


class AdapterRef(_Value, frozen=True):
    """A reference to a LoRA adapter that was trained for a predictor.

    Args:
        name: its name on servers. It ends in the first digits of its hash, so that the cache key
            of a reply tells which weights wrote it.
        sha256: the hash of its weights and settings, in hexadecimal digits.
        base: the LM that it was trained for, as in `LM.model`.
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128)
    sha256: str = pydantic.Field(pattern=r"^[0-9a-f]{64}$")
    base: str

    @pydantic.model_validator(mode="after")
    def _check_name(self) -> Self:
        if not has_hash(self.name, self.sha256):
            raise ValueError(
                f"the name of an adapter must end in the first {_HASH_DIGITS} digits of its hash, "
                f"{self.sha256[:_HASH_DIGITS]}; got {self.name}"
            )
        return self

    @staticmethod
    def of(label: str, sha256: str, base: str) -> AdapterRef:
        """Refer to an adapter by a label, such as the path of its predictor, and its hash."""
        return AdapterRef(name=weights_name(label, sha256), sha256=sha256, base=base)


def weights_name(label: str, sha256: str) -> str:
    """Make the name that weights of this label and hash have on servers."""
    word = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-") or "weights"
    return f"{word[:64]}-{sha256[:_HASH_DIGITS]}"


def has_hash(name: str, sha256: str) -> bool:
    """Whether weights of this hash may have this name."""
    return name.endswith(f"-{sha256[:_HASH_DIGITS]}")


def _is_empty(value: Mapping[str, str]) -> bool:
    return not value


class PredictorState(_Value, frozen=True):
    """The state learned for one predictor.

    Args:
        instruction: what the LM should do.
        lessons: what it should also know, learned from runs, in the order of prompts.
        demos: demonstrations in the order in which they are shown.
        layout: the name of the prompt layout.
        constrained: whether outputs are constrained to their types while decoding, if the server
            can.
        lm: a model name that replaces that of the run's LM, or None.
        decoding: decoding settings that replace the LM's, such as `temperature`.
        retrieval: demonstrations that are chosen for each call and shown after `demos`, or None.
        adapter: the LoRA adapter that answers, or None.
        descriptions: what replaces the declared descriptions of fields, by field name; those of
            other fields are the declared ones.
        schema_hash: the hash of the signature that this was learned for.
    """

    instruction: str
    # Not written if there are none, so that states from before this field keep their bytes.
    lessons: tuple[Lesson, ...] = pydantic.Field(default=(), exclude_if=operator.not_)
    demos: tuple[Demo, ...] = ()
    layout: str = "chat"
    constrained: bool = False
    lm: str | None = None
    decoding: FrozenJson = pydantic.Field(default_factory=dict, validate_default=True)
    # Not written if None or empty, so that states from before these fields keep their hash and
    # bytes.
    retrieval: Retrieval | None = pydantic.Field(default=None, exclude_if=_is_none)
    adapter: AdapterRef | None = pydantic.Field(default=None, exclude_if=_is_none)
    descriptions: FrozenTexts = pydantic.Field(
        default_factory=lambda: MappingProxyType({}), exclude_if=_is_empty
    )
    schema_hash: str

    @property
    def told(self) -> str:
        """What the LM is told to do: the instruction, then the lessons."""
        return with_lessons(self.instruction, self.lessons)

    def replace(self, **changes: Any) -> PredictorState:
        """Copy it with some fields changed; the copy is validated."""
        return self._changed(changes)


class ProgramState(_Value, frozen=True):
    """The state learned for a program: one `PredictorState` per predictor path.

    Args:
        predictors: predictor states by path. An ensemble's paths are `members[0].<path>`,
            `members[1].<path>`, …; see `ensemble_state`.
        reduce: how the predictions of an ensemble's members become one, such as `majority`;
            None for a single program, which is not written to files.
    """

    predictors: Annotated[
        Mapping[str, PredictorState],
        AfterValidator(lambda value: MappingProxyType(dict(value))),
        PlainSerializer(lambda value: {path: item.to_json() for path, item in value.items()}),
    ]
    reduce: str | None = pydantic.Field(default=None, exclude_if=_is_none)

    @pydantic.model_validator(mode="after")
    def _check_members(self) -> Self:
        if self.reduce is None:
            return self
        found = [_MEMBER.fullmatch(path) for path in self.predictors]
        strange = [path for path, match in zip(self.predictors, found, strict=True) if not match]
        if strange or not found:
            found_paths = ", ".join(strange) if strange else "none"
            raise ValueError(
                f"the paths of an ensemble (reduce={self.reduce!r}) must be members[0].<path>, "
                f"members[1].<path>, …; got {found_paths}"
            )
        numbers = sorted({int(match[1]) for match in found if match})
        if numbers != list(range(len(numbers))):
            raise ValueError(
                "the members of an ensemble must be numbered from 0 without gaps; got "
                f"{', '.join(map(str, numbers))}"
            )
        return self

    def __getitem__(self, path: str) -> PredictorState:
        return self.predictors[path]

    def replace(self, /, **changes: PredictorState) -> ProgramState:
        """Copy it with the states of some predictors changed, by path."""
        return self.update(changes)

    def update(self, changes: Mapping[str, PredictorState]) -> ProgramState:
        """Copy it with the states of some predictors changed, by path."""
        return self._changed({"predictors": {**self.predictors, **changes}})

    def map(self, **changes: Any) -> ProgramState:
        """Copy it with the same change to every predictor, such as `layout="plain"`."""
        changed = {path: item.replace(**changes) for path, item in self.predictors.items()}
        return self._changed({"predictors": changed})

    def declared_path(self, path: str) -> str:
        """Return a path as the program declares it: without the member of an ensemble."""
        match = None if self.reduce is None else _MEMBER.fullmatch(path)
        return match[2] if match else path

    def without_demos(self) -> ProgramState:
        """Copy it without demonstrations, fixed or retrieved."""
        return self.map(demos=(), retrieval=None)

    def look_up(self, path: str, table: Mapping[str, T], default: T) -> T:
        """Look up a path of this state in a table by declared paths, such as signatures."""
        # The path itself comes first: the declared program may have been an ensemble already.
        return table.get(path, table.get(self.declared_path(path), default))

    def to_bytes(self) -> bytes:
        """Return the bytes of `program.json`; the same state gives the same bytes."""
        return pretty_json({"format": STATE_FORMAT, "state": self.to_json(), "hash": self.hash})

    @staticmethod
    def from_bytes(data: bytes, *, where: str = "program.json") -> ProgramState:
        """Read what `to_bytes` wrote; errors name the file `where`.

        Raises:
            ArtifactError: if it is damaged, was edited by hand or has a later format.
        """
        try:
            value = load_json(data)
            content, stated, version = value["state"], value["hash"], value["format"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise _unreadable(where, error) from error
        if version != STATE_FORMAT:
            raise ArtifactError(
                f"{where} has format {version}, but this version of lmpipe reads {STATE_FORMAT}: "
                "update lmpipe"
            )
        try:
            state = ProgramState.model_validate(content)
        except pydantic.ValidationError as error:
            raise _unreadable(where, error) from error
        if stated != state.hash:
            raise ArtifactError(
                f"{where} was changed after it was written: it states the hash "
                f"{str(stated)[:12]}, but its content has {state.hash[:12]}\n"
                "  restore the file, or compile again"
            )
        return state


def ensemble_state(states: Sequence[ProgramState], *, reduce: str = "majority") -> ProgramState:
    """Combine states into an ensemble's; a program bound to it runs all members, which vote.

    Args:
        states: the members' states, all of the same program; each has one vote, equal ones too.
        reduce: how predictions become one; a key of `modules.voting.REDUCERS`.

    Raises:
        ArtifactError: if there are no members, or one is an ensemble itself.
    """
    nested = [number for number, state in enumerate(states) if state.reduce is not None]
    if nested or not states:
        found = f"member {nested[0]} is an ensemble itself" if nested else "there are none"
        raise ArtifactError(
            f"the members of an ensemble must be states of single programs, but {found}: pass the "
            "members of inner ensembles, member_states(state), one by one"
        )
    return ProgramState(
        predictors={
            f"members[{number}].{path}": item
            for number, state in enumerate(states)
            for path, item in state.predictors.items()
        },
        reduce=reduce,
    )


def member_states(state: ProgramState) -> tuple[ProgramState, ...]:
    """List the states of an ensemble's members; a single program's state is the only one."""
    if state.reduce is None:
        return (state,)
    members: dict[int, dict[str, PredictorState]] = {}
    for path, item in state.predictors.items():
        match = _MEMBER.fullmatch(path)
        assert match is not None
        members.setdefault(int(match[1]), {})[match[2]] = item
    return tuple(ProgramState(predictors=members[number]) for number in range(len(members)))


def _unreadable(where: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{where} does not hold a learned state: {error}\n  compile again, or restore the file"
    )
