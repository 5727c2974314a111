"""``aileron doctor``: it does the forbidden things in real sandboxes and looks whether they fail.

A check (hook ``aileron_checks``) is an async function of a `Probe` (`aileron_core.doctor.probe`).
It asks the probe to run a script in a fresh sandbox, which is launched exactly as a person's is,
and judges what came of it. What is merely configured is never reported: a limit that the kernel
ignores does not hold.
"""
