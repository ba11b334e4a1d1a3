"""Training nets: one loop, the recorder that watches it, nets, recipes, augmentation, distillation."""
