"""Does the answer's JSON keep to a schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.scorers.json_reading import NoJsonError, read_json
from danlu.evaluation.scorers.score import Score


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """1 if the answer is JSON that the schema allows, else 0; what is no JSON is wrong.

    Attributes:
        schema: A JSON Schema (drafts 4 to 2020-12, by its ``$schema``); references to files or
            addresses are not followed. None: each record's reference is its schema.
        bare: Allow nothing around the JSON.

    Example:
        >>> JsonSchema({"required": ["name"]}).score('{"nam": 1}', None).why
        'at the top: "name" is a required property'
    """

    schema: Mapping[str, Any] | None = field(default=None)
    bare: bool = False

    def score(self, answer: str, reference: Any) -> Score:
        """Score one answer.

        Raises:
            EvaluationError: If there is no schema, or it is not valid.
        """
        import jsonschema_rs

        schema = self.schema if self.schema is not None else reference
        if not isinstance(schema, Mapping):
            raise EvaluationError(f"the schema is {schema!r}; it must be a mapping.")
        try:
            validator = jsonschema_rs.validator_for(dict(schema), retriever=_refuse)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise EvaluationError(f"the schema is not valid: {error}") from error
        try:
            given = read_json(answer, bare=self.bare)
        except NoJsonError as error:
            return Score(0.0, why=str(error))
        for fault in validator.iter_errors(given):
            where = ".".join(map(str, fault.instance_path)) or "the top"
            return Score(0.0, why=f"at {where}: {fault.message}")
        return Score(1.0)


def _refuse(address: str) -> Any:
    raise ValueError(f"{address} is not followed; put it into the schema")
