"""What is particular to the machine: its clocks and whoever watches over its processes."""
