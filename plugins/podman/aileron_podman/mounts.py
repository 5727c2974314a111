"""Mounts attached to a container that is initialised and not started (rootful).

A thread of its own prepares every mount as a detached tree, where nothing of it shows in the host's
mount table, then enters the container's mount namespace and attaches them in order. Content of a
workspace is hostile: targets are resolved inside the container's root and symbolic links are
refused, never followed; what is missing is made only in file systems of the container's own.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from attrs import define, field, frozen

from aileron_core.backend import Mount, SandboxUser
from aileron_core.errors import AileronError
from aileron_podman import syscalls
from aileron_podman.create import covers
from aileron_podman.errors import MOUNT_FAILED
from aileron_podman.namespaces import enter_mounts

IdMap = tuple[str, str]
"""Text of a user namespace's uid_map and gid_map."""


@frozen
class Ids:
    """Host ids of a container's root and of its user."""

    root: tuple[int, int]
    user: tuple[int, int]

    @classmethod
    def of(cls, base: int, user: SandboxUser) -> Ids:
        """Those of a container whose id 0 is host id ``base``."""
        return cls((base, base), (base + user.uid, base + user.gid))


def id_map(mount: Mount, ids: Ids) -> IdMap | None:
    """How on-disk owners of ``mount`` are shown: "inside outside count" lines, or None."""
    if not mount.map_owner or mount.owner is None:
        return None
    return (
        _lines(mount.owner[0], ids.user[0], ids.root[0], overlay=mount.kind == "overlay"),
        _lines(mount.owner[1], ids.user[1], ids.root[1], overlay=mount.kind == "overlay"),
    )


def _lines(owner: int, user: int, root: int, *, overlay: bool) -> str:
    """The owner is shown as the user.

    An overlay makes its working files as the kernel's root, which must exist on disk as well:
    itself, or, where root is the owner already, an id that owns nothing.
    """
    lines = [f"{owner} {user} 1"]
    if overlay:
        lines.append(f"{0 if owner != 0 else root} 0 1")
    return "".join(f"{line}\n" for line in lines)


def attributes(mount: Mount) -> int:
    """MOUNT_ATTR_* of a mount: never set-user-id, never devices."""
    found = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
    found |= syscalls.MOUNT_ATTR_RDONLY if mount.read_only else 0
    return found | (syscalls.MOUNT_ATTR_NOEXEC if mount.no_exec else 0)


def failed(mount: Mount, why: str, hints: Sequence[str] = ()) -> AileronError:
    """A mount could not be made."""
    return MOUNT_FAILED(f"cannot mount {mount.target} in the sandbox", why=why, hints=hints)


_REASONS = {
    errno.ELOOP: "a symbolic link is in the way, and links are not followed",
    errno.ENOENT: "it does not exist",
    errno.EROFS: "the mount point is missing and the file system is read-only",
    errno.ENOTDIR: "a file would be mounted on a directory, or the reverse",
}


