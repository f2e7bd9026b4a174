"""Edits of signatures: new classes beside the original."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any, Literal

import pydantic
import pytest
from helpers.filler import fill
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import CallError, SignatureError
from lmpipe.signatures.signature import spec_of


class Route(lmpipe.Signature):
    """Route the ticket."""

    ticket: str = lmpipe.Input(desc="as written")
    urgent: bool = lmpipe.Input(default=False)
    team: Literal["billing", "shipping"] = lmpipe.Output()
    stars: int = lmpipe.Output(ge=1, le=9, desc="how angry")

    @pydantic.field_validator("stars")
    @classmethod
    def not_four(cls, value: int) -> int:
        if value == 4:
            raise ValueError("never four")
        return value

    def shout(self) -> str:
        return self.team.upper()


class Plain(lmpipe.Signature):
    a: str = lmpipe.Input()
    b: str = lmpipe.Output()


def names(signature: type[lmpipe.Signature]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    spec = spec_of(signature)
    return spec.input_names, spec.output_names


EDITS: list[Any] = [
    (lambda: Route.append("why", lmpipe.Output()), "ticket urgent -> team stars why"),
    (lambda: Route.append("when", lmpipe.Input()), "ticket urgent when -> team stars"),
    (lambda: Route.prepend("why", lmpipe.Output()), "ticket urgent -> why team stars"),
    (lambda: Route.prepend("when", lmpipe.Input()), "when ticket urgent -> team stars"),
    (lambda: Route.insert(1, "why", lmpipe.Output()), "ticket urgent -> team why stars"),
    (lambda: Route.insert(2, "when", lmpipe.Input()), "ticket urgent when -> team stars"),
    (lambda: Route.insert(-1, "why", lmpipe.Output()), "ticket urgent -> team stars why"),
    (lambda: Route.delete("urgent"), "ticket -> team stars"),
    (lambda: Route.delete("team"), "ticket urgent -> stars"),
    (lambda: Route.with_field("ticket", desc="x"), "ticket urgent -> team stars"),
    (lambda: Route.with_field("urgent", lmpipe.Output()), "ticket -> urgent team stars"),
    (lambda: Route.with_instruction("Go."), "ticket urgent -> team stars"),
    (
        lambda: Route.delete("team").prepend("team", lmpipe.Output()).append("z", lmpipe.Output()),
        "ticket urgent -> team stars z",
    ),
    (lambda: Plain.delete("b").append("c", lmpipe.Output()), "a -> c"),
]


@pytest.mark.parametrize(("edit", "fields"), EDITS)
def test_an_edit_has_its_fields_in_order(edit: Any, fields: str) -> None:
    inputs, outputs = names(edit())
    assert f"{' '.join(inputs)} -> {' '.join(outputs)}" == fields


@pytest.mark.parametrize(("edit", "fields"), EDITS)
def test_an_edit_leaves_the_original(edit: Any, fields: str) -> None:
    before = spec_of(Route).schema_hash, spec_of(Route).instruction
    assert edit() is not Route
    assert (spec_of(Route).schema_hash, spec_of(Route).instruction) == before
    assert names(Route) == (("ticket", "urgent"), ("team", "stars"))


@pytest.mark.parametrize(("edit", "fields"), EDITS)
def test_equal_edits_are_one_class_that_can_be_pickled(edit: Any, fields: str) -> None:
    made = edit()
    assert edit() is made
    assert pickle.loads(pickle.dumps(made)) is made
    assert copy.deepcopy(made) is made


@pytest.mark.parametrize(("edit", "fields"), EDITS)
def test_predictors_ask_for_an_edited_signature(edit: Any, fields: str) -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM(fill)):
        program = lmpipe.Predict(edit())
        program = program.bind(program.state())
        inputs = {name: "x" for name in program.spec.input_names if name != "urgent"}
        result = pickle.loads(pickle.dumps(program))(**inputs)
    assert tuple(result.to_dict()) == tuple(
        name for name in type(result).model_fields if name in program.spec.output_names
    )
    assert pickle.loads(pickle.dumps(result)) == result


def test_another_instruction_keeps_the_fields_and_learned_states() -> None:
    made = Route.with_instruction("Choose a team.")
    assert spec_of(made).instruction == "Choose a team."
    state = lmpipe.Predict(Route).state()
    assert lmpipe.Predict(made).bind(state).state() == state


def test_an_added_field_has_its_type_and_options() -> None:
    made = Route.append("hours", lmpipe.Output(desc="to answer", ge=0), float)
    field = spec_of(made).outputs[-1]
    assert (field.type_name, field.desc) == ("float", "to answer")
    with pytest.raises(pydantic.ValidationError, match="greater than or equal to 0"):
        field.typed(-1)


def test_a_changed_field_keeps_what_was_not_changed() -> None:
    described = spec_of(Route.with_field("stars", desc="from 1 to 5")).outputs[1]
    assert (described.type_name, described.desc) == ("int", "from 1 to 5")
    assert described.schema["maximum"] == 9
    typed = spec_of(Route.with_field("stars", annotation=float)).outputs[1]
    assert (typed.type_name, typed.desc) == ("float", "how angry")
    assert typed.schema["minimum"] == 1
    optional = spec_of(Route.with_field("urgent", desc="now?")).inputs[1]
    assert (optional.required, optional.default()) == (False, False)


def test_a_field_declared_anew_keeps_only_its_type() -> None:
    field = spec_of(Route.with_field("stars", lmpipe.Output())).outputs[1]
    assert (field.type_name, field.desc) == ("int", "")
    assert "maximum" not in field.schema


def test_validators_and_methods_stay() -> None:
    made: Any = Route.append("why", lmpipe.Output())
    values = {"ticket": "x", "team": "billing", "why": "y"}
    assert made(**values, stars=3).shout() == "BILLING"
    with pytest.raises(pydantic.ValidationError, match="never four"):
        made(**values, stars=4)
    assert issubclass(made, Route)
    assert issubclass(made, lmpipe.Prediction)


def test_types_of_the_same_name_are_told_apart() -> None:
    def made(field: str) -> tuple[type[Any], list[Any]]:
        model = pydantic.create_model("Model", **{field: (int, 0)})  # type: ignore[call-overload]
        return model, [
            Plain.append("c", lmpipe.Output(), model),
            Plain.append("c", lmpipe.Output(), list[model]),
            Plain.with_field("b", annotation=model),
        ]

    first, firsts = made("x")
    second, seconds = made("y")
    assert repr(first) == repr(second)
    for one, other in zip(firsts, seconds, strict=True):
        assert one is not other
        assert spec_of(one).schema_hash != spec_of(other).schema_hash


def test_a_made_up_instruction_names_the_new_fields() -> None:
    made = Plain.append("c", lmpipe.Output())
    assert spec_of(made).instruction == "Given `a`, give `b`, `c`."


def test_a_deleted_field_is_gone() -> None:
    made: Any = Route.delete("urgent")
    result = made(ticket="x", team="billing", stars=1)
    with pytest.raises(AttributeError, match="no field 'urgent'"):
        _ = result.urgent
    with (
        lmpipe.using(lm=lmpipe.ScriptedLM(fill)),
        pytest.raises(CallError, match="unknown 'urgent'"),
    ):
        lmpipe.Predict(made)(ticket="x", urgent=True)


def test_reasoning_comes_first_whatever_was_added() -> None:
    program = lmpipe.ChainOfThought(Route.prepend("why", lmpipe.Output()))
    assert program.spec.output_names == ("reasoning", "why", "team", "stars")
    later = program.signature.append("z", lmpipe.Output())
    assert names(later)[1] == ("reasoning", "why", "team", "stars", "z")


def test_signatures_of_strings_and_dicts_are_edited_too() -> None:
    made = lmpipe.signature_from_string("a -> b: int").append("c", lmpipe.Output(), list[str])
    assert str(spec_of(made)) == "Signature(a: str) -> (b: int, c: list[str])"


def test_fields_may_have_the_names_of_the_edits() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Command(lmpipe.Signature):
            insert: str = lmpipe.Input()
            delete: str = lmpipe.Output()

    assert Command(insert="a", delete="b").delete == "b"
    assert names(Command.delete("insert")) == ((), ("delete",))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda: Route.append("team", lmpipe.Output()), "a field of this name; change it with"),
        (lambda: Route.append("x", "str"), r"Route.append\('x'\): the field is 'str'; give"),
        (lambda: Route.append("x", pydantic.Field()), "give lmpipe.Input.. or lmpipe.Output"),
        (lambda: Route.append("a b", lmpipe.Output()), "'a b' cannot be a field"),
        (lambda: Route.append("_x", lmpipe.Output()), "'_x' cannot be a field: pydantic"),
        (lambda: Route.insert(3, "x", lmpipe.Output()), "3 is out of range; Route has 2 outputs"),
        (lambda: Route.insert(-2, "x", lmpipe.Output()), "-2 is out of range"),
        (lambda: Route.delete("taem"), "no field of this name; it has ticket, urgent, team, stars"),
        (lambda: Route.delete("stars"), "Route: Decorators defined with incorrect fields"),
        (lambda: Route.with_field("taem", desc="x"), r"Route.with_field\('taem'\): there is no"),
        (lambda: Route.with_instruction("  "), "give a text that says what the LM should do"),
        (lambda: spec_of(Plain.delete("b")), "Plain has no output field"),
    ],
)
def test_what_cannot_be_edited_is_an_error(edit: Any, message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        edit()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=6))
def test_insertions_behave_like_those_of_a_list(steps: list[tuple[bool, int]]) -> None:
    made: Any = Plain
    sides = {True: ["a"], False: ["b"]}
    for number, (is_input, wanted) in enumerate(steps):
        side = sides[is_input]
        position = min(wanted, len(side))
        field = lmpipe.Input() if is_input else lmpipe.Output()
        made = made.insert(position, f"f{number}", field)
        side.insert(position, f"f{number}")
    assert names(made) == (tuple(sides[True]), tuple(sides[False]))
