"""The default rules, from the most special to the one that takes everything."""

from autoglm_tvm.schedules.rule import Rule
from autoglm_tvm.schedules.rules.attention import Attention
from autoglm_tvm.schedules.rules.contraction import Contraction
from autoglm_tvm.schedules.rules.depthwise import Depthwise
from autoglm_tvm.schedules.rules.dot_depthwise import DotDepthwise
from autoglm_tvm.schedules.rules.elementwise import Elementwise
from autoglm_tvm.schedules.rules.fallback import Fallback
from autoglm_tvm.schedules.rules.layout_move import LayoutMove
from autoglm_tvm.schedules.rules.reduction import Reduction
from autoglm_tvm.schedules.rules.rows import Rows
from autoglm_tvm.schedules.rules.winograd import Winograd

DEFAULT_RULES: tuple[Rule, ...] = (
    Attention(),
    Winograd(),
    Contraction(),
    Depthwise(),
    DotDepthwise(),
    Rows(),
    Elementwise(),
    LayoutMove(),
    Reduction(),
    Fallback(),
)

__all__ = ["DEFAULT_RULES"]
