"""`holdfast describe`: the actor classes of a server, and what their actions take and give."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from holdfast.cli.session import Session
from holdfast.client import Client
from holdfast.v1 import actor_service_pb2


def describe(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(help="Registered name of one class; all when left out.")
    ] = "",
) -> None:
    """Print the actor classes with their actions and events; with --json, their JSON Schemas."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        answer = await client.transport.describe(session.namespace, name, session.deadline)
        for actor in answer.actors:
            fields = _fields(actor)
            if session.json:
                session.line(fields)
            else:
                typer.echo(_text(fields))

    session.run(body)


def _fields(actor: actor_service_pb2.ActorDescription) -> dict[str, Any]:
    fields: dict[str, Any] = _integral(
        MessageToDict(
            actor, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )
    return fields


def _integral(value: Any) -> Any:
    """The value with its whole numbers as integers: protobuf's Struct has only floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    return value


def _text(actor: dict[str, Any]) -> str:
    lines = [_line(actor["name"], actor["description"])]
    if "input_schema" in actor:
        lines.append(f"  input: {_kind(actor['input_schema'])}")
    for action in actor["actions"]:
        marks = [mark for mark in ("read_only", "streaming") if action[mark]]
        suffix = f"  [{', '.join(marks).replace('_', '-')}]" if marks else ""
        lines.append("  " + _line(_signature(action) + suffix, action["description"]))
    for event in actor["events"]:
        kinds = map(_kind, event.get("arguments_schema", {}).get("prefixItems", []))
        suffix = "  [ephemeral]" if event["ephemeral"] else ""
        lines.append(f"  event {event['name']}({', '.join(kinds)}){suffix}")
    return "\n".join(lines)


def _line(head: str, description: str) -> str:
    return f"{head}  {description}" if description else head


def _signature(action: dict[str, Any]) -> str:
    schema = action.get("arguments_schema", {})
    required = schema.get("required", [])
    parts = []
    for name in action["parameters"]:
        found = schema.get("properties", {}).get(name)
        if found is None:
            parts.append(f"**{name}")
            continue
        part = f"{name}: {_kind(found)}"
        if name not in required:
            default = found.get("default")
            part += f" = {json.dumps(default, ensure_ascii=False)}"
        parts.append(part)
    return f"{action['name']}({', '.join(parts)}) -> {_kind(action.get('result_schema', {}))}"


def _kind(schema: dict[str, Any]) -> str:
    """A JSON Schema in one word or few."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " | ".join(dict.fromkeys(_kind(option) for option in options))
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return f"{_kind(schema['items'])}[]"
    if schema.get("type") == "string" and "contentEncoding" in schema:
        return str(schema["contentEncoding"])
    if schema.get("type") == "string" and "format" in schema:
        return str(schema["format"])
    if schema.get("type") in (None, "object"):
        return str(schema.get("title", schema.get("type", "any")))
    return str(schema["type"])


__all__ = ["describe"]
