# SPDX-License-Identifier: Apache-2.0
"""What the callbacks do beside training.

Data flows one way: the trainer sends a line for each save (link.py) to a process of its own (worker.py), which prunes
(prune.py) or pushes (push.py, queue.py) and sends back lines for the log. Both run programs and reach the trainer through desk.py.
hold.py keeps the files of a checkpoint while it is pushed; check.py asks the programs before training whether they take the
options. Nothing here imports torch or transformers.
"""
