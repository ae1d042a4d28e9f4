"""Several kiosks, a broker and one cloud in one thread on a virtual clock, with the product's own code inside.

Only clock, line and power are replaced. One seed draws the days, the members and the faults; checkers look at the
whole world while it runs and once more when everything has settled. `python -m tests.simulation --help`.
"""
