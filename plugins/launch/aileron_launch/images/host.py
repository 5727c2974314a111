"""The host tier: an image of empty directories, and the host's own system bound into it.

Nothing is downloaded and nothing is copied but a few small public files of ``/etc``. The image's
name is the hash of its content, so that it is made again exactly when that changes. Homes, keys,
sockets and ``/etc/shadow`` are not masked: they were never there.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from aileron_core.backend import Mount, Recipe, SandboxUser
from aileron_core.sessions.files import host_errors
from aileron_launch.images.locate import Installed, is_system, outermost

LAYOUT = 1
"""Goes into the hash: raise it when the same input must give another image."""

DIRECTORIES = (
    "dev", "etc", "etc/ssl", "home", "mnt", "opt", "proc", "root", "run", "run/aileron", "srv",
    "sys", "usr", "var", "var/cache", "var/lib", "var/log",
)  # fmt: skip
STICKY = ("tmp", "var/tmp")
TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Links into /usr on a merged system; directories of their own, which are bound, elsewhere."""

COPIED = (
    "etc/bash.bashrc", "etc/debian_version", "etc/ld.so.conf", "etc/localtime", "etc/mime.types",
    "etc/os-release", "etc/profile", "etc/protocols", "etc/redhat-release", "etc/services",
    "etc/ssl/openssl.cnf", "etc/timezone",
)  # fmt: skip
"""Small public files; what is larger than `LARGEST_COPY` is left out."""
LARGEST_COPY = 64 * 1024

BOUND = (
    "/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted", "/etc/crypto-policies", "/etc/fonts", "/etc/terminfo",
)  # fmt: skip
"""Read-only, where the host has them. Not /etc/ssl itself: it holds private keys."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@frozen
class HostImage:
    """The host tier for one agent: what to create and what to bind."""

    recipe: Recipe
    mounts: tuple[Mount, ...]
    path: str
    """``PATH`` in the sandbox."""


@frozen
class Layout:
    """What the image holds, as data: its hash names the image."""

    directories: tuple[str, ...]
    links: Mapping[str, str]
    files: Mapping[str, bytes] = field(repr=False)
    user: SandboxUser = field(factory=SandboxUser)

    def digest(self) -> str:
        """A short hash of everything in it; making the archive to hash it would cost 4 ms."""
        rows = [LAYOUT, sorted(self.directories), sorted(self.links.items()), self.user]
        return hashlib.sha256(repr((rows, sorted(self.files.items()))).encode()).hexdigest()[:16]

    def archive(self) -> bytes:
        """A tar whose bytes depend on the layout only."""
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for info, content in self._members():
                tar.addfile(info, io.BytesIO(content))
        return output.getvalue()

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        for name in sorted({*self.directories, *STICKY}):
            yield _entry(name, tarfile.DIRTYPE, 0o1777 if name in STICKY else 0o755), b""
        home = _entry(self.user.home.strip("/"), tarfile.DIRTYPE, 0o700)
        home.uid, home.gid = self.user.uid, self.user.gid
        yield home, b""
        for name, target in sorted(self.links.items()):
            link = _entry(name, tarfile.SYMTYPE, 0o777)
            link.linkname = target
            yield link, b""
        for name, content in sorted(self.files.items()):
            file = _entry(name, tarfile.REGTYPE, 0o644)
            file.size = len(content)
            yield file, content


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    """A tar member with nothing of this machine or moment in it."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    return info


