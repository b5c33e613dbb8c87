"""RFC 3339 instants in a column: the forms that nearly all phones write, each parsed for many texts at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NO_INSTANT = np.iinfo(np.int64).min
"""Stands for a text that was not parsed."""

_DATE_TIME = len("2026-11-20T11:00:00")
_SEPARATORS, _SEPARATORS_AT = np.frombuffer(b"--T::", np.uint8), [4, 7, 10, 13, 16]
_DIGITS_AT = [at for at in range(_DATE_TIME) if at not in _SEPARATORS_AT]
_FRACTIONS = (0, len(".123"), len(".123456"))
_UTC, _OFFSET = len("Z"), len("+00:00")
_FRACTION_OF = {_DATE_TIME + fraction + zone: fraction for fraction in _FRACTIONS for zone in (_UTC, _OFFSET)}
"""The lengths of the forms: seconds, milli- or microseconds, then Z or an offset; each length is one form."""
_YEAR_1_US = int(np.datetime64("0001-01-01", "us").astype(np.int64))
_MINUTE_US = 60_000_000

Letters = NDArray[np.uint8]


def instants_us(texts: Sequence[str]) -> NDArray[np.int64]:
    """Microseconds since 1970 UTC of `2026-11-20T11:00:00Z`, also with `.123` or `.123456` and with an offset.

    NO_INSTANT for any other text, and possibly for one of these beside a date that the calendar lacks: RFC 3339 allows
    more than this, so such texts must be looked at one by one.
    """
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    if lengths.size and lengths.min() == lengths.max():
        return _of_texts(texts)
    instants = np.full(lengths.size, NO_INSTANT, np.int64)
    for length in _FRACTION_OF:
        rows = np.flatnonzero(lengths == length)
        if rows.size:
            instants[rows] = _of_texts([texts[row] for row in rows.tolist()])
    return instants


def _of_texts(texts: Sequence[str]) -> NDArray[np.int64]:
    joined, length = "".join(texts), len(texts[0])
    if length not in _FRACTION_OF or not joined.isascii():
        return np.full(len(texts), NO_INSTANT, np.int64)
    return instants_of_letters(np.frombuffer(joined.encode(), np.uint8).reshape(len(texts), length))


def instants_of_letters(letters: Letters) -> NDArray[np.int64]:
    """`instants_us` of texts of one length, a row each."""
    count, length = letters.shape
    nothing = np.full(count, NO_INSTANT, np.int64)
    if length not in _FRACTION_OF:
        return nothing
    local = _DATE_TIME + _FRACTION_OF[length]
    is_form = _is_date_time(letters[:, :local])
    behind_utc_us, is_zone = _read_zone(letters[:, local:])
    is_form &= is_zone
    if not is_form.any():
        return nothing
    try:
        clock = np.ascontiguousarray(letters[is_form, :local]).view(f"S{local}").ravel().astype("datetime64[us]")
    except ValueError:  # a date that the calendar lacks: numpy does not say whose
        return nothing
    instants = clock.astype(np.int64)
    instants[instants < _YEAR_1_US] = NO_INSTANT
    nothing[is_form] = np.where(instants == NO_INSTANT, NO_INSTANT, instants - behind_utc_us[is_form])
    return nothing


def _is_date_time(letters: Letters) -> NDArray[np.bool_]:
    is_form: NDArray[np.bool_] = (letters[:, _SEPARATORS_AT] == _SEPARATORS).all(axis=1) & _are_digits(
        letters[:, _DIGITS_AT]
    )
    if letters.shape[1] > _DATE_TIME:
        is_form &= (letters[:, _DATE_TIME] == ord(".")) & _are_digits(letters[:, _DATE_TIME + 1 :])
    return is_form


def _read_zone(letters: Letters) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """By how much the clock is ahead of UTC, and whether the zone is of the form."""
    sign = letters[:, 0]
    if letters.shape[1] == _UTC:
        return np.zeros(sign.size, np.int64), sign == ord("Z")
    digits = letters[:, [1, 2, 4, 5]]
    hours, minutes = ((digits[:, at].astype(np.int64) - 48) * 10 + digits[:, at + 1] - 48 for at in (0, 2))
    is_zone = ((sign == ord("+")) | (sign == ord("-"))) & (letters[:, 3] == ord(":")) & _are_digits(digits)
    ahead_us = (hours * 60 + minutes) * _MINUTE_US
    return np.where(sign == ord("-"), -ahead_us, ahead_us), is_zone & (hours < 24) & (minutes < 60)


def _are_digits(letters: Letters) -> NDArray[np.bool_]:
    is_digit: NDArray[np.bool_] = letters - np.uint8(ord("0")) <= 9
    are_digits: NDArray[np.bool_] = is_digit.all(axis=1)
    return are_digits
