"""The heart: what a model's weights are before its first step of training.

`inits` is the catalog, `InitPlan` the field of a spec, `initialize` what carries a plan out. Importing this
package imports every module in it: a file that defines a word is all that the word needs.
"""

from autoencoders.init.apply import initialize
from autoencoders.init.context import Earlier, InitContext, NeedsRows
from autoencoders.init.lift import InitChoice, inits
from autoencoders.init.plan import InitParts, InitPlan

inits.discover(__name__, __path__)

__all__ = [
    "Earlier",
    "InitChoice",
    "InitContext",
    "InitParts",
    "InitPlan",
    "NeedsRows",
    "initialize",
    "inits",
]
