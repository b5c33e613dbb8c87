"""The commands of `footfall`, one module a theme; infra/cli.py puts them together."""
