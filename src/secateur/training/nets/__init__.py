"""The nets that come with the package, all for small images, and the ways to bring your own.

Every net takes the raw rows of the data set (uint8 images or float vectors): the mean and spread of the training
data are its first layer, so that a saved net carries its own normalisation and can teach in another run.
"""

from secateur.training.nets.built import Normalised, build, default_net
from secateur.training.nets.metadata import Saved, load_about
from secateur.training.nets.saved import adopt, load_net, model_in, save_net, spec_in
from secateur.training.nets.zoo import HIDDEN, NETS, OPTIONS, Shape, with_hidden

__all__ = [
    "HIDDEN", "NETS", "OPTIONS", "Normalised", "Saved", "Shape", "adopt", "build", "default_net", "load_about",
    "load_net", "model_in", "save_net", "spec_in", "with_hidden",
]  # fmt: skip
