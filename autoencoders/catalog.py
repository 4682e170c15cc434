"""A catalog is a family of named functions whose keyword parameters are their schema.

From one decorated function follow the words a client may write, their validation with exact error
locations, the OpenAPI union, the page of the documentation and the word's place in the family's law test::

    inits = Catalog[Initialise]("inits")

    @inits.word("normal", reference="Hinton and Salakhutdinov, 2006", formula="W ~ N(0, std^2)")
    def normal(weight: Tensor, *, std: PositiveFloat) -> None:
        '''Independent normal weights of one standard deviation.'''

    class Spec(BaseModel):
        init: Annotated[Choice, inits]

    Spec.model_validate({"init": {"name": "normal", "std": 0.01}})
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from autoencoders.errors import CatalogMistake, UnknownWord

F = TypeVar("F", bound=Callable[..., Any])


class Choice(BaseModel):
    """A word chosen from a catalog, with its parameters; every word has its own subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str

    def parameters(self) -> dict[str, Any]:
        """The keyword arguments of the word's function, defaults filled in."""
        shared = cast(type[Choice], type(self).__mro__[1]).model_fields
        return {key: getattr(self, key) for key in type(self).model_fields if key not in shared}


@dataclass(frozen=True)
class Entry(Generic[F]):
    """One word: its function, the schema made of the function's signature, and where it comes from."""

    name: str
    function: F
    schema: type[Choice]
    summary: str
    reference: str
    formula: str
    traits: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """The word as `GET /v1/catalog` shows it, its parameters as JSON Schema."""
        parameters = self.schema.model_json_schema()
        parameters["properties"].pop("name")
        required = [key for key in parameters.get("required", []) if key != "name"]
        parameters.pop("required", None)
        if required:
            parameters["required"] = required
        parameters.pop("title", None)
        parameters.pop("description", None)
        return {
            "name": self.name,
            "summary": self.summary,
            "formula": self.formula,
            "reference": self.reference,
            "parameters": parameters,
        }


class Catalog(Generic[F]):
    """A family of words. Use it as the metadata of an annotation: `Annotated[Choice, catalog]`.

    Args:
        family: the plural under which clients know it, such as `inits`.
        base: the class of its choices; fields that every word of the family shares stand there.
        from_value: what a bare value that is no string means (`8` as a code: `{"name": "plain", "size": 8}`).
    """

    def __init__(
        self,
        family: str,
        *,
        base: type[Choice] = Choice,
        from_value: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.family = family
        self._base = base
        self._from_value = from_value
        self._entries: dict[str, Entry[F]] = {}

    def word(self, name: str, *, reference: str = "", formula: str = "", **traits: Any) -> Callable[[F], F]:
        """Register the decorated function under `name`; it keeps its signature.

        Raises:
            CatalogMistake: a name that is taken, a keyword parameter without annotation, no docstring.
        """

        def register(function: F) -> F:
            if name in self._entries:
                raise CatalogMistake(f"{self.family}: the word {name!r} is defined twice")
            summary = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
            if not summary:
                raise CatalogMistake(f"{self.family}: the word {name!r} has no docstring")
            self._entries[name] = Entry(
                name, function, self._schema(name, function, summary), summary, reference, formula, traits
            )
            return function

        return register

    def _schema(self, name: str, function: F, summary: str) -> type[Choice]:
        fields: dict[str, Any] = {"name": (Literal[name], name)}
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue
            if parameter.annotation is inspect.Parameter.empty or parameter.name in self._base.model_fields:
                raise CatalogMistake(
                    f"{self.family}: {name}({parameter.name}) needs an annotation and a free name"
                )
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, default)
        title = "".join(part.capitalize() for part in f"{self.family}_{name}".split("_"))
        return create_model(
            title, __base__=self._base, __doc__=summary, __module__=function.__module__, **fields
        )

    def discover(self, package: ModuleType | str, path: list[str]) -> None:
        """Import every module of a package, so that a new file is all that a new word needs."""
        prefix = package if isinstance(package, str) else package.__name__
        for module in pkgutil.iter_modules(path):
            importlib.import_module(f"{prefix}.{module.name}")

    def __getitem__(self, name: str) -> Entry[F]:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownWord(self.family, name, tuple(self._entries)) from None

    def __iter__(self) -> Iterator[Entry[F]]:
        return iter(self._entries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> tuple[str, ...]:
        """Its words in the order in which they were defined."""
        return tuple(self._entries)

    def choose(self, value: Any, /, **parameters: Any) -> Choice:
        """The validated choice for a word, a mapping or a choice; keywords are the word's parameters.

        Raises:
            pydantic.ValidationError: unknown parameter, or one out of its range.
            UnknownWord: no such word.
        """
        raw = self._expand(value)
        if isinstance(raw, Choice):
            return raw
        return self[raw["name"]].schema.model_validate({**raw, **parameters})

    def call(self, choice: Choice, /, *arguments: Any, **extra: Any) -> Any:
        """Call the word's function with `arguments` and the choice's own parameters."""
        return self[choice.name].function(*arguments, **choice.parameters(), **extra)

    def _expand(self, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        return self._from_value(value)

    def _check(self, value: Any) -> Any:
        value = self._expand(value)
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
        if not isinstance(name, str):
            raise PydanticCustomError(
                "word_expected",
                "expected a word of {family} or an object with its name, such as {example}",
                {"family": self.family, "example": repr(next(iter(self._entries), ""))},
            )
        if name not in self._entries:
            close = difflib.get_close_matches(name, self._entries, n=1)
            raise PydanticCustomError(
                "unknown_word",
                "{family} has no word {word}{hint}; it has {known}",
                {
                    "family": self.family,
                    "word": repr(name),
                    "hint": f" (did you mean {close[0]!r}?)" if close else "",
                    "known": ", ".join(self._entries),
                },
            )
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        words = {entry.name: handler.generate_schema(entry.schema) for entry in self}
        union = core_schema.tagged_union_schema(words, discriminator="name")
        return core_schema.no_info_before_validator_function(self._check, union)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        union = handler(schema)
        bare = [
            entry.name
            for entry in self
            if not any(f.is_required() for f in entry.schema.model_fields.values())
        ]
        return {"anyOf": [{"type": "string", "enum": bare}, union]} if bare else union
