"""One file of the wheel in a folder: python member.py FOLDER MEMBER SHA256 TO"""

import hashlib
import pathlib
import sys
import zipfile

folder, member, digest, to = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("*.whl")
with zipfile.ZipFile(wheel) as packed:
    content = packed.read(member)
if hashlib.sha256(content).hexdigest() != digest:
    raise SystemExit(f"{member} is not the file that was expected")
pathlib.Path(to).write_bytes(content)
