"""SFU-HW-Tracks-v1: its files read and written, turned into other formats, and made up with known truth."""
