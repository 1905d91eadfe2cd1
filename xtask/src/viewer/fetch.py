"""One file of a wheel, without the rest of it: python fetch.py URL MEMBER SHA256 TO"""

import hashlib
import io
import sys
import urllib.request
import zipfile


class Remote(io.RawIOBase):
    """A file behind a URL, read by ranges."""

    def __init__(self, url):
        self.url, self.at = url, 0
        head = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(head, timeout=60) as answer:
            self.size = int(answer.headers["Content-Length"])

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self):
        return self.at

    def readinto(self, into):
        last = min(self.at + len(into), self.size) - 1
        if last < self.at:
            return 0
        part = {"Range": f"bytes={self.at}-{last}"}
        with urllib.request.urlopen(urllib.request.Request(self.url, headers=part), timeout=60) as answer:
            if answer.status != 206:
                raise OSError(f"the server does not know ranges: it answered {answer.status}")
            read = answer.read()
        into[: len(read)] = read
        self.at += len(read)
        return len(read)


url, member, digest, to = sys.argv[1:]
with zipfile.ZipFile(io.BufferedReader(Remote(url), 1 << 20)) as wheel:
    content = wheel.read(member)
if hashlib.sha256(content).hexdigest() != digest:
    raise SystemExit(f"{member} is not the file that was expected")
with open(to, "wb") as file:
    file.write(content)
