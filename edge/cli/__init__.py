"""Commands of the device, one file a group. A command parses its words, calls one thing and prints the answer."""
