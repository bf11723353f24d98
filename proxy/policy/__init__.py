"""May it: rules to decision. Pure: no clock, no I/O, no logging. The order of files and rules changes nothing."""
