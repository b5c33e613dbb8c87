"""The canonical log line: one a batch, file or build, with everything worth knowing of it as fields.

`evaluated partition_id=2 events=1024 rejected=3 offers=17 …`: a person can read it, and a query can take it apart
(`parse` and `extract` in KQL). Never a device id or a position: those lie in the lake, and there as keys.
"""

from collections.abc import Mapping


def line(did: str, fields: Mapping[str, object]) -> str:
    """What was done and its fields, as `key=value`; a value with white space or quotes is quoted."""
    return " ".join([did, *(f"{key}={_shown(value)}" for key, value in fields.items())])


def _shown(value: object) -> str:
    text = str(value)
    if text and not any(character.isspace() or character in '"=' for character in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
