"""An experiment: methods × seeds trained, evaluated and told as one record (see ``methods`` for what is compared).

plan.py         what was asked for, and that the same is asked for when an experiment is taken up again
setup.py   the dataset, the samples and the groups of territories that all runs share
runs.py         train what is missing
panel.py     the test users whose scores of all titles are looked at
measures.py     what one run shows them: popularity bias, calibration, histograms
gains.py        methods against each other, and how sure that is
titles.py       local and global titles, and what each method makes of them
record.py       everything as one record
summary.py      the record in plain words
"""
