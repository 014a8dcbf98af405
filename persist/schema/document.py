#!/usr/bin/env python3
"""document.py            writes docs/events.md from the schemas beside it
document.py --check    says whether it is as it would be written: exit code 0 or 1
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "docs" / "events.md"
ORDER = ["HoldPlaced", "HoldConfirmed", "HoldReleased", "HoldExpired", "HoldExtended", "HoldCancelled", "TokenJoined", "TokenActivated",
         "TokenEnded", "EventCreated", "EventChanged"]

HEAD = """\
<!-- written by persist/schema/document.py from persist/schema/*.json: change those -->
# What is published

One row of `holdfast.outbox`, and one message in Kafka, for each change of a hold, a queue token or an event, in order for each
of them. Its payload is the object that HTTP shows after the change, without what runs down (`*_in_ms`), without what only a look at
the whole can tell (`counts`, `position`, `ahead`, `chance`), and without the `pass`. The schemas (JSON Schema 2020-12) are in
[persist/schema](../persist/schema); they only ever gain optional members, so a consumer ignores members that it does not know.

| where | what |
| --- | --- |
| `id` (header `id`) | a UUIDv7 that is a function of the record in the journal: whoever sees it twice has seen the same result twice |
| `aggregatetype`, `aggregateid` (topic, key) | `hold`, `token` or `event`, and its id |
| `type` (header `type`) | one of those below |
| `seq`, `shard` (header `seq`) | the record's number in its shard's journal |
| `traceparent`, `request_id` (headers) | of the request that caused it; none for what nobody asked for at that moment: what expires, a place that comes up, one that a confirm has used up |

A replace is two results of one record: `HoldReleased` for the old hold, then `HoldPlaced` for the new one. A seat's `version` is a
fencing token: of two results that name a seat the one with the higher version is the later one, whatever order they come in.
"""


def kind(schema):
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(types)


def rows(schema, prefix=""):
    for name, member in schema["properties"].items():
        always = "always" if name in schema.get("required", []) else "where it applies"
        yield f"| `{prefix}{name}` | {kind(member)} | {always} | {member.get('description', '')} |"
        if "properties" in member:
            yield from rows(member, f"{prefix}{name}.")
        if "properties" in member.get("items", {}):
            yield from rows(member["items"], f"{prefix}{name}[].")


def document():
    text = [HEAD]
    names = sorted((path.stem for path in HERE.glob("*.json")), key=ORDER.index)
    for name in names:
        schema = json.loads((HERE / f"{name}.json").read_text())
        text.append(f"## {name}\n\n{schema['description']}\n\n| member | is | there | |\n| --- | --- | --- | --- |")
        text.extend(rows(schema))
        text.append("")
    return "\n".join(text)


def main():
    if sys.argv[1:] == ["--check"]:
        fresh = DOCUMENT.exists() and DOCUMENT.read_text() == document()
        print("docs/events.md is fresh" if fresh else "docs/events.md is not what the schemas say: run persist/schema/document.py")
        return 0 if fresh else 1
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    DOCUMENT.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
