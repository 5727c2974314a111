"""Images are found, imported and built by the service; what goes wrong is said in its words."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
import trio

from aileron_core.backend import Recipe
from aileron_core.errors import AileronError
from aileron_podman.images import ignored, not_provided, pack, to_info

LABELS = {"io.aileron.test": "1"}


@pytest.fixture
def reference(short_directory):
    """A name for an image, which is removed at the end if it exists."""
    name = f"localhost/aileron-test-{short_directory.name.replace('_', 'x').lower()}:1"
    yield name
    subprocess.run(["podman", "rmi", "--force", name], capture_output=True)


@pytest.fixture
def archive(short_directory):
    """A root file system of one file, as a tar archive."""
    path = short_directory / "root.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("note")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    return str(path)


def test_the_mend_fits_what_went_wrong():
    """Without subordinate ids no image can be unpacked: another reference would not help."""
    error = not_provided("localhost/x:1", "insufficient UIDs: check /etc/subuid and /etc/subgid")
    assert "usermod --add-subuids" in error.hints[0]
    error = not_provided("localhost/x:1", "no such host\n", ["STEP 1", "E: x"])
    assert error.why == "no such host (its last words: STEP 1 | E: x)"
    assert "--image" in error.hints[-1]


@pytest.mark.container
async def test_an_image_that_is_not_here_is_none(world):
    """Looking never fetches, and an impossible name is just not here."""
    assert await world.backend.image("localhost/no-such-image:1") is None
    assert await world.backend.image("NOT A REFERENCE") is None


@pytest.mark.container
async def test_what_is_here_is_told(world):
    """Identity, labels and environment of an image are Podman's own."""
    found = await world.backend.image(world.image)
    assert found.reference == world.image
    assert found.labels["io.aileron.test"] == "1"
    assert found.env == {"PATH": "/usr/bin:/bin"}
    assert found.size > 0
    assert found.created > 0


@pytest.mark.container
async def test_import_of_a_root_file_system(world, reference, archive):
    """An archive becomes an image with the environment and labels of the recipe."""
    env = {"PATH": "/bin", "ODD": 'a "b" $c \\d'}
    recipe = Recipe(reference, rootfs=archive, labels=LABELS, env=env)
    said: list[str] = []
    made = await world.backend.provide(recipe, said.append)
    assert made.env == env
    assert made.labels == LABELS
    assert said
    assert (await world.backend.image(reference)).id == made.id


@pytest.mark.container
async def test_build_on_an_image(world, reference):
    """A container file is built in its context, which stays as it was; progress is told by line."""
    (world.workspace / "added").write_text("x")
    (world.workspace / "secret").write_text("x")
    (world.workspace / ".containerignore").write_text("secret\n")
    before = sorted(path.name for path in world.workspace.iterdir())
    text = f"FROM {world.image}\nARG WORD\nCOPY . /ctx\nRUN echo word $WORD > /word && ls -a /ctx\n"
    recipe = Recipe(
        reference,
        containerfile=text,
        context=str(world.workspace),
        build_args={"WORD": "given"},
        labels=LABELS,
    )
    said: list[str] = []
    made = await world.backend.provide(recipe, said.append)
    assert made.labels["io.aileron.test"] == "1"
    assert any("RUN echo" in line for line in said)
    assert sorted(path.name for path in world.workspace.iterdir()) == before
    ran = await world.run("cat /word; ls -A /ctx", image=reference)
    assert "word given" in ran.text
    assert "added" in ran.text
    assert "secret" not in ran.text.replace(".containerignore", "")


@pytest.mark.container
async def test_a_build_that_fails_says_the_last_words(world, reference):
    """The step's own output is in the error, and no image of the name exists."""
    text = f"FROM {world.image}\nRUN echo the reason is here && exit 3\n"
    with pytest.raises(AileronError) as caught:
        await world.backend.provide(Recipe(reference, containerfile=text), lambda line: None)
    assert (caught.value.code, caught.value.exit_status) == ("image-not-provided", 73)
    assert "the reason is here" in caught.value.why
    assert await world.backend.image(reference) is None


@pytest.mark.container
async def test_a_build_can_be_cancelled(world, reference):
    """Cancelling returns at once, and no container of the build stays."""
    text = f"FROM {world.image}\nRUN echo begun && sleep 60\n"
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:

            def told(line: str) -> None:
                if line.startswith("begun"):
                    nursery.cancel_scope.cancel()

            nursery.start_soon(world.backend.provide, Recipe(reference, containerfile=text), told)
    assert await world.backend.image(reference) is None


@pytest.mark.container
async def test_a_pull_that_cannot_be_says_why(world):
    """An image that no registry has is an error with Podman's reason."""
    recipe = Recipe("localhost:1/none/such:1", pull=True)
    with pytest.raises(AileronError) as caught:
        await world.backend.provide(recipe, lambda line: None)
    assert caught.value.code == "image-not-provided"
    assert caught.value.why


@pytest.mark.container
async def test_an_archive_that_is_missing_is_named(world, reference):
    """Importing a file that does not exist names it."""
    with pytest.raises(AileronError) as caught:
        await world.backend.provide(Recipe(reference, rootfs="/no/such.tar"), lambda line: None)
    assert "/no/such.tar" in caught.value.why


@pytest.mark.container
async def test_what_an_image_wants_by_itself_is_not_done(world, reference):
    """An image's volumes, entry point, user, health check and environment are ignored."""
    text = (
        f'FROM {world.image}\nVOLUME /data\nENTRYPOINT ["/bin/false"]\nUSER 0\nENV LEAK=1\n'
        "STOPSIGNAL SIGKILL\nHEALTHCHECK CMD /bin/true\nWORKDIR /nowhere\nEXPOSE 80\n"
    )
    await world.backend.provide(Recipe(reference, containerfile=text, labels=LABELS), print)
    ran = await world.run("id -u; env; grep -c /data /proc/mounts; pwd", image=reference)
    lines = ran.text.splitlines()
    assert (lines[0], lines[-2:]) == ("1000", ["0", str(world.workspace)])
    assert "LEAK=1" not in lines
    assert ran.exit.status == 0


def test_ignored_paths_are_those_named_plainly():
    """Patterns are left to Podman; an exception sends everything."""
    assert ignored("# no\nnode_modules/\n/dist\n*.log\n\n") == {"node_modules", "dist"}
    assert ignored("node_modules\n!node_modules/keep\n") == frozenset()


def test_pack_without_a_context_is_the_container_file_alone():
    """An empty context holds nothing but the container file."""
    with pack(Recipe("x", containerfile="FROM y\n")) as packed:
        packed.seek(0)
        with tarfile.open(fileobj=packed) as tar:
            assert [member.name for member in tar.getmembers()] == [".aileron-containerfile"]


def test_pack_keeps_links_as_links(tmp_path: Path):
    """A symbolic link out of the context is packed as a link: nothing outside is read."""
    (tmp_path / "link").symlink_to("/etc/shadow")
    with pack(Recipe("x", containerfile="FROM y\n", context=str(tmp_path))) as packed:
        packed.seek(0)
        with tarfile.open(fileobj=packed) as tar:
            assert tar.getmember("link").issym()


@pytest.mark.parametrize("created", ["", "nonsense", "0001-01-01T00:00:00Z"])
def test_odd_times_are_zero(created):
    """A creation time that cannot be read is the epoch, not an error."""
    assert to_info("r", {"Id": "i", "Created": created}).created == 0.0
