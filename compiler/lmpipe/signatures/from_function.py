"""Make a signature from a typed function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from lmpipe.errors import SignatureError
from lmpipe.signatures.caller_scope import caller_scope
from lmpipe.signatures.made_classes import (
    Origin,
    find_by_name,
    not_importable,
    remember_origin,
)
from lmpipe.signatures.signature import Input, Output, Prediction, make_signature


def signature_from_function(function: Callable[..., Any]) -> type[Prediction]:
    """Make a signature whose inputs are a function's parameters and whose output is `result`.

    Raises:
        SignatureError: if the function is async or takes `*args` or `**kwargs`, or if a parameter
            or the return value has no annotation or a type without a JSON schema.
    """
    name = function.__name__
    if inspect.iscoroutinefunction(function):
        raise SignatureError(f"{name}: write it with `def`, not `async def`; await `{name}.acall`")
    try:
        hints = _type_hints(function)
    except NameError as error:
        raise SignatureError(f"{name}: an annotation cannot be resolved: {error}") from error
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SignatureError(f"{name}: *args and **kwargs cannot be inputs; name each one")
        if parameter.name not in hints:
            raise SignatureError(f"{name}: parameter {parameter.name!r} needs a type annotation")
        if parameter.name == "result":
            raise SignatureError(f"{name}: 'result' is the name of the return value; rename it")
        default = {} if parameter.default is parameter.empty else {"default": parameter.default}
        fields[parameter.name] = (hints[parameter.name], Input(**default))
    if hints.get("return") in (None, type(None)):
        raise SignatureError(
            f"{name}: needs a return annotation: it is the type of the LM's answer"
        )
    fields["result"] = (hints["return"], Output())
    signature = make_signature(name, function.__doc__, fields, module=function.__module__)

    def origin() -> Origin:
        # By its name: the annotations of a function may hold what cannot be pickled.
        module, qualified_name = function.__module__, function.__qualname__
        if inspect.unwrap(find_by_name(module, qualified_name)) is not function:
            raise not_importable(module, qualified_name)
        return signature_of_named, (module, qualified_name)

    remember_origin(signature, origin)
    return signature


def signature_of_named(module: str, qualified_name: str) -> type[Prediction]:
    """Make the signature of a function that can be imported; unpickling calls this."""
    importlib.import_module(module)
    return signature_from_function(inspect.unwrap(find_by_name(module, qualified_name)))


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:  # a type that is declared in a function, beside this one
        return get_type_hints(function, localns=dict(caller_scope()), include_extras=True)
