"""eim: an open GSMA SGP.32 eIM and the orchestrator above it."""
