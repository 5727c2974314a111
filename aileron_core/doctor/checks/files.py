"""Promises 3 and 9: secrets are invisible, and what the host runs later is not writable."""

from __future__ import annotations

import secrets
from pathlib import Path

import trio

from aileron_core.doctor.checks.verdicts import fails, judge
from aileron_core.doctor.probe import Probe
from aileron_core.records import Check, CheckResult

MEND = "do not use this machine for agents yet: aileron launch --dry-run shows what is mounted"

_CONFIG = "[core]\n"

# Each path is tried as a write, a link and a move; the host looks afterwards what came of it.
_WRITES = """
set -u
for path in .git/config .git/hooks/pre-commit .devcontainer/devcontainer.json .mcp.json \\
  .aileron.toml
do
  mkdir -p "$(dirname "$path")" 2>/dev/null
  (echo hostile > "$path") 2>/dev/null
  (ln -sf /tmp "$path") 2>/dev/null
  rm -rf "$path" 2>/dev/null
done
mv .git .git-away 2>/dev/null && { mkdir -p .git/hooks; echo hostile > .git/hooks/pre-commit; }
mv .devcontainer .devcontainer-away 2>/dev/null
rm -rf .git .devcontainer 2>/dev/null
echo hostile > ordinary-file && echo tried
"""

# An image has password files of its own; what counts is that they cannot be read.
_HOMES = """
for path in {paths}
do
  [ ! -e "$path" ] || [ -d "$path" ] || echo "did see $path"
done
for path in /etc/shadow /etc/gshadow {paths}
do
  [ ! -r "$path" ] || [ -d "$path" ] || echo "did read $path"
done
for home in {homes}
do
  [ "$home" = "$HOME" ] || for entry in "$home"/* "$home"/.[!.]*
  do
    case $entry in {workspace}*) ;; *) [ ! -e "$entry" ] || echo "did see $entry" ;; esac
  done
done 2>/dev/null
echo tried
"""

_ENVIRONMENT = """
for file in /proc/[0-9]*/environ; do tr '\\0' '\\n' < "$file"; done 2>/dev/null |
  grep -q {canary} && echo "did find a variable of the launching process"
env | grep -q {canary} && echo "did find a variable of the launching process"
echo tried
"""


async def _protected(probe: Probe) -> CheckResult:
    """Writes, links, moves and removes what the host would run later; then looks on the host."""
    async with probe.workspace() as workspace:
        (workspace / ".git").mkdir()
        (workspace / ".git" / "config").write_text(_CONFIG)
        inode = (workspace / ".git").stat().st_ino
        result = await probe.sh(_WRITES, workspace=workspace)
        changed = await trio.to_thread.run_sync(_changes, workspace, inode)
    if changed:
        return fails(f"on the host: {', '.join(changed)}", MEND)
    return judge(result, "existing and absent paths stayed as they were", MEND)


def _changes(workspace: Path, inode: int) -> list[str]:
    """What a sandbox that could write ``workspace`` did to its never-writable paths."""
    there = {str(p.relative_to(workspace)) for p in workspace.rglob("*")}
    changed = sorted(there - {".git", ".git/config", "ordinary-file"})
    git = workspace / ".git"
    if git.is_symlink() or not git.exists() or git.stat().st_ino != inode:
        return [*changed, ".git was moved or replaced"]
    config = git / "config"
    if config.is_symlink() or not config.exists() or config.read_text() != _CONFIG:
        changed.append(".git/config was changed")
    return changed


async def _homes(probe: Probe) -> CheckResult:
    """Looks for homes, keys, password hashes and the daemon's own state, with a canary in it."""
    canary = probe.state / f"doctor-{secrets.token_hex(8)}"
    canary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    canary.write_text("a secret\n")
    home = Path(probe.environment.get("HOME", "/root"))
    paths = [home / ".ssh/id_ed25519", home / ".aws/credentials", home / ".netrc", canary]
    try:
        async with probe.workspace() as workspace:
            script = _HOMES.format(
                paths=" ".join(f"'{p}'" for p in paths),
                homes=" ".join(sorted({"/root", f"'{home}'"})),
                workspace=workspace,
            )
            result = await probe.sh(script, workspace=workspace)
    finally:
        canary.unlink()
    return judge(
        result, "homes, keys, password hashes and Aileron's own state cannot be seen", MEND
    )


async def _environment(probe: Probe) -> CheckResult:
    """Puts a variable into the launching process and looks for it in every process inside."""
    canary = f"doctor-{secrets.token_hex(16)}"
    marked = Probe(
        probe.image,
        {**probe.environment, "DOCTOR_CANARY": canary},
        probe.state,
        probe.globals,
    )
    # The canary itself must not be in the script: it would find its own arguments.
    half = canary[: len(canary) // 2]
    result = await marked.sh(_ENVIRONMENT.format(canary=f"'^DOCTOR_CANARY={half}'"))
    return judge(result, "no variable of the host's is visible", MEND)


CHECKS = (
    Check("host-environment", "the host's environment is absent", _environment),
    Check("host-homes", "homes, keys and password hashes are invisible", _homes),
    Check("protected-paths", "what the host runs later cannot be written", _protected),
)
