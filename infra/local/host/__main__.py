"""`python -m infra.local.host --app DIR --settings FILE`: run a Functions app on this machine.

Exit codes: 0 stopped by a signal, 1 the host itself failed, 2 the port is taken, or the command line or a settings file
is wrong, 3 the app is refused (it would not be indexed on Azure either, or needs what this host has not).
"""

import argparse
import sys
from pathlib import Path

from infra.local.host.errors import AppRefused, PortTaken
from infra.local.host.host import HostArguments, run_host
from shared.errors import ConfigurationError


def _parse(argv: list[str] | None) -> HostArguments:
    parser = argparse.ArgumentParser(prog="python -m infra.local.host", description=__doc__.split("\n\n")[0])
    parser.add_argument("--app", type=Path, default=Path(), help="the app: the folder of function_app.py and host.json")
    parser.add_argument("--settings", type=Path, help="default: local.settings.json of the app")
    parser.add_argument("--data", type=Path, help="where the keys are kept; default: .local/host of the app")
    parser.add_argument("--host", default="127.0.0.1", help="the address to serve HTTP on")
    parser.add_argument("--port", type=int, default=7071)
    parser.add_argument("--blob-scan", type=float, default=1.0, metavar="SECONDS", help="between two looks for blobs")
    given = parser.parse_args(argv)
    app = given.app.resolve()
    return HostArguments(
        app=app,
        settings=given.settings or app / "local.settings.json",
        data=given.data or app / ".local" / "host",
        address=given.host,
        port=given.port,
        blob_scan_s=given.blob_scan,
    )


def main(argv: list[str] | None = None) -> int:
    try:
        return run_host(_parse(argv))
    except AppRefused as error:
        detail = f"\n{error.detail.rstrip()}" if error.detail else ""
        print(f"the app is refused: {error}{detail}", file=sys.stderr)  # noqa: T201
        return 3
    except (PortTaken, ConfigurationError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())