@contextmanager
def explained(mount: Mount, doing: str) -> Iterator[None]:
    """Turn OSError into ``mount-failed`` that names the mount and the step."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise failed(mount, f"{doing}: {reason}") from error


def _same(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError(path)
    return posixpath.normpath(path)


@define
class Attacher:
    """Attaches mounts to one container, in the thread that calls `run`, which then must end."""

    ids: Ids
    namespace_of: Mapping[IdMap, int]
    """Descriptors of user namespaces with the wanted maps."""
    scratch: str
    """A directory of the host on which overlays are put together, visible to this thread only."""
    home: str = ""
    """Mounted as an empty file system unless the image has one that is the user's."""
    _trees: dict[int, int] = field(factory=dict)
    _owned: set[int] = field(factory=set)
    """Device numbers of file systems that are the container's own."""
    _held: ExitStack = field(factory=ExitStack)

    def run(self, container: int, mounts: Sequence[Mount]) -> None:
        """Attach ``mounts`` in the mount namespace open as ``container``.

        Raises:
            AileronError: ``mount-failed``, naming the mount.
        """
        with self._held:
            if any(mount.kind == "overlay" for mount in mounts):
                self._leave_the_hosts_table()
            for index, mount in enumerate(mounts):
                if (tree := self._prepared(mount)) is not None:
                    self._trees[index] = self._keep(tree)
            enter_mounts(container)
            self._attach_all(mounts)

    def _attach_all(self, mounts: Sequence[Mount]) -> None:
        root = self._keep(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self._owned = {os.fstat(root).st_dev, os.stat("/dev").st_dev}
        self._give_home(root, mounts)
        for index, mount in enumerate(mounts):
            with explained(mount, "attaching it"):
                if mount.kind == "self":
                    self._pin(root, mount)
                else:
                    self._attach(root, mount, self._trees[index])

    def _keep(self, descriptor: int) -> int:
        self._held.callback(os.close, descriptor)
        return descriptor

    # --- preparing, in a copy of the host's mount namespace ---

    def _leave_the_hosts_table(self) -> None:
        syscalls.unshare(syscalls.CLONE_FS | syscalls.CLONE_NEWNS)
        syscalls.make_mounts_private()

    def _prepared(self, mount: Mount) -> int | None:
        makers: dict[str, Callable[[Mount], int]] = {
            "bind": self._bind,
            "tmpfs": self._tmpfs,
            "overlay": self._overlay,
        }
        if mount.kind == "self":
            return None
        with explained(mount, f"preparing {mount.source or mount.kind}"):
            return makers[mount.kind](mount)

    def _clone(self, path: str, attributes: int, namespace: int | None) -> int:
        tree = syscalls.open_tree(syscalls.AT_FDCWD, path)
        try:
            syscalls.set_attributes(tree, attributes, namespace)
        except BaseException:
            os.close(tree)
            raise
        return tree

    def _namespace(self, mount: Mount) -> int | None:
        wanted = id_map(mount, self.ids)
        return None if wanted is None else self.namespace_of[wanted]

    def _bind(self, mount: Mount) -> int:
        assert mount.source is not None
        try:
            return self._clone(mount.source, attributes(mount), self._namespace(mount))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EPERM) and mount.map_owner:
                raise failed(
                    mount,
                    f"the file system of {mount.source} cannot show its owner as another user",
                    ["keep it on ext4, xfs or btrfs, without mounts of other kinds below it"],
                ) from error
            raise

    def _tmpfs(self, mount: Mount) -> int:
        mode = 0o700 if mount.mode is None else mount.mode
        # A directory with the sticky bit is everybody's (/tmp); any other is the agent's.
        uid, gid = self.ids.root if mode & stat.S_ISVTX else self.ids.user
        options = {"mode": f"{mode:o}", "uid": str(uid), "gid": str(gid)}
        if mount.size is not None:
            options["size"] = str(mount.size)
        return syscalls.new_filesystem("tmpfs", options, attributes(mount))

    def _overlay(self, mount: Mount) -> int:
        """Layers are shown with their mapped owners; both are attached for this thread alone."""
        assert mount.source is not None
        assert mount.upper is not None
        assert mount.work is not None
        changes = posixpath.commonpath([mount.upper, mount.work])
        namespace = self._namespace(mount)
        base = os.path.join(self.scratch, "base")
        changed = os.path.join(self.scratch, "changes")
        for source, place in ((mount.source, base), (changes, changed)):
            tree = self._keep(self._clone(source, 0, namespace))
            spot = self._keep(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            syscalls.move_mount(tree, spot)
        options = {
            "lowerdir": base,
            "upperdir": os.path.join(changed, os.path.relpath(mount.upper, changes)),
            "workdir": os.path.join(changed, os.path.relpath(mount.work, changes)),
        }
        return syscalls.new_filesystem("overlay", options, attributes(mount))

    # --- attaching, in the container's mount namespace ---

    def _give_home(self, root: int, mounts: Sequence[Mount]) -> None:
        """An own home: the image's, if it is the user's already, else an empty one."""
        if not self.home or any(covers(mount.target, self.home) for mount in mounts):
            return
        with suppress(FileNotFoundError):
            place = self._keep(syscalls.open_beneath(root, self.home, os.O_PATH))
            if os.fstat(place).st_uid == self.ids.user[0]:
                return
        mount = Mount(self.home, "tmpfs", read_only=False, mode=0o700)
        with explained(mount, "giving the user a home"):
            self._attach(root, mount, self._keep(self._tmpfs(mount)))

    def _attach(self, root: int, mount: Mount, tree: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        place = self._mount_point(root, mount, is_directory=is_directory)
        syscalls.move_mount(tree, place)
        if mount.kind == "tmpfs":
            self._owned.add(os.fstat(tree).st_dev)

    def _pin(self, root: int, mount: Mount) -> None:
        """Mount what is there onto itself."""
        place = self._keep(syscalls.open_beneath(root, _same(mount.target), os.O_PATH))
        tree = self._keep(syscalls.open_tree(place, ""))
        syscalls.set_attributes(tree, attributes(mount))
        syscalls.move_mount(tree, place)

    def _mount_point(self, root: int, mount: Mount, *, is_directory: bool) -> int:
        """The target, made if it is missing and the file system is the container's own."""
        path = _same(mount.target)
        with suppress(FileNotFoundError):
            return self._keep(syscalls.open_beneath(root, path, os.O_PATH))
        place = root
        parts = path.strip("/").split("/")
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            try:
                found = syscalls.open_beneath(place, part, os.O_PATH)
            except FileNotFoundError:
                self._make(mount, place, part, is_directory=is_directory or not last)
                found = syscalls.open_beneath(place, part, os.O_PATH)
            place = self._keep(found)
        return place

    def _make(self, mount: Mount, parent: int, name: str, *, is_directory: bool) -> None:
        info = os.fstat(parent)
        if info.st_dev not in self._owned:
            raise failed(
                mount,
                f"{name!r} does not exist, and making it would change a directory of the host",
                ["make it on the host first"],
            )
        # As the directory's own owner: the kernel's root does not exist under the container's ids.
        syscalls.act_as(info.st_uid, info.st_gid)
        try:
            if is_directory:
                os.mkdir(name, dir_fd=parent)
                # Whatever the daemon's umask: the agent must be able to pass.
                os.chmod(name, 0o755, dir_fd=parent)  # noqa: S103 - in the sandbox's own layer
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
                os.close(os.open(name, flags, 0o644, dir_fd=parent))
        finally:
            syscalls.act_as(0, 0)
