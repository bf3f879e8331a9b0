"""Commands that look at the machine."""

from __future__ import annotations

import typer

from neuroseg.cli.app import Json, app


@app.command("doctor-env", epilog="Example: neuroseg doctor-env --json")
def doctor_env(json: Json = False) -> None:
    """Check Python, torch, CUDA, Lava, Intel's extension and the machine; the exit code is 1 if something needed is broken."""
    from neuroseg.commands.console import put_json, say, show
    from neuroseg.commands.doctor import doctor

    result = doctor()
    if json:
        put_json(result)
    else:
        checks = result["checks"]
        rows = [(c["name"], c["value"], "ok" if c["ok"] else "NOT OK") for c in checks]
        show("environment", ("what", "found", ""), rows)
        for check in checks:
            if not check["ok"]:
                say(f"{check['name']}: {check['advice']}")
    if not result["ok"]:
        raise typer.Exit(1)
