"""Hardware, models and serving programs as data: the records, the strict reader, and which of them go
together.
"""
