"""The wire: one description of each message, its DER both ways."""
