"""wire.py - the two protocols as bytes: encoders of requests and incremental readers of answers.

Nothing here knows what a hold is. The readers are strict on purpose: what a lenient client library would
forgive is an error of the server here.

    RespReader, HttpReader     feed(data), then next(): an answer, or None while bytes are missing
    Connection                 a blocking socket with one of the readers
    resp_request, http_request the bytes of a request

See also: api.py, which speaks the interface over a Connection.
"""
import json
import socket


class RespError(Exception):
    """An error answer. As a value, not raised by the reader: a pipeline has to go on after it."""

    def __init__(self, line):
        super().__init__(line)
        self.line = line
        self.word = line.split(" ", 1)[0]


class Push(list):
    """A RESP3 push message."""


class ProtocolViolation(AssertionError):
    """The server sent what the protocol does not allow."""


def resp_request(*arguments):
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class RespReader:
    def __init__(self):
        self.buffer = bytearray()
        self.at = 0
        self.reading = None  # an answer that is not whole yet: a generator that goes on where bytes were missing

    def feed(self, data):
        self.buffer += data

    def next(self):
        """The next answer in a list of one (an answer may be None), or None while bytes are missing."""
        if self.reading is None:
            self.reading = self._value()
        try:
            next(self.reading)
            return None
        except StopIteration as end:
            self.reading = None
            if self.at > 65536 or self.at == len(self.buffer):
                del self.buffer[: self.at]
                self.at = 0
            return [end.value]

    def _line(self):
        while (end := self.buffer.find(b"\r\n", self.at)) < 0:
            yield
        line = bytes(self.buffer[self.at : end])
        if b"\n" in line or b"\r" in line:
            raise ProtocolViolation(f"a bare line end in {line!r}")
        self.at = end + 2
        return line

    def _values(self, count):
        values = []
        for _ in range(count):
            values.append((yield from self._value()))
        return values

    def _value(self):
        line = yield from self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RespError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            if size == -1:
                return None
            while len(self.buffer) < self.at + size + 2:
                yield
            data = bytes(self.buffer[self.at : self.at + size])
            if self.buffer[self.at + size : self.at + size + 2] != b"\r\n":
                raise ProtocolViolation("a bulk string without its line end")
            self.at += size + 2
            return data.decode("utf-8", "surrogateescape")
        if kind == b"*":
            count = int(rest)
            return None if count == -1 else (yield from self._values(count))
        if kind == b"%":
            values = yield from self._values(2 * int(rest))
            answer = dict(zip(values[::2], values[1::2]))
            if 2 * len(answer) != len(values):
                raise ProtocolViolation(f"a name comes twice in a map: {values}")
            return answer
        if kind == b">":
            return Push((yield from self._values(int(rest))))
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        raise ProtocolViolation(f"an answer starts with {line[:60]!r}")


def http_request(method, target, body=None, headers=(), host="127.0.0.1"):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines.append(f"Content-Length: {len(data)}")
        if not any(name.lower() == "content-type" for name, _ in headers):
            lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + data


class HttpAnswer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # names in small letters; one that comes twice is a violation
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


class HttpReader:
    def __init__(self):
        self.buffer = bytearray()
        self.no_body = []  # for answers to come, in order: has it no body, whatever its head says (HEAD)?

    def feed(self, data):
        self.buffer += data

    def next(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ", 2)
        if version != "HTTP/1.1":
            raise ProtocolViolation(f"status line {lines[0]!r}")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or name in headers or "\n" in line or "\r" in line:
                raise ProtocolViolation(f"header {line!r} of {lines!r}")
            headers[name] = value.strip(" ")
        at = end + 4
        if 100 <= int(status) < 200:
            del self.buffer[:at]
            return [HttpAnswer(int(status), headers, b"")]
        if "transfer-encoding" in headers and "content-length" in headers:
            raise ProtocolViolation("Content-Length beside Transfer-Encoding")
        if self.no_body and self.no_body.pop(0):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks(at)
            if body is None:
                return None
            body, at = body
        elif "content-length" in headers:
            size = int(headers["content-length"])
            if len(self.buffer) < at + size:
                return None
            body = bytes(self.buffer[at : at + size])
            at += size
        elif int(status) == 204:
            body = b""
        else:
            raise ProtocolViolation(f"an answer without its length: {lines!r}")
        del self.buffer[:at]
        return [HttpAnswer(int(status), headers, body)]

    def _chunks(self, at):
        parts = []
        while True:
            end = self.buffer.find(b"\r\n", at)
            if end < 0:
                return None
            size = int(bytes(self.buffer[at:end]), 16)
            at = end + 2
            if len(self.buffer) < at + size + 2:
                return None
            if self.buffer[at + size : at + size + 2] != b"\r\n":
                raise ProtocolViolation("a chunk without its line end")
            if size == 0:
                return b"".join(parts), at + 2
            parts.append(bytes(self.buffer[at : at + size]))
            at += size + 2


class Connection:
    """A blocking connection with a reader: send(bytes), receive() -> one answer."""

    def __init__(self, address, reader, timeout=30):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = reader

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        while True:
            answer = self.reader.next()
            if answer is not None:
                return answer[0]
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError(f"closed by the server; unread: {bytes(self.reader.buffer[:300])!r}")
            self.reader.feed(data)

    def receive_all(self):
        """Every byte until the server closes, as they are."""
        data = bytes(self.reader.buffer)
        while True:
            try:
                more = self.socket.recv(1 << 18)
            except ConnectionResetError:
                return data
            if not more:
                return data
            data += more

    def call(self, data):
        self.send(data)
        return self.receive()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
