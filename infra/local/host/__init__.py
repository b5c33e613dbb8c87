"""The part of Azure Functions around Microsoft's Python engine, on a laptop: `python -m infra.local.host`.

* `engine` calls the engine (`protos` are its messages), `model` is what it says of an app, `validation` what is wrong
* `settings`, `connections`, `keys`: local.settings.json, host.json, connection strings, function keys
* `event_hub_trigger` (with `partition_pump`, `event_hub_conversion`), `blob_trigger` (with `blob_path`, `blob_listing`,
  `receipts`), `timer_trigger` (with `schedule`), `http_server` (with `routes`, `http_conversion`) call the functions
* `invoker` runs one invocation, `retry` says when it is tried again, `outputs` and `event_hub_output` publish values
* `host` puts all together; `status` is what it tells of itself, `outage` and `background` are how it waits and stops
"""
