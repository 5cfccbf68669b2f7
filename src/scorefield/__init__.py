"""scorefield: score-based generative modelling, checked against exact answers.

The public names are those of `__init__.pyi`. They are loaded on first use, so that `import scorefield`, and with it the
command line's --help, does not wait for torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
