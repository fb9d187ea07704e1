# SPDX-License-Identifier: Apache-2.0
"""What the callbacks do beside training.

Data flows one way: the trainer sends a line for each save (link.py) to a process of its own (worker.py), which prunes
(prune.py) or pushes (push.py, queue.py) and sends back lines for the log. hold.py keeps the files of a checkpoint while it is
pushed; words.py turns keywords into the programs' options. Nothing here imports torch or transformers.
"""
