"""Raw logs of any wording become a dataset: tables, days, titles, users, first-time discoveries."""
