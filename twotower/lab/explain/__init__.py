"""Why does one user get one title with this score?"""
