"""suppressed.csv: its bytes become the devices that opted out, or a list of all that is wrong, by line."""

import csv
import io

HEADER = "device_id"
MAX_ID_LENGTH = 128


def read_suppressed(data: bytes | None) -> tuple[frozenset[str], list[str]]:
    """Read suppressed.csv: UTF-8, the header `device_id`, one id a line; the ids and every fault. None: no such file.

    An id with spaces around it suppresses the device without them as well: whoever opted out must not get an offer for
    a slip of the pen. An id may come twice. Never raises for any bytes.
    """
    if data is None:
        return frozenset(), []
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return frozenset(), [f"suppressed.csv line {line}: byte {error.start} is not UTF-8"]
    ids: set[str] = set()
    faults: list[str] = []
    line = 1
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    try:
        header = next(reader, [])
        if [name.strip() for name in header] != [HEADER]:
            faults.append(f"suppressed.csv line 1: the header is {','.join(header)!r}; it must be {HEADER!r}")
        line = reader.line_num + 1
        for record in reader:
            if len(record) > 1:
                problem = f"has {len(record)} fields; valid is one id, in quotes if it has a comma"
                faults.append(f"suppressed.csv line {line}: {problem}")
            elif record:  # an empty line is no row
                (given,) = record
                device_id = given.strip()
                if not 0 < len(device_id) <= MAX_ID_LENGTH:
                    problem = f"has {len(device_id)} characters; valid are 1 to {MAX_ID_LENGTH}"
                    faults.append(f"suppressed.csv line {line}, device_id: {problem}")
                ids.add(given)
                ids.add(device_id)
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append(f"suppressed.csv line {line}: is no CSV: {error}")
    return (frozenset() if faults else frozenset(ids)), faults
