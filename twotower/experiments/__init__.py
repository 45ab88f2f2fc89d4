"""The paper's experiment: methods × seeds, trained and evaluated on the same test users, as one record.

methods.py      what is compared
plan.py         what was requested, and the check that a resumed experiment requests the same
setup.py        dataset, samples and groups of territories that all runs share
runs.py         trains the missing runs; separate.py: one model per group of territories
panel.py        the test users whose scores for all titles are measured
measures.py     measures of one run: popularity bias, calibration, histograms
gains.py        gains of one method over another, with intervals and verdicts
titles.py       local and global titles under each method
record.py       all results as one record; schema.py: its structure
summary.py      the record in a few sentences
experiment.py   all of this in order
comparison.py   gains of runs that were trained one by one
"""
