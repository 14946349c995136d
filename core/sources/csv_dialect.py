"""CSV dialect: delimiters, column names, encoding and missing values of a CSV file."""

from __future__ import annotations

import codecs
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from headrace.core.errors import UsageError

_NAMES = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|", "none": ""}


@dataclass(frozen=True)
class CsvDialect:
    """The dialect of CSV files. The default is RFC 4180, in UTF-8, with a header.

    Attributes:
        delimiter: one ASCII character between fields; files named .tsv have a tab if this is a comma.
        quote: one ASCII character around fields that contain special characters; "" for none.
        escape: one ASCII character before a character without its special meaning; "" for none.
        double_quote: whether a quote within a quoted field is written twice.
        header: the columns' names, if the first row does not hold them.
        encoding: of the text, by its name in Python.
        null_values: fields that are missing values.
        comment: lines that begin with this text are skipped, except within a quoted field; "" for none.
        skip_rows: number of lines to skip above the header (or the first row).
        decimal: the decimal mark of numbers, one ASCII character that is not a digit.
        thousands: the mark between groups of three digits; "" for none. A field that is a number in this notation is
            rewritten with a point: with decimal=, and thousands=. the field 1.234,50 is 1234.50.

    Raises:
        UsageError: a value is outside its range, or two values contradict each other.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    double_quote: bool = True
    header: tuple[str, ...] = ()
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    comment: str = ""
    skip_rows: int = 0
    decimal: str = "."
    thousands: str = ""

    def __post_init__(self) -> None:
        for name in ("delimiter", "quote", "escape"):
            value = getattr(self, name)
            optional = name != "delimiter" and not value
            if not optional and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
                raise _wrong(name, "one ASCII character" + (", or none" if name != "delimiter" else ""), value)
        for name in ("decimal", "thousands"):
            value = getattr(self, name)
            if (name == "decimal" or value) and (
                len(value) != 1 or not value.isascii() or value.isalnum() or value in "+-\r\n"
            ):
                raise _wrong(name, "one ASCII character that is not a letter, digit or sign", value)
        if self.decimal == self.thousands:
            raise _wrong("decimal and thousands", "characters that differ", self.decimal)
        used = [value for value in (self.delimiter, self.quote, self.escape) if value]
        # If the escape is the quote itself, double_quote has the same meaning.
        if len(set(used)) < len(used):
            raise _wrong("delimiter, quote and escape", "different characters", used)
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise _wrong("encoding", "an encoding of Python, such as latin-1", self.encoding) from error
        if len(set(self.header)) < len(self.header) or "" in self.header:
            raise _wrong("header", "names that differ, and none of them empty", self.header)
        if isinstance(self.skip_rows, bool) or not isinstance(self.skip_rows, int) or self.skip_rows < 0:
            raise _wrong("skip_rows", "a whole number, 0 or more", self.skip_rows)
        if "\n" in self.comment or "\r" in self.comment or not self.comment.isascii():
            raise _wrong("comment", "ASCII characters on one line", self.comment)
        if self.comment and codecs.lookup(self.encoding).name.startswith(("utf-16", "utf-32")):
            raise _wrong("comment", "an encoding that contains ASCII", self.encoding)

    @property
    def is_utf8(self) -> bool:
        """Whether the text is UTF-8, with or without a byte order mark."""
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig", "ascii")

    @classmethod
    def parse(cls, options: Sequence[str]) -> Self:
        """Parses texts of the form name=value, the values of `--csv`.

        Lists (header, null_values) are separated by commas; tab, space, comma, semicolon, pipe and none are names of
        characters.

        Raises:
            UsageError: an option does not exist, occurs twice, or its value is wrong.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, object] = {}
        for option in options:
            name, separator, text = option.partition("=")
            if name not in known or not separator or name in values:
                raise UsageError(
                    "the option --csv is wrong",
                    expected=f"NAME=VALUE, each name once, of {', '.join(known)}",
                    received=option,
                )
            values[name] = _value(name, known[name].default, text)
        return cls(**values)  # type: ignore[arg-type]


RFC_4180 = CsvDialect()


def options_of(text: str) -> list[str]:
    """Parses the options in one parameter of a pipeline: a JSON list of NAME=VALUE; "" for none.

    Raises:
        UsageError: the parameter is not such a list.
    """
    try:
        options = json.loads(text or "[]")
    except ValueError:
        options = None
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise UsageError(
            "the parameter csv is wrong", expected='a JSON list of NAME=VALUE, such as ["delimiter=;"]', received=text
        )
    return options


def _value(name: str, default: object, text: str) -> object:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise _wrong(name, "true or false", text)
        return text.lower() == "true"
    if isinstance(default, int):
        if not text.isdecimal():
            raise _wrong(name, "a whole number, 0 or more", text)
        return int(text)
    if isinstance(default, tuple):
        return tuple(text.split(","))
    return _NAMES.get(text, text)


def _wrong(name: str, expected: str, received: object) -> UsageError:
    return UsageError(f"the CSV dialect's {name} is wrong", expected=expected, received=repr(received))
