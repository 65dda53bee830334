"""The product as its users meet it: two real processes, real pictures, real kills."""
