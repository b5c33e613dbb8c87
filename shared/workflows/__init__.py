"""The order of effects: load, decide, save, publish. Each port is a Protocol beside its user."""
