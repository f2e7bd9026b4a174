"""`output_check`: how a signature declares checks of its outputs."""

from __future__ import annotations

from typing import Any

import pytest

import lmpipe
from lmpipe.errors import SignatureError
from lmpipe.signatures.output_checks import checks_of
from lmpipe.signatures.signature import spec_of, with_reasoning


class Base(lmpipe.Signature):
    """Write a query."""

    question: str = lmpipe.Input()
    query: str = lmpipe.Output()

    @lmpipe.output_check("Use fewer letters.")
    def short(self) -> bool:
        return len(self.query) < 10

    @lmpipe.output_check("Do not repeat the question.", required=False)
    def new(self) -> bool:
        return self.query != self.question


def test_checks_are_found_in_the_order_of_declaration() -> None:
    found = [(check.name, check.feedback, check.required) for check in checks_of(Base)]
    assert found == [
        ("short", "Use fewer letters.", True),
        ("new", "Do not repeat the question.", False),
    ]


def test_a_check_sees_inputs_and_outputs() -> None:
    result = Base(question="a", query="a")  # type: ignore[call-arg]
    assert [check.passes(result) for check in checks_of(Base)] == [True, False]


def test_a_subclass_inherits_checks_and_may_replace_them() -> None:
    class Longer(Base):
        @lmpipe.output_check("Use fewer than 20 letters.")
        def short(self) -> bool:
            return len(self.query) < 20

    assert [check.feedback for check in checks_of(Longer)] == [
        "Use fewer than 20 letters.",
        "Do not repeat the question.",
    ]


def test_a_subclass_may_drop_a_check() -> None:
    class Free(Base):
        def short(self) -> bool:
            return True

    assert [check.name for check in checks_of(Free)] == ["new"]


def test_reasoning_keeps_the_checks() -> None:
    assert checks_of(with_reasoning(Base)) == checks_of(Base)


def test_checks_are_no_fields_and_change_no_schema() -> None:
    class Same(lmpipe.Signature):
        """Write a query."""

        question: str = lmpipe.Input()
        query: str = lmpipe.Output()

    assert spec_of(Base).output_names == ("query",)
    assert spec_of(Base).schema_hash == spec_of(Same).schema_hash


@pytest.mark.parametrize("feedback", ["", "  ", None, len])
def test_a_check_without_feedback_is_refused(feedback: Any) -> None:
    with pytest.raises(SignatureError, match="give what the LM is told"):
        lmpipe.output_check(feedback)


def test_an_async_check_is_refused() -> None:
    async def later(self: Any) -> bool:
        return True

    with pytest.raises(SignatureError, match="'later' is not a plain method"):
        lmpipe.output_check("x")(later)  # type: ignore[type-var]


def test_an_error_of_a_check_says_which_one_raised_it() -> None:
    class Third(Base):
        @lmpipe.output_check("Begin the third word with a.")
        def third(self) -> bool:
            return self.query.split()[2][0] == "a"

    checks = {check.name: check for check in checks_of(Third)}
    with pytest.raises(IndexError) as raised:
        checks["third"].passes(Third.model_validate({"question": "?", "query": "one"}))
    assert raised.value.__notes__ == ["raised by the check Third.third"]
