"""The ledger: every number that the paper prints, its types and its reader. Printed numbers, nothing else. No torch."""

from hdit_repro.paper.ledger import Ledger as Ledger
from hdit_repro.paper.reader import read as read
from hdit_repro.paper.types import Claim as Claim
from hdit_repro.paper.types import Unit as Unit
