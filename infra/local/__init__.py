"""The cloud on a laptop: Event Hubs with Capture, a Functions host, and a sample of reference data."""
