"""The command line: main.py, one file per command in commands/, and output in display/."""
