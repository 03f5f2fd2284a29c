"""What the shapes of answers share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0)]


class Shape(BaseModel):
    """An object that has these fields and no other. One with a default of None is never null: it may be left out."""

    model_config = ConfigDict(extra="forbid")


class LeftOut(GenerateJsonSchema):
    """Writes the schemas of shapes."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """What may be left out is not null, and has no default."""
        inner = schema["schema"]
        if schema.get("default", inner) is not None:
            return super().default_schema(schema)
        return self.generate_inner(inner["schema"] if inner["type"] == "nullable" else inner)
