"""Hostile requests to a predict port, as a table of cases."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

from support.hostile_http import GOOD, Case, Then, chunked, chunks, get, post

_V1, _V2 = b"/v1/models/natality:predict", b"/v2/models/natality/infer"


def framing() -> Iterator[Case]:
    """Where a request ends: what two readers may see differently."""
    inner = get(b"/smuggled")
    size, both = b"%d" % len(GOOD), b"Transfer-Encoding: chunked"
    yield Case("length and chunks, short", post(b"0\r\n\r\n" + inner, both, length=b"4"), (400,))
    yield Case("length and chunks, whole", post(chunks(GOOD), both), (400,))
    yield Case("chunks and length", chunked(chunks(GOOD), b"Content-Length: " + size), (400,))
    yield Case("two lengths", post(GOOD + inner, b"Content-Length: 40"), (400,))
    yield Case("two lengths in one header", post(GOOD + inner, length=size + b", 40"), (400,))
    yield Case("two equal lengths", post(GOOD, b"Content-Length: " + size), (400,), router=(200,), router_then="open")
    yield Case("two equal lengths in one header", post(GOOD, length=size + b", " + size), (400,))
    for name, length in (
        ("a sign", b"+" + size), ("a minus", b"-" + size), ("a space in it", size[:1] + b" " + size[1:]),
        ("hexadecimal", b"0x%x" % len(GOOD)), ("a fraction", size + b".0"), ("an exponent", b"1e2"), ("no digits", b""),
        ("a word", b"two"), ("digits of Unicode", "\u0662".encode()), ("an underscore", b"1_0"),
        ("a tab in it", b"1\t0"),
        ("NUL", size + b"\0"), ("2^64", b"18446744073709551616"), ("2^64 and more", b"%d" % (2**64 + len(GOOD))),
    ):  # fmt: skip
        yield Case(f"Content-Length with {name}", post(GOOD + inner, length=length), (400,))
    yield Case("Content-Length with a million digits", post(GOOD, length=b"2" * 1_000_000), (400,), router=(431,))
    yield Case("a length of 2^63", post(GOOD, length=b"9223372036854775808"), (413,), "cut short", (400,))
    yield Case("a length of 2^31", post(GOOD, length=b"2147483648"), (413,), "cut short")
    yield Case("a length with zeros", post(GOOD, length=b"00" + size), (200,), "open")
    for name, value in (
        ("gzip", b"gzip"), ("chunked not last", b"chunked, gzip"), ("chunked twice", b"chunked, chunked"),
        ("identity", b"identity"), ("a word", b"xchunked"), ("quotes", b'"chunked"'), ("a tab", b"chunked\tx"),
        ("a vertical tab", b"\x0bchunked"), ("NUL", b"chunked\0"), ("nothing", b""), ("a parameter", b"chunked;q=1"),
    ):  # fmt: skip
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + value
        yield Case(f"Transfer-Encoding of {name}", head + b"\r\n\r\n" + chunks(GOOD) + inner, (400,))
    yield Case("Transfer-Encoding twice", chunked(chunks(GOOD) + inner, both), (400,))
    yield Case("Transfer-Encoding, a space before the colon", post(GOOD, b"Transfer-Encoding : chunked"), (400,))
    yield Case("Transfer-Encoding, folded", post(GOOD, b"Transfer-Encoding:\r\n chunked"), (400,))
    yield Case("Transfer-Encoding, capitals", chunked(chunks(GOOD)).replace(b"chunked", b"CHUNKED"), (200,), "open")
    old = chunked(chunks(GOOD)).replace(b"HTTP/1.1", b"HTTP/1.0")
    yield Case("Transfer-Encoding of HTTP/1.0", old, (200,), router=(400,))
    yield Case("a body of GET", get(b"/health", b"Content-Length: %d" % len(inner)) + inner, (200,), "open")
    yield Case("a body shorter than said", post(GOOD, length=b"9" + size), (), "cut short")
    yield Case("a body longer than said", post(GOOD + inner, length=size), (200, 404), "open")
    yield Case("a request after the body", post(GOOD) * 2, (200, 200), "open")
    yield Case("a request after the last one", post(GOOD, b"Connection: close") + get(), (200,))
    yield Case("bytes after the body", post(GOOD) + b"\0\0\r\n\r\n", (200, 400))


def chunk_lines() -> Iterator[Case]:
    """Chunks of a body."""
    inner = get(b"/smuggled")
    good = b"%x" % len(GOOD)
    yield Case("chunks", chunked(chunks(GOOD)), (200,), "open")
    yield Case("a chunk with an extension", chunked(good + b";a=b\r\n" + GOOD + b"\r\n0\r\n\r\n"), (200,), "open")
    yield Case("a trailer", chunked(chunks(GOOD)[:-2] + b"A: b\r\n\r\n"), (200,), "open")
    yield Case(
        "a trailer with a length",
        chunked(chunks(GOOD)[:-2] + b"Content-Length: 5\r\n\r\n"),
        (400,),
        router=(200,),
        router_then="open",
    )
    yield Case(
        "a chunk of capitals and zeros", chunked(b"000" + good.upper() + chunks(GOOD)[len(good) :]), (200,), "open"
    )
    for name, line in (
        ("minus", b"-1"), ("plus", b"+2"), ("prefix", b"0x2"), ("word", b"zz"), ("empty line", b""), ("space", b" 2"),
        ("2^64", b"10000000000000000"), ("2^64 + 2", b"10000000000000002"), ("a thousand digits", b"f" * 1000),
        ("NUL", b"2\0"), ("underscore", b"1_0"), ("fraction", b"2.0"),
    ):  # fmt: skip
        yield Case(f"a chunk size of {name}", chunked(line + b"\r\n{}\r\n0\r\n\r\n" + inner), (400,))
    yield Case("a chunk of 2^40", chunked(b"10000000000\r\n{}"), (), "cut short", (413,))
    yield Case("a chunk longer than said", chunked(b"2\r\n{}{}\r\n0\r\n\r\n" + inner), (400,))
    yield Case("a chunk shorter than said", chunked(b"5\r\n{}\r\n0\r\n\r\n"), (400,))
    yield Case("a chunk line with a bare LF", chunked(b"2\n{}\r\n0\r\n\r\n" + inner), (400,))
    yield Case("a chunk end with a bare LF", chunked(b"2\r\n{}\n0\r\n\r\n" + inner), (400,))
    yield Case("a last chunk with a bare LF", chunked(b"2\r\n{}\r\n0\n\n" + inner), (400,))
    yield Case("a chunk line with a bare CR", chunked(b"2\r{}\r\n0\r\n\r\n" + inner), (400,))
    yield Case("an extension with a bare LF", chunked(b"2;a\n{}\r\n0\r\n\r\n" + inner), (400,))
    yield Case(
        "an extension of 1 MB",
        chunked(b"2;" + b"a" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n"),
        (400,),
        "open",
        router_then="closed",
    )
    yield Case("a trailer of 1 MB", chunked(b"0\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n"), (431,), router=(400,))
    yield Case("a trailer of 10,000 headers", chunked(b"0\r\n" + b"name: b\r\n" * 10_000 + b"\r\n"), (431,))
    yield Case("a trailer that is no header", chunked(b"0\r\nhello\r\n\r\n" + inner), (400,))
    yield Case("30,000 chunks", chunked(b"1\r\n \r\n" * 30_000 + b"0\r\n\r\n"), (413,))
    yield Case("chunks without an end", chunked(b"2\r\n{}\r\n"), (), "cut short")


def heads() -> Iterator[Case]:
    """Request lines and headers."""
    yield Case("folded header", get(b"/health", b"A: b", b" c: d"), (400,))
    yield Case("folded header, a tab", get(b"/health", b"A: b", b"\tc: d"), (400,))
    yield Case("fold in the first header", b"GET /health HTTP/1.1\r\n Host: a\r\n\r\n", (400,))
    yield Case("bare LF between headers", b"GET /health HTTP/1.1\nHost: a\n\n", (400,), "cut short", ())
    yield Case("bare LF in a value", get(b"/health", b"A: b\nContent-Length: 9"), (400,))
    yield Case("bare CR in a value", get(b"/health", b"A: b\rContent-Length: 9"), (400,))
    yield Case("bare CR in the request line", b"GET /health\r HTTP/1.1\r\nHost: a\r\n\r\n", (400,))
    yield Case("NUL in a value", get(b"/health", b"A: b\0"), (400,))
    yield Case("NUL in a name", get(b"/health", b"A\0: b"), (400,))
    yield Case("non-ASCII in a name", get(b"/health", "\u00e4: b".encode()), (400,))
    yield Case("non-ASCII in a value", get(b"/health", "A: \u00e4".encode()), (200,), "open")
    yield Case("a space in a name", get(b"/health", b"A B: c"), (400,))
    yield Case("a space before a colon", get(b"/health", b"A : c"), (400,))
    yield Case("no name", get(b"/health", b": c"), (400,))
    yield Case("no colon", get(b"/health", b"A"), (400,))
    yield Case("10,000 headers", get(b"/health", *[b"A%d: b" % n for n in range(10_000)]), (431,))
    yield Case("a header of 1 MB", get(b"/health", b"A: " + b"b" * 1_000_000), (431,))
    yield Case("a name of 1 MB", get(b"/health", b"A" * 1_000_000 + b": b"), (431,))
    yield Case("a request line of 1 MB", get(b"/" + b"a" * 1_000_000), (431,))
    yield Case("a method of 1 MB", get(method=b"A" * 1_000_000), (400,), router=(431,))
    yield Case("blanks of 1 MB", b" " * 1_000_000, (400,), router=(431,))
    yield Case("empty lines of 1 MB", b"\r\n" * 500_000, (431,), router=(400,))
    yield Case("two hosts", get(b"/health", b"Host: b"), (200,), "open", router=(400,), router_then="closed")
    yield Case("empty lines alone", b"\r\n\r\n", (), "cut short", (400,))
    for name, sent in (("NUL", b"\0" * 64), ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")):
        yield Case(f"{name} instead of a request", sent, (400,), "cut short", ())
    yield Case("two spaces", get(b" /health"), (200,), "open", (400,), "closed")
    for name, sent in (
        ("text", b"hello\r\n\r\n"), ("tabs", b"GET\t/health\tHTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a space at the end", b"GET /health HTTP/1.1 \r\nHost: a\r\n\r\n"),
        ("a space in the target", get(b"/he alth")),
        ("small letters", get(method=b"get")), ("a method that is none", get(method=b"G@T")),
        ("no target", b"GET HTTP/1.1\r\n\r\n"),
        ("a NUL in the target", get(b"/health\0")), ("non-ASCII in the target", get("/\u00e4".encode())),
        ("HTTP/0.9", b"GET /health\r\n\r\n"), ("HTTP/2.0", get(version=b"HTTP/2.0")),
        ("HTTP/1.2", get(version=b"HTTP/1.2")),
        ("HTTP/1.10", get(version=b"HTTP/1.10")), ("http/1.1", get(version=b"http/1.1")),
        ("HTTQ/1.1", get(version=b"HTTQ/1.1")),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    ):  # fmt: skip
        yield Case(f"request line of {name}", sent, (400,))
    yield Case("HTTP/1.0", get(version=b"HTTP/1.0"), (200,))
    yield Case(
        "Upgrade to h2c", get(b"/health", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"), (200,), "open"
    )
    yield Case("Upgrade to websocket", get(b"/health", b"Connection: Upgrade", b"Upgrade: websocket"), (200,), "open")
    yield Case("Upgrade with a body", post(GOOD, b"Connection: Upgrade", b"Upgrade: h2c"), (200,), "open")
    yield Case(
        "Upgrade with chunks", chunked(chunks(GOOD), b"Connection: Upgrade", b"Upgrade: websocket"), (200,), "open"
    )
    yield Case(
        "Upgrade with lengths", post(GOOD, b"Content-Length: 1", b"Connection: Upgrade", b"Upgrade: h2c"), (400,)
    )
    yield Case(
        "Upgrade of HTTP/1.0", get(b"/health", b"Connection: Upgrade", b"Upgrade: h2c", version=b"HTTP/1.0"), (200,)
    )
    yield Case(
        "Upgrade, pipelined", (post(GOOD, b"Connection: Upgrade", b"Upgrade: h2c") + get()) * 3, (200,) * 6, "open"
    )
    yield Case("a tunnel", get(b"a:80", method=b"CONNECT") + get(b"/smuggled"), (400,))
    yield Case("TRACE", get(method=b"TRACE"), (405,), "open")
    yield Case("HEAD", get(b"/health", b"Connection: close", method=b"HEAD"), (200,))
    yield Case("pipelined requests", get() * 20, (200,) * 20, "open")
    yield Case("pipelined requests, one wrong", get() * 3 + b"x\r\n\r\n" + get(), (200, 200, 200, 400))
    yield Case("100-continue", post(GOOD, b"Expect: 100-continue"), (200,), "open")
    yield Case("another expectation", post(GOOD, b"Expect: 200-ok"), (200,), "open")


def targets() -> Iterator[Case]:
    """Targets of requests, and paths that lead elsewhere."""
    yield Case("absolute form", get(b"http://elsewhere/health"), (200,), "open")
    yield Case("absolute form of a version", get(b"http://elsewhere/v2/models/other/ready"), (404,), "open")
    yield Case("absolute form with a name", get(b"http://a@b:99999/health"), (400,))
    yield Case("absolute form of a file", get(b"file:///etc/passwd"), (400,))
    yield Case("authority form", get(b"a:80"), (400,))
    yield Case("asterisk form", get(b"*"), (404,), "open", (400,), "closed")
    yield Case("asterisk form of OPTIONS", get(b"*", method=b"OPTIONS"), (404,), "open", (400,), "closed")
    yield Case("no slash", get(b"health"), (400,))
    for name, path in (
        ("dots", b"/../../etc/passwd"), ("escaped dots", b"/%2e%2e/%2e%2e/etc/passwd"),
        ("escaped slashes", b"/v2%2fhealth%2fxyz"),
        ("escaped NUL", b"/health%00"), ("double escapes", b"/%252e%252e/health"), ("overlong UTF-8", b"/%c0%af%c0%af"),
        ("escaped line", b"/health%0d%0aA:%20b"), ("bad escapes", b"/%zz%"), ("two slashes", b"//health"),
        ("backslashes", b"/..\\..\\x"),
        ("a model's name with dots", b"/v2/models/../ready"),
        ("a version's name with dots", b"/v1/models/natality/versions/..%2f.."),
        ("a semicolon", b"/health;x=1"), ("8,000 bytes", b"/" + b"%41" * 2_600),
    ):  # fmt: skip
        yield Case(f"a path of {name}", get(path), (404,), "open")
    yield Case("a fragment", get(b"/health#x"), (200,), "open")
    yield Case("a query", get(b"/health?" + b"a=%00&" * 100), (200,), "open")


def _rows(row: bytes, count: int) -> bytes:
    return b'{"instances":[' + b",".join([row] * count) + b"]}"


def _names(count: int) -> bytes:
    return b'{"instances":[{' + b",".join(b'"%x":1' % number for number in range(count)) + b"}]}"


def bodies() -> Iterator[Case]:
    """Bodies of predict requests."""
    bomb = gzip.compress(b" " * (64 << 20))
    for name, body, headers, status in (
        ("gzip bomb", bomb, (b"Content-Encoding: gzip",), 413),
        ("gzip bomb of gzip", gzip.compress(bomb), (b"Content-Encoding: gzip",), 400),
        ("gzip bomb twice", gzip.compress(bomb), (b"Content-Encoding: gzip, gzip",), 415),
        ("gzip, cut", gzip.compress(GOOD)[:-9], (b"Content-Encoding: gzip",), 400),
        ("gzip, two members", gzip.compress(GOOD) * 2, (b"Content-Encoding: gzip",), 400),
        ("gzip that is none", GOOD, (b"Content-Encoding: gzip",), 400),
        ("deflate", GOOD, (b"Content-Encoding: deflate",), 415),
        ("nothing", b"", (), 400),
        ("blanks", b" " * 1_000_000, (), 400),
        ("100,000 arrays", b"[" * 100_000, (), 400),
        ("100,000 objects", b'{"a":' * 100_000, (), 400),
        ("100,000 arrays, closed", b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}", (), 400),
        ("100,000 arrays and a long number", b'{"instances":[1234567890123456789,' + b"[" * 100_000, (), 400),
        ("900 arrays", b'{"instances":[{"mother_age":' + b"[" * 900 + b"]" * 900 + b"}]}", (), 422),
        ("1,000,000 names", _names(1_000_000), (), 413),
        ("700,000 names", _names(700_000), (), 422),
        ("1,200,000 objects", _rows(b'{"a":' * 200 + b"1" + b"}" * 200, 6_000), (), 400),
        ("4,000,000 arrays", _rows(b"[" * 800 + b"]" * 800, 5_000), (), 400),
        ("a field of 8 MB", b'{"' + b"instance" * 1_000_000 + b'":1}', (), 400),
        ("3,000,000 values", _rows(b"1", 3_000_000), (), 400),
        ("11,000 rows", _rows(b"{}", 11_000), (), 400),
        ("a number of 1,000,000 digits", b'{"instances":[{"mother_age":' + b"9" * 1_000_000 + b"}]}", (), 400),
        ("a fraction of 1,000,000 digits", b'{"instances":[{"mother_age":0.' + b"9" * 1_000_000 + b"}]}", (), 422),
        ("a number of 4,000 digits", b'{"instances":[{"mother_age":' + b"9" * 4_000 + b"}]}", (), 422),
        ("an exponent", b'{"instances":[{"mother_age":1e400}]}', (), 400),
        ("an exponent and a long number", b'{"instances":[{"key":1234567890123456789,"mother_age":1e400}]}', (), 400),
        ("an exponent of 1,000,000 digits", b'{"instances":[{"mother_age":1e' + b"9" * 1_000_000 + b"}]}", (), 400),
        ("NaN", b'{"instances":[{"mother_age":NaN}]}', (), 400),
        ("Infinity and a long number", b'{"instances":[{"key":1234567890123456789,"mother_age":Infinity}]}', (), 400),
        ("minus zero and more", b'{"instances":[{"mother_age":-00}]}', (), 400),
        ("half a surrogate pair", b'{"instances":[{"plurality":"\\ud800"}]}', (), 400),
        ("half a pair, a long number", b'{"instances":[{"key":1234567890123456789,"plurality":"\\ud800"}]}', (), 400),
        ("half a surrogate pair in a name", b'{"\\udfff":1234567890123456789}', (), 400),
        ("a surrogate as UTF-8", b'{"instances":[{"plurality":"\xed\xa0\x80"}]}', (), 400),
        ("a name twice", b'{"instances":[{"mother_age":1,"mother_age":2}]}', (), 400),
        ("a name twice, escaped", b'{"instances":[{"mother_age":1,"mother\\u005fage":2}]}', (), 400),
        ("instances twice", b'{"instances":[],"instances":[]}', (), 400),
        ("a byte order mark", b"\xef\xbb\xbf" + GOOD, (), 400),
        ("UTF-16", GOOD.decode().encode("utf-16"), (), 400),
        ("UTF-32", GOOD.decode().encode("utf-32-le"), (), 400),
        ("Latin-1", b'{"instances":[{"plurality":"\xe4"}]}', (), 400),
        ("NUL at the end", GOOD + b"\0", (), 400),
        ("NUL in a text", b'{"instances":[{"plurality":"\0"}]}', (), 400),
        ("two documents", GOOD + GOOD, (), 400),
        ("a text without end", b'{"instances":[{"plurality":"' + b"a" * 1_000_000, (), 400),
        ("comments", b"/**/" + GOOD, (), 400),
        ("null", b"null", (), 400),
        ("an array", b"[]", (), 400),
        ("a form", b"instances=1", (b"Content-Type: application/x-www-form-urlencoded",), 400),
        ("9 MB", b" " * (9 << 20), (), 413),
        ("20 MB", b" " * (20 << 20), (), 413),
    ):  # fmt: skip
        # The router refuses by the length alone what the server reads to its end.
        then: Then = "closed" if len(body) > 16 << 20 else "open"
        yield Case(f"a body of {name}", post(body, *headers), (status,), "open", router_then=then)
    for name, tensor in (
        ("a shape of 2^62 rows", {"shape": [2**62], "datatype": "FP32", "data": [1]}),
        ("a shape of -1", {"shape": [-1], "datatype": "FP32", "data": [1]}),
        ("INT8 of 300", {"shape": [1], "datatype": "INT8", "data": [300]}),
        ("binary data of 2^62 bytes", {"shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 2**62}}),
        ("a datatype that is none", {"shape": [1], "datatype": {"a": []}, "data": [1]}),
    ):
        body = json.dumps({"inputs": [{"name": "mother_age", **tensor}]}).encode()
        yield Case(f"a tensor of {name}", post(body, path=_V2), (400,), "open")
    header = b"Inference-Header-Content-Length: "
    for value in (b"-1", b"99", b"1e1", b"+1", b"", b"9" * 5000, "\u0662".encode()):
        yield Case(f"a JSON length of {value[:9]!r}", post(b"{}", header + value, path=_V2), (400,), "open")
    for body in (
        b'{"inputs":[]}',
        b'{"inputs":{"mother_age":[]}}',
        b'{"inputs":{"mother_age":"x"}}',
        b'{"instances":{}}',
    ):
        yield Case(f"columns of {body!r}", post(body, path=_V1), (400,), "open")


def cases() -> list[Case]:
    """All cases."""
    return [*framing(), *chunk_lines(), *heads(), *targets(), *bodies()]
