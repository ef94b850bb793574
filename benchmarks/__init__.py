"""Speed and accuracy measurements that anyone can repeat; each prints a table of ratios."""
