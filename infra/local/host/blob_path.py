"""Path patterns of blob triggers: `container/folder/{name}.avro`.

An expression in braces matches any text, also with slashes, as in the host's BindingTemplateSource; what it matched
becomes metadata under its name. A pattern without a slash stands for every blob of the container.
"""

import re
from dataclasses import dataclass

_EXPRESSION = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class BlobPath:
    """A parsed pattern; `prefix` is what every matching name begins with."""

    text: str
    container: str
    prefix: str
    pattern: re.Pattern[str]

    def match(self, name: str) -> dict[str, str] | None:
        """The values of the expressions for a blob of this name; None when it does not match."""
        found = self.pattern.fullmatch(name)
        return found.groupdict() if found else None


def parse_blob_path(text: str) -> BlobPath:
    """Parse a pattern; raises ValueError for a container name that is empty or an expression."""
    container, _, blob = text.strip("/").partition("/")
    if not container or "{" in container:
        raise ValueError(f"blob path {text!r} must begin with the name of one container, as in container/{{name}}")
    parts = _EXPRESSION.split(blob or "{name}")
    # split() leaves texts at even places and expression names at odd ones.
    pattern = "".join(f"(?P<{part}>.*)" if place % 2 else re.escape(part) for place, part in enumerate(parts))
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ValueError(f"blob path {text!r} cannot be used: {error}") from error
    return BlobPath(text, container, parts[0], compiled)
