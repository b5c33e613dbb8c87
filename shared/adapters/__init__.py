"""The only code that touches Azure, Delta, Avro and HTTP clients: one module an outside thing."""
