"""The training process. It runs in the training environment, which may have no lmpipe.

`__main__.py` is run as a file: `python train_process/__main__.py WORK/job.json`. It loads this
folder as the package `train_process`. So the modules here import one another relatively, and
nothing else of lmpipe.
"""
