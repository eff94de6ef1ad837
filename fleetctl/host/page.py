"""An HTTP answer as it comes in, read once and no further than its bounds, and what is asked of it."""

BODY_BYTES_MAX = 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024
NUMBER_DIGITS_MAX = 400  # no count has more, and to understand a million of them takes seconds
HEX_DIGITS = b"0123456789abcdefABCDEF"
NOT_HTTP = "connected, but it does not speak HTTP"


class Malformed(Exception):
    """What came is no HTTP."""


class Page:
    """Fed with what comes until it is `whole`. Raises Malformed."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: "dict[str, str]" = {}  # by their names in lower case; of one name, joined by commas
        self.body = bytearray()
        self.whole = False
        self.rest = bytearray()  # what came and is not understood yet
        self.left = -1  # bytes to come of the body, or of the chunk; -1: not known

    def feed(self, part: bytes) -> None:
        self.rest += part
        while self.status < 200 and self.read_head():
            pass
        if self.status < 200 or self.whole:
            return
        if self.headers.get("transfer-encoding", "").lower().endswith("chunked"):
            self.read_chunks()
        else:
            self.take()
            self.whole = self.left == 0
        self.whole = self.whole or len(self.body) >= BODY_BYTES_MAX

    def end(self) -> None:
        """Nothing more comes: without a length, that is how a body ends."""
        if self.status < 200:
            raise Malformed(NOT_HTTP)
        if self.left < 0 and "transfer-encoding" not in self.headers:
            self.whole = True

    def read_head(self) -> bool:
        """One head. True: it was read, and a further one may follow (after 1xx)."""
        end = self.rest.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX + 4)
        if end < 0:
            if len(self.rest) > HEAD_BYTES_MAX or not b"HTTP/1.".startswith(bytes(self.rest[:7])):
                raise Malformed(NOT_HTTP)
            return False
        lines = bytes(self.rest[:end]).decode("latin-1").split("\r\n")
        del self.rest[: end + 4]
        words = lines[0].split()
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal() or len(words[1]) != 3:
            raise Malformed(NOT_HTTP)
        self.status = int(words[1])
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            self.headers[name] = "%s, %s" % (self.headers[name], value) if name in self.headers else value
        length = self.headers.get("content-length", "")
        if self.status in (204, 304):
            self.left = 0
        elif length.isdecimal() and len(length) < 19 and "transfer-encoding" not in self.headers:
            self.left = int(length)
        return True

    def take(self) -> None:
        """Into the body, what belongs there."""
        count = len(self.rest) if self.left < 0 else min(self.left, len(self.rest))
        self.body += self.rest[: min(count, BODY_BYTES_MAX - len(self.body))]
        del self.rest[:count]
        if self.left >= 0:
            self.left -= count

    def read_chunks(self) -> None:
        while not self.whole:
            if self.left > 0:
                self.take()
            if self.left == 0:
                if len(self.rest) < 2:
                    return
                del self.rest[:2]  # the line end behind a chunk
                self.left = -1
            if self.left > 0:
                return
            end = self.rest.find(b"\n", 0, 1024)
            if end < 0:
                if len(self.rest) >= 1024:
                    raise Malformed("connected, but its chunks are not HTTP's")
                return
            word = bytes(self.rest[:end]).split(b";")[0].strip()
            del self.rest[: end + 1]
            if not word or word.strip(HEX_DIGITS):
                raise Malformed("connected, but its chunks are not HTTP's")
            self.left = int(word, 16)
            self.whole = self.left == 0  # what follows the last one are trailers


def judge(page: Page, wanted):
    """(yes, what was seen) of a whole page, by `status`, `header` and `body` of a PROBE."""
    least, most = wanted.get("status") or (200, 399)
    answered = "answered %d" % page.status
    if not least <= page.status <= most:
        return False, answered
    for name, text in sorted((wanted.get("header") or {}).items()):
        value = page.headers.get(name.lower())
        if value is None:
            return False, "%s, without the header %s" % (answered, name)
        if text not in value:
            return False, "%s, but its header %s is %.100r, without %r" % (answered, name, value, text)
    if (wanted.get("body") or "") not in page.body.decode("utf-8", "replace"):
        return False, "%s, but its page is without %r" % (answered, wanted["body"])
    return True, answered


def metric(page: Page, name: str):
    """The number of a line `NAME NUMBER` of a page as Prometheus reads it, or None. Labels are part of the name."""
    for line in page.body.decode("utf-8", "replace").splitlines():
        if line.startswith(name) and line[len(name) :][:1] in (" ", "\t"):
            return number(line[len(name) :])
    return None


def number(text: str):
    """The first word of the text as a number; None where it is none. Whole numbers keep every digit."""
    word = (text.split(None, 1) or [""])[0]
    if len(word) > NUMBER_DIGITS_MAX:
        return None
    for kind in (int, float):
        try:
            found = kind(word)
        except ValueError:
            continue
        return found if found == found else None  # noqa: PLR0124 - NaN is no number, and differs from itself
    return None