def accounts(user: SandboxUser) -> Mapping[str, bytes]:
    """The least of /etc that programs look at: who is who, and where names come from."""
    passwd = (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"{user.name}:x:{user.uid}:{user.gid}:agent:{user.home}:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    group = f"root:x:0:\n{user.name}:x:{user.gid}:\nnogroup:x:65534:\n"
    switch = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
    return {
        "etc/passwd": passwd.encode(),
        "etc/group": group.encode(),
        "etc/nsswitch.conf": switch.encode(),
        "etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
        "etc/resolv.conf": b"",
        "etc/hostname": b"aileron\n",
        "etc/mtab": b"",
    }


def survey_layout(root: Path, user: SandboxUser, installed: Sequence[Installed] = ()) -> Layout:
    """The layout for the host whose file system is at ``root``, with the links to programs."""
    links = {name: os.readlink(root / name) for name in TOP if (root / name).is_symlink()}
    own = [name for name in TOP if name not in links and (root / name).is_dir()]
    files = dict(accounts(user))
    for name in COPIED:
        content = _small(root / name)
        if content is not None:
            files[name] = content
    more = {str(path)[1:]: target for item in installed for path, target in item.links.items()}
    above = {str(up) for name in more for up in Path(name).parents if up.parts}
    kept = above.difference(links)
    return Layout((*{*DIRECTORIES, *own, *kept},), {**more, **links}, files, user)


def _small(path: Path) -> bytes | None:
    """A public regular file's content, unless it is large, absent or not for everybody."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode) or not info.st_mode & stat.S_IROTH:
            return None
        return path.read_bytes() if info.st_size <= LARGEST_COPY else None
    except OSError:
        return None


def write_archive(layout: Layout, cache: Path) -> tuple[str, Path]:
    """The image's reference and its archive, which is in ``cache`` afterwards.

    Raises:
        AileronError: ``host-refused``: a full disk, no rights.
    """
    digest = layout.digest()
    target = cache / f"host-{digest}.tar"
    if not target.exists():
        with host_errors(f"write {target}"):
            _write(target, layout.archive())
    return f"localhost/aileron-host:{digest}", target


def _write(target: Path, content: bytes) -> None:
    """The file, whole or not at all; two sessions at once may both write it."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def system_mounts(root: Path = Path("/"), table: str | None = None) -> tuple[Mount, ...]:
    """Read-only binds of the host's system directories, and of what is mounted below them.

    A bind carries the mounts below it along, but only the topmost becomes read-only; so each one is
    named.
    """
    own = [f"/{name}" for name in TOP if (root / name).is_dir() and not (root / name).is_symlink()]
    places = [place for place in (*own, *BOUND) if (root / place[1:]).exists()]
    if table is None:
        table = Path("/proc/self/mountinfo").read_text("utf-8", errors="surrogateescape")
    below = [point for point in mount_points(table) if _under_any(point, places)]
    return tuple(Mount(place, source=place) for place in (*places, *below))


def mount_points(table: str) -> Iterator[str]:
    """The mount points in a mountinfo table (proc(5)), unescaped."""
    for line in table.splitlines():
        words = line.split()
        if len(words) > 4:
            yield (
                words[4]
                .replace("\\040", " ")
                .replace("\\011", "\t")
                .replace("\\012", "\n")
                .replace("\\134", "\\")
            )


def _under_any(point: str, places: Iterable[str]) -> bool:
    return any(point.startswith(f"{place}/") for place in places)


def agent_mounts(installed: Sequence[Installed], owner: tuple[int, int]) -> tuple[Mount, ...]:
    """Read-only binds of what agents consist of outside the system's directories."""
    paths = outermost(path for item in installed for path in item.binds)
    return tuple(_agent_mount(path, owner) for path in paths)


def _agent_mount(path: Path, owner: tuple[int, int]) -> Mount:
    """A bind; where only its owner may read it, the owner is shown as the sandbox's user."""
    info = path.stat()
    public = info.st_mode & stat.S_IROTH and (
        not stat.S_ISDIR(info.st_mode) or info.st_mode & stat.S_IXOTH
    )
    if public or info.st_uid != owner[0]:
        return Mount(str(path), source=str(path))
    return Mount(str(path), source=str(path), map_owner=True, owner=owner)


def host_image(
    cache: Path, user: SandboxUser, owner: tuple[int, int], installed: Sequence[Installed] = ()
) -> HostImage:
    """The host tier with the given programs in it."""
    reference, archive = write_archive(survey_layout(Path("/"), user, installed), cache)
    outside = [str(item.path.parent) for item in installed if not is_system(item.path)]
    path = ":".join(dict.fromkeys([*outside, *PATH.split(":")]))
    return HostImage(
        Recipe(
            reference,
            rootfs=str(archive),
            labels={"io.aileron.tier": "host"},
            env={"PATH": PATH},
        ),
        (*system_mounts(), *agent_mounts(installed, owner)),
        path,
    )
