"""What an initialised model does before it is trained, and what its job will make of it.

`diagnose` looks at one pass forward and back, at the codes, at the Jacobian, at a short trial on a copy and
at a rehearsal of the rest of the way;
`forecast` makes a verdict of the figures alone.
"""

from autoencoders.diagnostics.deadline import Deadline
from autoencoders.diagnostics.diagnosis import Diagnosis, diagnose, look
from autoencoders.diagnostics.outlook import Expectation, Outlook, expect
from autoencoders.diagnostics.plan import Plan
from autoencoders.diagnostics.verdict import Verdict, forecast
from autoencoders.diagnostics.yardsticks import Yardsticks, measure

__all__ = [
    "Deadline",
    "Diagnosis",
    "Expectation",
    "Outlook",
    "Plan",
    "Verdict",
    "Yardsticks",
    "diagnose",
    "expect",
    "forecast",
    "look",
    "measure",
]
