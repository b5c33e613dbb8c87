"""Footfall's own code, the same for the Function App, the command line and the Databricks job."""
