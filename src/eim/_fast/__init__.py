"""The native core. Bytes and numbers cross this border, never domain objects."""
