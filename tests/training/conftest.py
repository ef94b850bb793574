"""Every test of training adds up as a training does: on one thread, in one order."""

import torch

torch.set_num_threads(1)
