"""The room both halves share: what an artifact is and how a series enters its tensors.

numpy and pydantic only, so that training and serving cannot disagree.
"""
