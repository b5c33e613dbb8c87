"""`python -m infra.local.eventhubs --config FILE --data DIR`: Event Hubs with Capture, on a laptop.

Exit code 0 after SIGTERM or SIGINT; 2 when it cannot start, and the last line says why.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from infra.local.eventhubs.config import load_config
from infra.local.eventhubs.log import LogCorrupt
from infra.local.eventhubs.service import ServiceOptions, serve
from shared.errors import ConfigurationError

log = logging.getLogger("infra.local.eventhubs")


def main() -> int:
    """Parse the command line and serve until a signal comes."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)
    options = ServiceOptions(
        arguments.data, arguments.host, arguments.amqp_port, arguments.health_port, arguments.storage
    )
    try:
        asyncio.run(_serve_until_signal(arguments.config, options))
    except (ConfigurationError, LogCorrupt) as error:
        log.error("%s", error)  # noqa: TRY400 (the message says it all, a traceback would hide it)
        return 2
    return 0


async def _serve_until_signal(config: Path, options: ServiceOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(load_config(config), options, stop)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.eventhubs", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the hubs: a Config.json of the official emulator")
    parser.add_argument("--data", type=Path, required=True, help="directory for the events")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--amqp-port", type=int, default=5672, help="port for AMQP (default: %(default)s)")
    parser.add_argument("--health-port", type=int, default=5300, help="port for HTTP (default: %(default)s)")
    parser.add_argument("--storage", help="connection string of the storage account that Capture writes to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
