"""Which versions answer: the folder of models, looked at, proved and swapped while requests run."""
