"""Values: the text, the number and the key of a value, the same from every format, type, batch and request.

The text of a value is its category, its class and its key:

- text is unchanged: "007" is not "7";
- a whole number of any type is its digits: 1, 1.0 and the decimal 1.00 are "1";
- a fraction is the shortest decimal that reads back as the same value at its width, in Python's notation
  ("0.1", also as float32; "1e-05"); a decimal without its trailing zeros;
- a boolean is "true" or "false";
- a date is "2024-02-29", a time "12:30:00.5"; a timestamp is both with a blank between them, without trailing zeros of
  the second, and one with a time zone is in UTC and ends in "Z", whatever its unit and zone;
- bytes are their UTF-8 text, or missing if they are not UTF-8; a UUID is 8-4-4-4-12 hexadecimal digits;
- null, NaN and the empty text are missing.

The number of a value is the float64 nearest to it; integers are exact to 64 bits. `scalars` has the rules for Python
values (JSON) without Arrow, for `serve`; `columns` has them for Arrow columns.
"""
