"""The cloud service: ingest, decode, detect, store, answer."""
