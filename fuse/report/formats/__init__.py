"""The formats of a report: Markdown, CSV, LaTeX, HTML."""
