"""The HTTP side: what was found, as it is found, and the pixels when somebody wants to look."""
