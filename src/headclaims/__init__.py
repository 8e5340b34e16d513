"""Claims about attention heads, as executable assertions: measured, held against nulls, and recorded.

The public names are those of `__init__.pyi`; each is imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
