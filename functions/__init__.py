"""Azure's doors: the only code that knows triggers and bindings."""
