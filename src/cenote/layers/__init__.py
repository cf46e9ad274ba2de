"""Layers, a family a file, with Keras's names, arguments and defaults."""

from types import ModuleType

from .activation import *  # noqa: F403
from .attention import *  # noqa: F403
from .audio import *  # noqa: F403
from .augment import *  # noqa: F403
from .augment_color import *  # noqa: F403
from .augment_geometry import *  # noqa: F403
from .augment_mix import *  # noqa: F403
from .base import *  # noqa: F403
from .basic import *  # noqa: F403
from .cells import *  # noqa: F403
from .conv import *  # noqa: F403
from .conv_lstm import *  # noqa: F403
from .conv_transpose import *  # noqa: F403
from .dense import *  # noqa: F403
from .discrete import *  # noqa: F403
from .dropout import *  # noqa: F403
from .embedding import *  # noqa: F403
from .host import *  # noqa: F403
from .image import *  # noqa: F403
from .merge import *  # noqa: F403
from .noise import *  # noqa: F403
from .norm import *  # noqa: F403
from .patches import *  # noqa: F403
from .pool import *  # noqa: F403
from .positions import *  # noqa: F403
from .preprocessing import *  # noqa: F403
from .recurrent import *  # noqa: F403
from .shape import *  # noqa: F403
from .text import *  # noqa: F403
from .transformer import *  # noqa: F403
from .wrappers import *  # noqa: F403

# Each family says in its own __all__ what is public; importing it has put the module here, too.
_FAMILIES = [module for module in list(globals().values()) if isinstance(module, ModuleType) and hasattr(module, "__all__")]
__all__ = sorted(name for family in _FAMILIES for name in family.__all__)  # pyright: ignore[reportUnsupportedDunderAll]
