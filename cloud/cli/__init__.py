"""The commands of `doorstep-cloud`, one file a group. What they need is handed to them by app.py.

Nothing heavy is imported before a command runs, so that asking for help is quick.
"""
