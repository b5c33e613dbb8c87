"""JSON read strictly: what is wrong in a text, and where, in words."""

import json
import re

_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "datetime": "an instant",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": "an object",
    "str": "a text",
}
"""What msgspec calls the types of JSON, for people."""


def parse_json(data: bytes) -> object:
    """A document: UTF-8, no key twice in an object, no NaN, no half characters. ValueError says what is wrong."""
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_number)
        json.dumps(document, ensure_ascii=False).encode()  # fails for what no offer could carry
        return document
    except UnicodeEncodeError as error:
        raise ValueError(f"$: {error.object[error.start]!a} is half a surrogate pair, which is no character") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start}: is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno} column {error.colno}: is no JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("$: is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"$: {error}") from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice in one object")
        found[key] = value
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def plain_words(message: str) -> str:
    """A message of msgspec in words that a reader knows who never programmed."""
    words = re.sub(r"`([a-z |]+)`", lambda found: " or ".join(_word(name) for name in found[1].split(" | ")), message)
    return f"{words[:1].lower()}{words[1:]}"


def _word(name: str) -> str:
    return _WORDS.get(name, f"`{name}`")


def shown(value: object) -> str:
    """A value of a document, as JSON writes it; a long one cut short."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
