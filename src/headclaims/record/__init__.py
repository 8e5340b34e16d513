"""The record of an audit, `claims.json`: written, read back and checked."""
