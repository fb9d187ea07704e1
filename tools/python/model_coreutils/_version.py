# SPDX-License-Identifier: Apache-2.0
# Made by tools/python/make-functions from what the programs say; don't edit.
__version__ = "0.1.0"
