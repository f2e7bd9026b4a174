"""The training process. It runs in the training environment, which may have no lmpipe.

It is run as a file: `python train_process/__main__.py WORK/job.json`. So the modules here import
one another relatively, and nothing else of lmpipe.
"""
