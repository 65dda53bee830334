"""The edge service: source, encode, spool, uplink."""
