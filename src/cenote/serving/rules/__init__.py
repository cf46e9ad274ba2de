"""Which steps do which operations. Each module registers its rules when it is imported."""

from . import dense as dense
from . import elementwise as elementwise
from . import moving as moving
from . import pictures as pictures
from . import sequences as sequences
