"""A test image of one static program, made without a registry and kept between runs."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from real_aileron import podman

VERSION = b"3"
DIRECTORIES = ("bin", "dev", "etc/ssl/certs", "home", "proc", "run", "sys", "tmp", "usr/bin", "var")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def tiny_image() -> str:
    """The reference of an image with busybox as its only program; built when it is not there.

    Raises:
        AssertionError: busybox (static) is missing: ``make setup`` installs it.
    """
    busybox = shutil.which("busybox")
    assert busybox is not None, "no busybox: run `make setup` (it installs busybox-static)"
    content = Path(busybox).read_bytes()
    roots = CERTIFICATES.read_bytes() if CERTIFICATES.exists() else b""
    digest = hashlib.sha256(VERSION + content + roots).hexdigest()[:12]
    reference = f"localhost/aileron-test-tiny:{digest}"
    if podman("image", "exists", reference, check=False).returncode != 0:
        _import(reference, _archive(busybox, content, roots))
    return reference


def _import(reference: str, archive: bytes) -> None:
    changes = ("ENV PATH=/usr/bin:/bin", "LABEL io.aileron.test=1")
    command = ["podman", "import", "--quiet"]
    for change in changes:
        command += ["--change", change]
    done = subprocess.run([*command, "-", reference], input=archive, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def _archive(busybox: str, content: bytes, roots: bytes) -> bytes:
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in DIRECTORIES:
            _add(tar, name, tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
        _add(tar, "bin/busybox", data=content, mode=0o755)
        _add(tar, "etc/passwd", data=PASSWD.encode())
        _add(tar, "etc/group", data=b"root:x:0:\nnogroup:x:65534:\n")
        _add(tar, "etc/ssl/certs/ca-certificates.crt", data=roots)
        for applet in applets.stdout.split():
            if applet != "busybox":
                _add(tar, f"bin/{applet}", tarfile.SYMTYPE, link="busybox", mode=0o777)
    return buffer.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    kind: bytes = tarfile.REGTYPE,
    *,
    data: bytes = b"",
    link: str = "",
    mode: int = 0o644,
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(data)
    tar.addfile(info, io.BytesIO(data))
