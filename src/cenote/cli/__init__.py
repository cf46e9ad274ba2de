"""The command ``cenote``: train, evaluate, predict, summary, info. Nothing heavy is imported before a verb needs it."""
