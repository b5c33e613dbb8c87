"""What decides. Pure: no I/O, no clock, no logger, no Azure, no Polars.

Times are whole microseconds since 1970 UTC (`*_us`).
"""
